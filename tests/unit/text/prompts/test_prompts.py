from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.errors import ConfigError
from pennyweight.text.prompts import Module, Session, Used, When, assemble, lint, read_module, split, written
from pennyweight.text.prompts.names import names_in
from pennyweight.text.prompts.usage import used_in

PROMPT = """You are Ada.
## Tools
- read: Read files
- write: Write files
- exec: Run shell
- tool_search: Find more
### More tools
- weather (core): Forecasts for a place. Long words about rain and wind and snow that nobody needs now.
- calendar (core): Appointments, invitations and reminders of the user. Long words about meetings and rooms.
- browser (core): Control a web browser with tabs, pages and forms. Long words about clicking and typing.
- speech (core): Text to speech in many voices. Long words about speakers and languages and moods.
- images (core): Make pictures from words. Long words about styles, sizes and colours of pictures.
## Style
Use `read` before `write`. Keep it short.
## Weather reports
Say degrees in Celsius. Long rules about `weather` reports: morning, noon, evening, wind, rain, snow and what to wear.
## Secrets
Never print secrets. Always ask before anything leaves this machine. Privacy is required.
## Date
Current date: 2026-11-20
"""
TOOLS = ("read", "write", "exec", "tool_search")


def _words(text: str) -> int:
    return len(text.split())


def test_what_is_cut_is_put_together_again_by_joining() -> None:
    modules = split(PROMPT)
    assert "".join(module.text for module in modules) == PROMPT
    assert [m.title for m in modules if m.entries] == ["Tools", "Tools / More tools"]
    assert next(m for m in modules if m.title == "Date").volatile


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "# A",
                "## B",
                "### C",
                "",
                "text and more",
                "- a: b",
                "- tool_x (core): does",
                "```",
                "~~~",
                "<skill>",
                "</skill>",
                "<name>n</name>",
                "<description>d. e</description>",
                "  indented",
                "\ttab",
                "日本語 です。",
                "\r",
            ]
        ),
        max_size=40,
    ),
    st.text(max_size=30),
)
def test_any_text_is_cut_without_loss(lines: list[str], end: str) -> None:
    prompt = "\n".join(lines) + end
    modules = split(prompt)
    assert "".join(module.text for module in modules) == prompt
    for module in modules:
        assert "".join(entry.text for entry in module.entries) in ("", module.text)


def test_a_heading_in_a_fence_is_no_heading() -> None:
    prompt = "# A\n```\n# not a heading\n```\nrest\n"
    assert [module.title for module in split(prompt)] == ["A"]


def test_what_the_task_needs_stays_and_no_name_is_lost() -> None:
    made = assemble(
        split(PROMPT), Session("Will it rain? Give me the weather.", TOOLS), count=_words, budget_tokens=110
    )
    assert made.tokens_after < made.tokens_before
    assert "- weather (core): Forecasts for a place." in made.text
    for name in ("calendar", "browser", "speech", "images", *TOOLS):
        assert name in made.text
    assert "appointments" not in made.text.lower()
    assert "Never print secrets." in made.text
    assert "Use `read` before `write`." in made.text
    assert "Current date: 2026-11-20" in made.text


def test_what_is_left_out_is_told() -> None:
    made = assemble(split(PROMPT), Session("Fix the tests in src/", TOOLS), count=_words, budget_tokens=80)
    assert "Weather reports" in made.dropped
    assert "Say degrees" not in made.text
    assert "Weather reports" in made.text.splitlines()[-1]


def test_without_a_budget_only_conditions_and_repeats_decide() -> None:
    said = "A sentence that is long enough to be taken for one that somebody wrote twice by mistake, surely."
    modules = [
        Module("a", f"{said}\n\nfirst\n"),
        Module("b", f"{said}\n\nsecond\n"),
        Module("c", "only with exec\n", when=When(tools=("exec",))),
        Module("d", "only for coders\n", when=When(agents=("cod*",))),
        Module("e", "only about rain\n", when=When(words=("rain",))),
        Module("f", "only for kimi\n", when=When(models=("kimi*",))),
    ]
    made = assemble(modules, Session("no", ("read",), "writer", "gpt"), count=_words)
    assert made.text.count(said) == 1
    assert "second" in made.text
    assert "only" not in made.text.replace("(Left out", "")
    made = assemble(modules, Session("rain?", ("exec",), "coder", "kimi-k3"), count=_words)
    assert made.text.count("only") == 4


