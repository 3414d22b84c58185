from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tests.unit.gate_rig import CLAUDE, MARK, Rig, economy, verdicts, words

from pennyweight.call import Call, Identity, Proposal, Rewrite
from pennyweight.optimizers.compression import Compression, Settings, build
from pennyweight.policy import Flag, Policy
from pennyweight.protocols import Optimizer
from pennyweight.request import Edit, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractKV, ContractParts, OptimizerContract, odd_calls
from pennyweight.text.compression.repeats import Earlier, expanded

FILE = "".join(f"line {n} of the file says {'so ' * (n % 3)}{n * 17} and a little more\n" for n in range(300))
EDITED = FILE.replace("line 40 of the file says", "line 40 now says")


class Parts(ContractParts):
    def __init__(self) -> None:
        super().__init__()
        self.economy = economy()


def optimizer(rig: Rig | None = None, kv: Any = None, **settings: Any) -> Compression:
    parts: Any = Parts()
    parts.kv = kv or parts.kv
    if rig is not None:
        parts.economy, parts.clock = rig.economy, rig.clock
    return build(Settings(**settings), parts)


def steps(*results: str, failed: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    """A tool loop on Messages: the task, and for each result its call and itself, marks on the task and the last."""
    task = "Find the bug. " + "Be careful with what you change. " * 300
    said = [{"type": "text", "text": task, "cache_control": MARK}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": said}]
    for number, text in enumerate(results):
        use = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"path": "src/a.py"}}
        messages.append({"role": "assistant", "content": [use]})
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": text}
        messages.append({"role": "user", "content": [result | ({"is_error": True} if number in failed else {})]})
    messages[-1]["content"][-1]["cache_control"] = MARK
    return messages


def call(messages: list[dict[str, Any]], *, optimize: Any = "max", session: str = "s", **fields: Any) -> Call:
    body = {"model": CLAUDE, "max_tokens": 100, **fields, "messages": messages}
    raw = json.dumps(body).encode()
    return make_call(raw, wire=Wire.ANTHROPIC_MESSAGES, session=session, model=CLAUDE, optimize=optimize)


def rigged(before: Rig | None = None, kv: Any = None, **settings: Any) -> Rig:
    """before: the gateway that was there before, at the same provider."""
    rig = Rig(clock=before.clock, provider=before.provider) if before is not None else Rig()
    return Rig(optimizer(rig, kv, **settings), clock=rig.clock, provider=rig.provider, economy=rig.economy)


def result(rig: Rig, number: int) -> str:
    return str(rig.texts()[2 * number + 2]["content"][0]["content"])


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        with_economy: Any = parts
        with_economy.economy = economy()
        return build(Settings(), with_economy)

    def calls(self) -> list[Call]:
        return [*odd_calls(), call(steps(FILE, EDITED)), call(steps(FILE, EDITED, FILE, FILE))]


def test_a_re_read_is_sent_as_a_note_and_stays_so() -> None:
    rig = rigged()
    for turn in range(1, 5):
        rig.ask(call(steps(*(FILE, EDITED, "done, all tests pass now", "bye")[:turn])))
        assert result(rig, 0) == FILE
    form = result(rig, 1)
    assert len(form) < 300
    assert expanded(form, [Earlier("read src/a.py", FILE)]) == EDITED
    sent = [[r.body["messages"][4]["content"][0]["content"] for r in rig.provider.sent[1:]]]
    assert {text for texts in sent for text in texts} == {form}


def test_nothing_happens_under_safe() -> None:
    rig = rigged()
    rig.ask(call(steps(FILE), optimize="safe"))
    outcome = rig.ask(call(steps(FILE, EDITED), optimize="safe"))
    assert result(rig, 1) == EDITED
    assert ("compression", "not_allowed") in verdicts(outcome)


def test_what_was_once_sent_as_it_came_stays_so_while_it_is_warm() -> None:
    """Under safe first, and with the same session at max afterwards."""
    rig = rigged()
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED), optimize="safe"))
    rig.ask(call(steps(FILE, EDITED, "done")))
    assert result(rig, 1) == EDITED
    before = rig.provider.bills[-1]
    assert before.cache_read_tokens > 0.9 * before.input_tokens


