"""Whatever a session holds, only texts of results change, all can be had back, and what was sent stays as it was."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.gate_rig import MARK, Rig
from tests.unit.optimizers.compression.test_compression import call, optimizer

from pennyweight.optimizers.compression.results import results
from pennyweight.optimizers.compression.standing import earlier
from pennyweight.testing.optimizer_contract import ContractParts
from pennyweight.text.compression import compress
from pennyweight.text.compression.repeats import expanded, is_note
from pennyweight.wire.blocks import Reader

COUNT = ContractParts().tokenizer.count
PAGE = "".join(f"{n:5}\tdef function_{n}(argument): return argument * {n * 31}\n" for n in range(60))
ROWS = json.dumps([{"id": f"row_{n}", "state": "ready", "size": n * 17, "note": None} for n in range(40)], indent=1)
TEXTS = st.sampled_from(
    [
        PAGE,
        PAGE.replace("function_7(", "other_7("),
        "\n".join(PAGE.split("\n")[10:40]),
        ROWS,
        ROWS.replace("row_3", "row_three"),
        f"Chunk ID: 1f\nWall time: 0.1 seconds\nOutput:\n{PAGE}",
        f"Chunk ID: 2e\nWall time: 0.2 seconds\nOutput:\n{PAGE}",
        json.dumps({"output": [{"type": "text", "text": PAGE}]}),
        "[again: all of the result of read src/a.py]",
        "Datei gelesen: " + "Größe und Gewicht der Brücke über den Fluß, 山の上の家。 " * 30,
        "ok",
        "",
    ]
)
STEPS = st.lists(st.tuples(TEXTS, st.sampled_from(["a.py", "b.py"]), st.booleans()), min_size=1, max_size=5)


def _messages(steps: list[tuple[str, str, bool]]) -> list[dict[str, Any]]:
    task = {"type": "text", "text": "Find the bug. " * 400, "cache_control": MARK}
    found: list[dict[str, Any]] = [{"role": "user", "content": [task]}]
    for number, (text, path, failed) in enumerate(steps):
        use = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"path": path}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": text, "is_error": failed}
        found += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    if steps:
        found[-1]["content"][-1]["cache_control"] = MARK
    return found


def _unmarked(messages: list[dict[str, Any]]) -> Any:
    return json.loads(json.dumps(messages), object_hook=lambda o: {k: v for k, v in o.items() if k != "cache_control"})


def _bare(messages: list[dict[str, Any]]) -> list[Any]:
    """Without the texts of results."""
    return json.loads(
        json.dumps(messages), object_hook=lambda o: {**o, "content": ""} if o.get("type") == "tool_result" else o
    )


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_a_session(steps: list[tuple[str, str, bool]]) -> None:
    rig = Rig()
    rig = Rig(optimizer(rig), clock=rig.clock, provider=rig.provider, economy=rig.economy)
    reader, before = Reader(), []
    for turn in range(len(steps) + 1):
        asked = call(_messages(steps[:turn]))
        rig.ask(asked)
        sent = rig.provider.sent[-1]
        assert _bare(sent.body["messages"]) == _bare(asked.original.body["messages"])
        assert _unmarked(sent.body["messages"])[: len(before)] == before  # all of it is warm
        before = _unmarked(sent.body["messages"])
        standing = []
        for result in results(reader.read(sent), reader.read(asked.original)):
            if is_note(result.sent) and not is_note(result.original):
                assert expanded(result.sent, standing) == result.original
            elif not result.untouched:
                assert compress(result.original, count=COUNT).text == result.sent
            assert result.untouched or not result.block.failed
            source = earlier(result, lambda _: True)
            standing += [source] if source is not None else []
