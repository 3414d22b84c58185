"""The documentation holds together: links lead somewhere, pages are in the index, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pennyweight.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FEATURES = [
    "advice",
    "agents",
    "budgets",
    "billing-header",
    "cache-accounting",
    "cache-tiers",
    "cached-functions",
    "capture",
    "clawrouter",
    "compression",
    "configuration",
    "dashboard",
    "doctor",
    "embedders",
    "exact-cache",
    "experiments",
    "fusing",
    "gate",
    "generation",
    "identity",
    "keys",
    "lanes",
    "ledger",
    "local-models",
    "output-limit",
    "plugins",
    "prices",
    "prompt-cache",
    "prompts",
    "references",
    "reliability",
    "replay",
    "routing",
    "tool-results",
    "vectors",
    "selection",
    "semantic-cache",
    "templates",
]
PARTS = ("What it does", "When it (saves|matters)", "When it hurts", "What we measured", "How to (turn it on|use)")


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_blocks(page: Path) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text()) if language in ("sh", "bash", "console")]


def commands(page: Path) -> Iterator[list[str]]:
    """Every `pennyweight …` of the page's shell blocks and running text, as words, without comments and brackets."""
    lines = [line for block in shell_blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(pennyweight [^`]+)`", FENCE.sub("", page.read_text()))
    for line in lines:
        words = shlex.split(re.sub(r"[\[\]|…]", " ", line), comments=True)
        while words and ("=" in words[0] or words[0] == "export"):
            words = words[1:]
        if words and words[0].split("/")[-1] == "pennyweight":
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text())
    for target in LINK.findall(prose):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        assert (page.parent / target.split("#")[0]).exists(), f"{target} in {ids(page)}"


def test_every_page_is_in_the_index() -> None:
    index = set(LINK.findall((ROOT / "docs/README.md").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")} - {"README.md"}
    assert pages <= index


def test_every_decision_that_is_mentioned_is_recorded() -> None:
    source = "".join(path.read_text() for path in ROOT.glob("src/**/*.py"))
    for name in re.findall(r"docs/decisions/([\w.-]+\.md)", source):
        assert (ROOT / "docs/decisions" / name).exists(), name


@pytest.mark.parametrize("name", FEATURES)
def test_a_features_page_has_five_parts(name: str) -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / f"{name}.md").read_text(), re.M)
    for part in PARTS:
        assert any(re.match(part, heading) for heading in headings), f"{part} in {headings}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_shell_blocks_parse(page: Path) -> None:
    for block in shell_blocks(page):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{block}"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        command: click.Command = cli
        options: set[str] = {"--help"}
        rest = list(words)
        while True:
            options |= {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            if not (isinstance(command, click.Group) and rest and not rest[0].startswith("-")):
                break
            name = rest.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"pennyweight {' '.join(words)}: there is no {name!r}"
            command = found
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in options, f"pennyweight {' '.join(words)}: there is no {word!r}"