def test_older_results_are_done_at_once_when_nothing_is_warm() -> None:
    rig = rigged()
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED), optimize="safe"))
    rig.ask(call(steps(FILE, EDITED, "done")), after_s=4_000.0)
    assert len(result(rig, 1)) < 300
    rig.ask(call(steps(FILE, EDITED, "done", "bye")))
    assert len(result(rig, 1)) < 300


def test_older_results_are_left_alone_where_the_operator_says_so() -> None:
    rig = rigged(cold=False)
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED), optimize="safe"))
    rig.ask(call(steps(FILE, EDITED, "done")), after_s=4_000.0)
    assert result(rig, 1) == EDITED


def test_a_conversation_that_went_on_before_is_left_alone_but_for_what_is_new() -> None:
    rig = rigged()
    rig.ask(call(steps(FILE, EDITED, EDITED)))
    assert result(rig, 1) == EDITED
    assert len(result(rig, 2)) < 300


def test_what_failed_is_sent_as_it_is() -> None:
    rig = rigged()
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED, failed=frozenset({1}))))
    assert result(rig, 1) == EDITED


def test_without_a_session_nothing_is_proposed() -> None:
    made = asyncio.run(optimizer().propose(call(steps(FILE, FILE), session="")))
    assert made is None


def test_a_wake_is_left_alone() -> None:
    asked = call(steps(FILE, FILE))
    wake = msgspec.structs.replace(asked, identity=Identity("local", "s", housekeeping="heartbeat"))
    assert asyncio.run(optimizer().propose(wake)) is None


def test_results_of_the_same_call_are_told_apart() -> None:
    rig = rigged()
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED * 2)))
    other = "".join(f"and quite another text in line {n}\n" for n in range(200))
    rig.ask(call(steps(FILE, EDITED * 2, other)))
    rig.ask(call(steps(FILE, EDITED * 2, other, other)))
    assert result(rig, 3) == "[again: all of read src/a.py (3)]"


def _chat(second: str) -> dict[str, Any]:
    def use(number: int) -> dict[str, Any]:
        function = {"name": "read", "arguments": '{"path":"src/a.py"}'}
        return {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}

    return {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Find the bug."},
            use(1),
            {"role": "tool", "tool_call_id": "c1", "content": FILE},
            use(2),
            {"role": "tool", "tool_call_id": "c2", "content": second},
        ],
    }


def _responses(second: str) -> dict[str, Any]:
    use = {"type": "function_call", "name": "read", "arguments": '{"path":"src/a.py"}'}
    return {
        "model": "m",
        "input": [
            {"role": "user", "content": "Find the bug."},
            {**use, "call_id": "c1"},
            {"type": "function_call_output", "call_id": "c1", "output": FILE},
            {**use, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": second}]},
        ],
    }


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.OLLAMA])
def test_every_protocol_and_only_the_text_of_the_result_changes(wire: Wire) -> None:
    body = _responses(EDITED) if wire is Wire.OPENAI_RESPONSES else _chat(EDITED)
    asked = make_call(msgspec.json.encode(body), wire=wire, session="s", optimize="max")
    proposal = asyncio.run(optimizer().propose(asked))
    assert isinstance(proposal, Proposal)
    assert isinstance(proposal.action, Rewrite)
    (edit,) = proposal.action.edits
    assert edit.value.startswith("[again: lines 1-40 of read src/a.py]")
    sent = asked.request.edit(proposal.action.edits).raw
    assert sent.replace(msgspec.json.encode(edit.value), msgspec.json.encode(EDITED)) == asked.request.raw
    assert proposal.level == "max"
    assert 0 < proposal.risk < 0.05
    assert proposal.tokens > 1_000


def test_where_the_optimizer_only_watches_nothing_changes() -> None:
    rig = Rig()
    policy = Policy({"compression": Flag("shadow")})
    watched = Rig(optimizer(rig), clock=rig.clock, provider=rig.provider, economy=rig.economy, policy=policy)
    watched.ask(call(steps(FILE)))
    outcome = watched.ask(call(steps(FILE, EDITED)))
    assert ("compression", "shadowed") in verdicts(outcome)
    assert result(watched, 1) == EDITED