def test_stable_first_moves_dates_to_the_end_and_keeps_all() -> None:
    modules = [Module("now", "Date: 2026-11-20\n", volatile=True), Module("a", "a\n"), Module("z", "z\n", priority=100)]
    made = assemble(modules, Session(), count=_words, order="stable_first")
    assert made.text == "z\na\nDate: 2026-11-20\n"


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 400), st.sampled_from(["", "weather", "fix src/a.py", "日本"]))
def test_assembling_never_adds_and_is_the_same_again(budget: int, query: str) -> None:
    modules = split(PROMPT)
    made = assemble(modules, Session(query, TOOLS), count=_words, budget_tokens=budget)
    assert made == assemble(modules, Session(query, TOOLS), count=_words, budget_tokens=budget)
    own = {line.strip() for line in PROMPT.splitlines()}
    ours = ("- more, by name", "(Left out")
    assert all(line.strip() in own or line.strip().startswith(ours) for line in made.text.splitlines())
    for name in ("weather", "calendar", "browser", "speech", "images", *TOOLS):
        assert name in made.text


def test_modules_are_files_and_come_back_the_same() -> None:
    for module in split(PROMPT):
        assert read_module("010-x.md", written(module)) == module
    told = Module("T: with a colon", "# T\ntext\n", ("a",), When(tools=("x",)), 70, True)
    assert read_module("t.md", written(told)) == told
    assert read_module("020-my-part.md", "plain text").title == "my part"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("---\ntitle: [\n---\nx", "not valid YAML"),
        ("---\npriority: high\n---\nx", "priority"),
        ("---\npriority: 200\n---\nx", "between 0"),
        ("---\ncolour: red\n---\nx", "colour"),
    ],
)
def test_front_matter_that_is_wrong_is_named_with_its_file(content: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_module("010-a.md", content)
    assert "010-a.md" in str(caught.value)


def test_the_linter_finds_what_is_planted_and_nothing_in_a_clean_prompt() -> None:
    modules = [
        Module("a", "Always run the whole test suite before you commit to the main branch.\n"),
        Module("now", "Current date: 2026-11-20\n", volatile=True),
        Module("b", "Never run the whole test suite before you commit to the main branch.\n"),
        Module("c", "Answer in the language of the user and keep it as short as you can.\n"),
        Module("d", "Answer in the language of the user and keep it as short as you can.\n"),
        Module("e", "Use `teleport` to go elsewhere.\n" + "word " * 40),
    ]
    found = lint(modules, count=_words, used=Used({"read"}, 50))
    rules = {(f.rule, f.title) for f in found}
    assert ("contradiction", "b") in rules
    assert ("repeated", "d") in rules
    assert ("dead", "e") in rules
    assert ("volatile_early", "now") in rules
    assert not [f for f in lint(modules, count=_words, used=Used({"read"}, 3)) if f.rule == "dead"]
    assert not lint([Module("a", "Read before you write.\n"), Module("b", "Ask when in doubt.\n")], count=_words)


def test_names_are_told_by_how_they_are_written() -> None:
    named = names_in(
        "Use `exec` or memory_search(x); read docs/a.md and\n- browser (core): x\n<name>notion</name> of/course"
    )
    assert {"exec", "memory_search", "docs/a.md", "a.md", "browser", "notion"} <= named
    assert "read" not in named
    assert "course" not in named


def test_what_calls_use_is_found_in_their_arguments() -> None:
    used = used_in([("Read", '{"path":"/opt/skills/notion/SKILL.md"}'), ("tool_call", '{"id":"weather","args":{}}')])
    assert {"read", "notion", "skill.md", "tool_call", "weather"} <= used
