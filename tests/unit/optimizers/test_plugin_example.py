"""The plugin in `examples/` is found by its entry point, is twenty lines, and passes the contract suite."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

EXAMPLE = Path(__file__).parents[3] / "examples" / "plugin_optimizer"
SUITE = [name for name in dir(OptimizerContract) if name.startswith("test_")]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example beside the metadata that an installer writes for it; gives its test module."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "pennyweight_trim-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLE)
    yield importlib.import_module("test_trim")
    for name in ("test_trim", "pennyweight_trim"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("test", [*SUITE, "test_it_trims_the_system_prompt_and_nothing_else"])
def test_it_passes_its_own_tests_and_the_contract_suite(installed: ModuleType, test: str) -> None:
    getattr(installed.TestTrim(), test)()


def test_its_entry_point_leads_to_a_build_and_its_settings(installed: ModuleType) -> None:
    (point,) = [p for p in entry_points(group="pennyweight.optimizers") if p.name == "trim"]
    build = point.load()
    settings = sys.modules[build.__module__].Settings
    assert build(settings(), ContractParts()).name == "trim"


def test_it_is_as_short_as_we_say() -> None:
    source = (EXAMPLE / "pennyweight_trim.py").read_text()
    body = source[source.index("    async def propose") : source.index("    async def settle")]
    assert len(body.strip().splitlines()) <= 20