@pytest.mark.parametrize("kept", [True, False])
def test_after_a_restart_a_session_is_sent_as_it_was(kept: bool) -> None:
    kv = ContractKV()
    first = rigged(kv=kv)
    first.ask(call(steps(FILE)))
    first.ask(call(steps(FILE, EDITED)))
    asyncio.run(first.pipeline.settle(first.outcomes[-1]))
    form = result(first, 1)
    assert len(form) < 300
    if not kept:
        kv.data.clear()
    second = rigged(first, kv=kv)
    second.ask(call(steps(FILE, EDITED, "done")))
    assert (result(second, 1) == form) is kept
    second.ask(call(steps(FILE, EDITED, "done", "bye")))
    assert (result(second, 1) == form) is kept
    bill = second.provider.bills[-2]
    if kept:
        assert bill.cache_read_tokens > 0.9 * bill.input_tokens


def test_what_is_kept_for_a_restart_is_no_text() -> None:
    kv = ContractKV()
    rig = rigged(kv=kv)
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED)))
    asyncio.run(rig.pipeline.settle(rig.outcomes[-1]))
    (value,) = kv.data.values()
    assert len(value) < 100
    assert b"line" not in value


def test_the_tool_stands_in_the_list_from_the_first_request_on_or_not_at_all() -> None:
    tools = [{"name": "read", "description": "Read a file", "input_schema": {"type": "object"}}]
    text = "\n".join(
        f"2026-01-{n % 28 + 1:02} 10:{n % 60:02}:00 status installed package-{n} 1.{n}" for n in range(900)
    )
    names = []
    for recall in ("always", "never", "auto"):
        rig = rigged(recall=recall)
        for turn in range(3):
            rig.ask(call(steps(*("ok", text, "done")[:turn]), tools=tools))
        names.append([[tool["name"] for tool in sent.body["tools"]] for sent in rig.provider.sent])
    assert names == [[["read", "recall"]] * 3, [["read"]] * 3, [["read"]] * 3]


def test_an_agent_whose_sessions_bring_long_results_gets_the_tool() -> None:
    tools = [{"name": "read", "description": "Read a file", "input_schema": {"type": "object"}}]
    rig = rigged(recall="learned")
    long = "\n".join(words(9, f"w{n}-") for n in range(400))
    for session in ("a", "b", "c"):
        for turn in range(4):
            asked = call(steps(*(long, long[::-1], "done")[:turn]), tools=tools, session=session)
            outcome = rig.ask(asked, after_s=10.0 if turn else 4_000.0)  # else the head of others is still warm
            asyncio.run(rig.pipeline.settle(outcome))
    offered = [len(sent.body["tools"]) for sent in rig.provider.sent]
    assert offered == [1] * 8 + [2] * 4


def test_without_the_tool_nothing_is_left_out() -> None:
    rig = rigged(recall="never")
    text = "\n".join(words(9, f"w{n}-") for n in range(400))
    rig.ask(call(steps()))
    outcome = rig.ask(call(steps(text)))
    assert "references" not in outcome.call.facts
    assert "recall(" not in result(rig, 0)


def test_observations_in_a_users_name_are_results() -> None:
    """As agents write that have no tools in the protocol: commands in a fence, and what came of them."""
    page = "\n".join(f"{n}:    value_{n} = compute({n * 7})" for n in range(120))

    def seen(text: str) -> dict[str, str]:
        return {"role": "user", "content": f"{text}\n(Open file: a.py)\nbash-$"}

    command = {"role": "assistant", "content": "Let us look.\n```\nopen a.py 60\n```"}
    task = {"role": "user", "content": "Find the bug."}
    body = {"model": "m", "messages": [task, command, seen(page), command, seen(page.replace("420)", "421)"))]}
    asked = make_call(msgspec.json.encode(body), session="s", optimize="max")
    proposal = asyncio.run(optimizer().propose(asked))
    assert proposal is not None
    assert isinstance(proposal.action, Rewrite)
    (edit,) = proposal.action.edits
    assert edit.path == ("messages", 4, "content")
    assert edit.value.startswith("[again: lines 1-60 of open a.py 60]")


def proposed(messages: list[dict[str, Any]], **settings: Any) -> tuple[Edit, ...]:
    asked = make_call(msgspec.json.encode({"model": "m", "messages": messages}), session="s", optimize="max")
    proposal = asyncio.run(optimizer(**settings).propose(asked))
    if proposal is None:
        return ()
    assert isinstance(proposal.action, Rewrite)
    return proposal.action.edits


