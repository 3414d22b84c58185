from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.content_kinds import by_kind, given

CODE = "import os\n\n\n" + "\n\n".join(
    f"def read_{n}(path):\n    first = os.stat(path)\n    second = first.st_size\n    third = 3\n    return third\n"
    for n in range(60)
)


def call(call_id: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": "tool", "arguments": json.dumps(arguments)}
    return {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]}


SESSION = {
    "id": "1",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "mend read_7"},
        call("a", path="src/io.py"),
        {"role": "tool", "tool_call_id": "a", "content": CODE},
        call("b", search="read_41", replace="read_7", other="never_there"),
        {"role": "tool", "tool_call_id": "b", "content": "done"},
    ],
}
PLAIN = {
    "id": "2",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": "So:\n```\ncat a.txt\n```"},
        {"role": "user", "content": "flag_17 is here"},
        {"role": "assistant", "content": "```\nsubmit flag_17\n```"},
    ],
}


def test_what_later_calls_need_of_a_result_is_what_only_the_result_said(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("\n".join(json.dumps(session) for session in (SESSION, PLAIN)))
    first, second, third = given([file])
    assert first.needed == {"read_41"}
    assert first.ask.query == "mend read_7"
    assert json.loads(first.ask.arguments) == {"path": "src/io.py"}
    assert second.needed == frozenset()
    assert third.needed == {"flag_17"}


def test_rows_say_what_is_saved_and_what_is_kept_beside_other_ways(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(json.dumps(SESSION))
    code, both = by_kind(given([file]), lambda text: len(text) // 4, [300])
    assert code["kind"] == "code"
    assert both["kind"] == "all"
    assert code["texts"] == 1
    assert code["saving_lossless"] == 0.0
    assert code["saving_reduced"] > 0.4
    assert code["needed"] == 1
    assert code["values_kept"] == 1.0
    assert code["values_pass_through"] == 1.0
    assert code["values_head_tail"] == 0.0