CODE = [f"value_{n} = compute(argument_{n}, {n * 7})" for n in range(12)]
SHOWN = "\n".join(["[File: a.py (12 lines total)]", *(f"{n}:{line}" for n, line in enumerate(CODE, 1))])


def test_an_echo_of_what_the_model_wrote_names_its_call() -> None:
    def seen(text: str) -> dict[str, str]:
        return {"role": "user", "content": f"{text}\n(Open file: a.py)\nbash-$"}

    task = {"role": "user", "content": "Find the bug."}
    first = {"role": "assistant", "content": "I begin.\n```\ncreate a.py\n```"}
    for fences in (("```\n", "\n```"), ("<command>\n", "\n</command>")):
        said = "\n".join(["edit 1:1", *CODE, "end_of_edit"])
        edit = {"role": "assistant", "content": f"Now I write it.\n{fences[0]}{said}{fences[1]}"}
        (made,) = proposed([task, first, seen("[File: a.py (1 lines total)]\n1:"), edit, seen(SHOWN)])
        assert made.path == ("messages", 4, "content")
        assert made.value.split("\n")[:2] == [
            "[File: a.py (12 lines total)]",
            "[again: lines 2-13, numbered from 1:, of your call edit 1:1]",
        ]


def test_an_echo_of_a_tools_argument_names_call_and_argument() -> None:
    function = {"name": "write", "arguments": json.dumps({"path": "a.py", "content": "\n".join(CODE)})}
    calls = [{"id": "c1", "type": "function", "function": function}]
    task = {"role": "user", "content": "Write it."}
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    (made,) = proposed([task, said, {"role": "tool", "tool_call_id": "c1", "content": SHOWN}])
    note = made.value.split("\n")[1]
    assert note.startswith("[again: lines 1-12, numbered from 1:, of your call write a.py")
    assert note.endswith(", content]")


def demonstration() -> str:
    """How agents without tools show their interface: a session of another day, in one text."""
    turn = "I look.\n```\nopen a.py\n```\n" + SHOWN + "\n(Open file: a.py)\nbash-$\n"
    again = "I write it all anew.\n```\nedit 1:12\n" + "\n".join(CODE) + "\nend_of_edit\n```\n"
    return f"Here is how it is done.\n{turn}{again}{SHOWN}\n(Open file: a.py)\nbash-$\n{turn}--- END ---"


def test_what_an_example_shows_twice_is_named_and_what_its_model_says_is_not() -> None:
    system = {"role": "system", "content": "Be careful."}
    example = {"role": "user", "content": demonstration()}
    task = {"role": "user", "content": "Find the bug."}
    (made,) = proposed([system, example, task])
    assert made.path == ("messages", 1, "content")
    assert expanded(made.value, []) == demonstration()
    assert made.value.count("[again: ") == 2
    assert "edit 1:12\n" + "\n".join(CODE) + "\nend_of_edit\n" in made.value
    assert not proposed([system, example, task], examples=False)
    assert not proposed([system, task, example])  # the newest words of a human are his
    assert not proposed([system, {"role": "user", "content": demonstration().replace("bash-$", "")}, task])


def test_what_a_human_writes_is_left_alone() -> None:
    said = {"role": "user", "content": FILE + "Thanks!"}
    answer = {"role": "assistant", "content": "```\nx\n```"}
    body = {"model": "m", "messages": [said, answer, said, answer, said]}
    asked = make_call(msgspec.json.encode(body), session="s", optimize="max")
    assert asyncio.run(optimizer().propose(asked)) is None


def test_what_takes_too_long_is_sent_as_it_is() -> None:
    rig = rigged(work_s=1e-9)
    rig.ask(call(steps(FILE)))
    rig.ask(call(steps(FILE, EDITED)))
    assert result(rig, 1) == EDITED


def test_a_very_long_result_is_sent_as_it_is() -> None:
    long = FILE * 250
    asked = call(steps(long, long))
    assert asyncio.run(optimizer().propose(asked)) is None


def test_a_cold_moment_alone_is_no_reason_for_the_tool() -> None:
    tools = [{"name": "read", "description": "Read a file", "input_schema": {"type": "object"}}]
    rig = rigged()
    for turn in range(3):
        rig.ask(call(steps(*("a short result", "and another one")[:turn]), tools=tools), after_s=4_000.0)
    assert [len(sent.body["tools"]) for sent in rig.provider.sent] == [1, 1, 1]
