"""Cache marks, keys and first forms: where they are put, where they never are, and that they pay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.optimizers.loops import CLAUDE, House, bare, loop, marked, marks, steps, tool, words

from pennyweight.call import Call, Outcome, Step, Target, Verdict
from pennyweight.optimizers.prompt_cache.forms import volatile
from pennyweight.protocols import Optimizer
from pennyweight.request import Done, Operation, Wire
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract, odd_calls

FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        house = House()
        house.run(list(loop(6)))
        return house.optimizer

    def calls(self) -> Sequence[Call]:
        house = House()
        return [*odd_calls(), *(house.call(body) for body in list(loop(8))[5:])]


# --- marks ------------------------------------------------------------------------------------------------------


def test_a_loop_without_marks_gets_them_and_costs_less() -> None:
    house = House()
    sent = house.run(list(loop(20)))
    assert house.paid < 0.45 * house.asked
    assert marks(sent[0].request.body) == []  # nobody knows yet whether it goes on
    assert all(marks(call.request.body) for call in sent[8:])
    assert all(bare(call.request.body) == bare(call.original.body) for call in sent)
    assert max(len(marks(call.request.body)) for call in sent) <= 4


BLOCKS = [{"type": "text", "text": words(700, f"rule{number}x")} for number in range(12)]


@pytest.mark.parametrize("gap_s", [5.0, 100.0])
@pytest.mark.parametrize("result", [400, 6_000])
def test_a_session_may_end_with_any_call(result: int, gap_s: float) -> None:
    house = House()
    for body in loop(45, system=BLOCKS, result=result):
        house.play(house.call(body), gap_s=gap_s)
        assert house.paid <= 1.001 * house.asked
    assert house.paid < 0.75 * house.asked


@pytest.mark.parametrize(("stake", "least", "most"), [(0.0, 1.0, 1.0), (0.001, 1.0, 1.0), (0.01, 0.2, 0.4)])
def test_the_operator_says_how_much_may_be_at_stake(stake: float, least: float, most: float) -> None:
    """For one large block, which must be written whole."""
    house, worst = House(stake=stake), 1.0
    for body in loop(45, system=words(4_600, "rule"), tools=0):
        house.play(house.call(body))
        worst = max(worst, house.paid / house.asked)
    assert least <= house.paid / house.asked <= most
    assert worst <= 1.0 + stake


def test_a_small_prefix_that_was_paid_for_is_read_however_fast_the_prompt_grows() -> None:
    house = House()
    house.run(list(loop(12, system=BLOCKS, result=20_000)))
    first = next(number for number, usage in enumerate(house.usages) if usage.cache_write_5m_tokens)
    assert all(usage.cache_read_tokens for usage in house.usages[first + 1 :])


def test_a_single_call_is_left_alone() -> None:
    house = House()
    (sent,) = house.run(list(loop(1)))
    assert sent.request is sent.original
    assert house.paid == house.asked


@pytest.mark.parametrize("taken", [1, 2, 3, 4])
def test_the_callers_marks_stay_and_there_are_never_more_than_four(taken: int) -> None:
    """Marks on the head only: the conversation behind it is not cached, so there is something to gain."""
    bodies = list(loop(14))
    for body in bodies:
        for place in range(min(taken, 3)):
            body["tools"][place]["cache_control"] = FIVE
        if taken == 4:
            body["system"] = [{"type": "text", "text": body["system"], "cache_control": FIVE}]
    house = House()
    for call in house.run(bodies):
        found = marks(call.request.body)
        assert len(found) <= 4
        assert [mark for mark in found if mark in marks(call.original.body)] == marks(call.original.body)
    assert house.paid <= house.asked
    assert (house.paid < 0.8 * house.asked) is (taken < 4)


def test_the_automatic_option_is_the_callers_word() -> None:
    house = House()
    for call in house.run([{**body, "cache_control": FIVE} for body in loop(12)]):
        assert call.request is call.original


def test_a_client_that_caches_well_is_left_alone() -> None:
    bodies = marked(loop(12))
    house = House()
    house.run(bodies)
    assert house.paid == pytest.approx(house.asked, rel=0.01)


def test_an_hours_life_where_the_gaps_call_for_it() -> None:
    house = House()
    sent = house.run(list(loop(40, result=2_500)), gap_s=1_200.0)
    lives = {life for call in sent for _, life in marks(call.request.body)}
    assert lives == {"1h"}
    assert house.paid < 0.95 * house.asked  # it begins small: a pause may be the last one
    assert house.usages[-1].cache_read_tokens > 0.8 * house.usages[-1].input_tokens


@pytest.mark.parametrize(("ttl", "calls"), [("5m", 16), ("1h", 36)])
def test_the_operator_says_how_long_marks_live(ttl: str, calls: int) -> None:
    house = House(ttl=ttl)
    sent = house.run(list(loop(calls, result=2_500)))
    assert {life for call in sent for _, life in marks(call.request.body)} == {ttl}


@pytest.mark.parametrize("place", ["head", "end"])
@pytest.mark.parametrize("own", [FIVE, HOUR])
def test_an_hour_stands_before_five_minutes(place: str, own: dict[str, str]) -> None:
    """Anthropic refuses the other order; the caller has one of either life, before ours or behind."""
    bodies = list(loop(24))
    for number, body in enumerate(bodies):
        if place == "head":
            body["tools"][-1]["cache_control"] = own
        elif number:
            body["messages"][-1]["content"][-1]["cache_control"] = own
    for ttl in ("auto", "5m", "1h"):
        for gap_s in (5.0, 1_200.0):
            house = House(ttl=ttl)
            for call in house.run(bodies, gap_s=gap_s):
                lives = [life for _, life in marks(call.request.body)]
                assert lives == sorted(lives), (ttl, gap_s, lives)


def test_no_mark_stands_on_an_empty_text_or_on_thinking() -> None:
    bodies = list(loop(50))
    for body in bodies:
        for message in body["messages"]:
            if message["role"] == "user" and isinstance(message["content"], list):
                message["content"].append({"type": "text", "text": ""})
            elif message["role"] == "assistant":
                message["content"].insert(0, {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"})
    house = House()
    seen = 0
    for call in house.run(bodies):
        for path, _ in marks(call.request.body):
            if path[0] == "messages":
                message = call.request.body["messages"][path[1]]
                assert message["role"] == "user"
                assert message["content"][path[3]].get("text") != ""
                seen += 1
    assert seen


def test_no_mark_stands_on_a_message_that_will_be_gone() -> None:
    house = House()
    sent = house.run(list(loop(60, transient=True)))
    placed = [path for call in sent for path, _ in marks(call.request.body)]
    assert placed
    for call in sent:
        last = len(call.request.body["messages"]) - 1
        assert not any(path[:2] == ("messages", last) for path, _ in marks(call.request.body))
    assert house.paid < 0.6 * house.asked


def test_openclaws_transient_message_is_known_before_it_was_ever_gone() -> None:
    bodies = list(loop(13))
    bodies[-1] = list(loop(13, transient=True))[-1]
    last = House().run(bodies)[-1].request.body
    assert marks(last)[-1][0][:2] == ("messages", len(last["messages"]) - 2)


def test_a_turn_longer_than_the_look_back_keeps_a_mark_where_the_last_one_stood() -> None:
    bodies = list(loop(30, parts=24, result=1_200))
    house = House()
    sent = house.run(bodies)
    assert house.usages[-1].cache_read_tokens > 0.8 * house.usages[-2].input_tokens
    before = marks(sent[-2].request.body)[-1][0]
    now = [path for path, _ in marks(sent[-1].request.body)]
    assert before in now
    assert now[-1][:2] == ("messages", len(bodies[-1]["messages"]) - 1)


def test_a_string_becomes_a_block_where_the_mark_stands_and_is_a_string_again_later() -> None:
    """Chats: every message is a string."""
    bodies = []
    messages: list[dict[str, Any]] = []
    for number in range(50):
        messages.append({"role": "user", "content": words(300, f"q{number}x")})
        bodies.append({"model": CLAUDE, "system": words(900, "rule"), "messages": list(messages)})
        messages.append({"role": "assistant", "content": words(100, f"a{number}x")})
    house = House()
    last = house.run(bodies)[-1].request.body
    assert house.paid < 0.9 * house.asked
    assert last["messages"][-1]["content"] == [
        {"type": "text", "text": bodies[-1]["messages"][-1]["content"], "cache_control": FIVE}
    ]
    for place in range(0, 23, 2):
        assert last["messages"][place]["content"] == bodies[-1]["messages"][place]["content"]
    assert last["system"] == [{"type": "text", "text": words(900, "rule"), "cache_control": FIVE}]


def test_a_list_of_system_blocks_is_marked_on_its_last() -> None:
    system = [{"type": "text", "text": words(500, "a")}, {"type": "text", "text": words(500, "b")}]
    last = House().run(list(loop(12, system=system)))[-1].request.body
    assert last["system"] == [system[0], {**system[1], "cache_control": FIVE}]


def test_tools_are_marked_where_there_is_no_system_prompt() -> None:
    last = House().run(list(loop(12, system="", tools=12)))[-1].request.body
    assert [place for place, spec in enumerate(last["tools"]) if "cache_control" in spec] == [11]
    assert last["tools"][:11] == [tool(f"t{place}") for place in range(11)]


# --- callers who speak OpenAI to a model that is Claude ---------------------------------------------------------


def test_a_chat_caller_of_claude_gets_marks_on_content_parts() -> None:
    house = House()
    bodies = [chat(number, CLAUDE) for number in range(1, 60)]
    target = Target("anthropic", CLAUDE, Wire.ANTHROPIC_MESSAGES)
    last = house.run(bodies, wire=Wire.OPENAI_CHAT, target=target)[-1].request.body
    assert last["messages"][-1]["content"][0]["cache_control"] == FIVE
    assert last["messages"][0]["content"][0]["cache_control"] == FIVE
    assert bare(last) == bare(bodies[-1])
    assert house.paid < 0.9 * house.asked


def test_a_responses_caller_of_claude_gets_marks_on_input_parts() -> None:
    house = House()
    bodies = [responses(number, CLAUDE) for number in range(1, 60)]
    target = Target("anthropic", CLAUDE, Wire.ANTHROPIC_MESSAGES)
    last = house.run(bodies, wire=Wire.OPENAI_RESPONSES, target=target)[-1].request.body
    assert last["input"][-1] == {**bodies[-1]["input"][-1], "cache_control": FIVE}
    assert last["instructions"] == [{"type": "input_text", "text": bodies[-1]["instructions"], "cache_control": FIVE}]
    assert house.paid < 0.9 * house.asked


def test_a_responses_callers_tool_results_are_marked_as_they_are() -> None:
    """The last item is a `function_call_output`: it has no content, and must not get one."""
    bodies = [responses_loop(number) for number in range(1, 15)]
    target = Target("anthropic", CLAUDE, Wire.ANTHROPIC_MESSAGES)
    last = House().run(bodies, wire=Wire.OPENAI_RESPONSES, target=target)[-1].request.body
    assert last["input"][-1] == {**bodies[-1]["input"][-1], "cache_control": FIVE}


@pytest.mark.parametrize(
    ("wire", "target"),
    [
        (Wire.OLLAMA, Target("anthropic", CLAUDE, Wire.ANTHROPIC_MESSAGES)),  # its messages hold nothing but strings
        (Wire.OPENAI_RESPONSES, Target("openrouter", CLAUDE, Wire.OPENAI_RESPONSES)),
        (Wire.OPENAI_CHAT, Target("openai", "gpt-4o", Wire.OPENAI_CHAT)),
        (Wire.OPENAI_CHAT, Target("deepseek", "deepseek-chat", Wire.OPENAI_CHAT)),
    ],
)
def test_no_mark_where_nobody_takes_one(wire: Wire, target: Target) -> None:
    make = responses if wire is Wire.OPENAI_RESPONSES else chat
    bodies = [make(number, target.model) for number in range(1, 15)]
    for call in House(keys=False).run(bodies, wire=wire, target=target):
        assert call.request is call.original


def responses_loop(turns: int) -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"role": "user", "content": "Please look into it."}]
    for number in range(turns):
        items.append({"type": "function_call", "call_id": f"c{number}", "name": "t0", "arguments": "{}"})
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": words(300, f"r{number}x")})
    return {"model": CLAUDE, "instructions": words(900, "rule"), "input": items}


def chat(turns: int, model: str) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": words(900, "rule")}]
    for number in range(turns):
        messages.append({"role": "user", "content": words(300, f"q{number}x")})
        messages.append({"role": "assistant", "content": "Yes."})
    return {"model": model, "messages": messages[:-1]}


def responses(turns: int, model: str) -> dict[str, Any]:
    said = chat(turns, model)["messages"]
    items = [
        {"role": "assistant", "content": [{"type": "output_text", "text": message["content"]}]}
        if message["role"] == "assistant"
        else {"role": "user", "content": message["content"]}
        for message in said[1:]
    ]
    return {"model": model, "instructions": said[0]["content"], "input": items}


# --- keys -------------------------------------------------------------------------------------------------------


def key(call: Call) -> Any:
    return call.request.body.get("prompt_cache_key")


def test_a_sessions_calls_get_one_key_at_openai() -> None:
    house = House()
    keys = [
        key(house.play(house.call(chat(2, "gpt-4o"), Wire.OPENAI_CHAT, session=session))) for session in ("a", "a", "b")
    ]
    assert keys[0] == keys[1] != keys[2]
    assert all(len(name) <= 64 for name in keys)
    assert key(house.play(house.call(responses(2, "gpt-4o"), Wire.OPENAI_RESPONSES))) is not None


def test_no_key_where_it_is_not_taken_or_not_wanted() -> None:
    house = House()
    long, short = chat(2, "gpt-4o"), {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    own = house.play(house.call({**long, "prompt_cache_key": "mine"}, Wire.OPENAI_CHAT))
    assert key(own) == "mine"
    elsewhere = Target("groq", "gpt-oss-120b", Wire.OPENAI_CHAT)
    for made in (
        house.call(short, Wire.OPENAI_CHAT),
        house.call(long, Wire.OPENAI_CHAT, session=""),
        house.call(long, Wire.OPENAI_CHAT, target=elsewhere),
        house.call(chat(2, "deepseek-chat"), Wire.OPENAI_CHAT, target=Target("deepseek", "d", Wire.OPENAI_CHAT)),
        House(keys=False).call(long, Wire.OPENAI_CHAT),
    ):
        other = (
            House(keys=False)
            if made.target.model == "gpt-4o" and made.identity.session and len(made.request.raw) > 500
            else house
        )
        assert key(other.play(made)) is None
    embed = house.call({"model": "gpt-4o", "input": words(2_000, "x")}, Wire.OPENAI_RESPONSES)
    request = msgspec.structs.replace(embed.request, operation=Operation.EMBED)
    assert key(house.play(msgspec.structs.replace(embed, request=request, original=request))) is None


# --- first forms, under max -------------------------------------------------------------------------------------


def test_tools_in_another_order_are_sent_in_the_first_one() -> None:
    bodies = marked(loop(10))
    for body in bodies[5:]:
        body["tools"] = body["tools"][::-1]
    house = House(optimize="max")
    sent = house.run(bodies)
    assert [[spec["name"] for spec in call.request.body["tools"]] for call in sent[5:]] == [["t0", "t1", "t2"]] * 5
    assert house.paid < 0.8 * house.asked
    for call in House().run(bodies)[5:]:
        assert [spec["name"] for spec in call.request.body["tools"]] == ["t2", "t1", "t0"]


def test_first_forms_have_the_breakpoints_that_the_caller_has_now() -> None:
    """A client that marks other places later: with those of the first form there would be five."""
    first, second = dated(2)
    second["system"][0] = {"type": "text", "text": second["system"][0]["text"], "cache_control": HOUR}
    first["tools"][2]["cache_control"] = FIVE
    second["tools"] = second["tools"][::-1]
    for place in (0, 1):
        second["tools"][place]["cache_control"] = HOUR
    house = House(optimize="max")
    house.play(house.call(first))
    out = house.play(house.call(second)).request.body
    assert [spec["name"] for spec in out["tools"]] == ["t0", "t1", "t2"]
    assert out["system"][0]["text"] == first["system"][0]["text"]
    assert marks(out) == [
        (("tools", 0), "1h"),
        (("tools", 1), "1h"),
        (("system", 0), "1h"),
        (("messages", 2, "content", 0), "5m"),
    ]


def test_other_tools_are_other_tools() -> None:
    bodies = list(loop(8))
    for body in bodies[5:]:
        body["tools"] = [*body["tools"][::-1], tool("new")]
    sent = House(optimize="max").run(bodies)
    assert [spec["name"] for spec in sent[-1].request.body["tools"]] == ["t2", "t1", "t0", "new"]


def dated(calls: int) -> list[dict[str, Any]]:
    """A client that caches well, but for the time of day in its system prompt."""
    bodies = list(loop(calls))
    for number, body in enumerate(bodies):
        body["system"] = f"You help.\nIt is Tuesday, 2026-11-{10 + number} 09:{number:02}.\n{words(900, 'rule')}"
    return marked(bodies)


def test_a_system_prompt_that_differs_in_its_date_keeps_its_first_form() -> None:
    bodies = dated(10)
    house = House(optimize="max")
    sent = house.run(bodies)
    for body, call in zip(bodies[1:], sent[1:], strict=True):
        out = call.request.body
        assert out["system"] == bodies[0]["system"]
        told = out["messages"][-1]["content"][-1]["text"]
        assert body["system"][0]["text"].splitlines()[1] in told
        assert "You help." not in told  # only what is different
        assert bare(out["messages"][-1]["content"][:-1]) == bare(body["messages"][-1]["content"])
    assert house.paid < 0.7 * house.asked


def test_a_system_prompt_is_left_alone_under_safe_and_where_more_than_a_date_differs() -> None:
    bodies = dated(6)
    for call, body in zip(House().run(bodies), bodies, strict=True):
        assert call.request.body["system"] == body["system"]
    bodies[-1]["system"][0]["text"] = bodies[-1]["system"][0]["text"].replace("You help.", "You hinder.")
    assert House(optimize="max").run(bodies)[-1].request.body["system"] == bodies[-1]["system"]


def test_another_sessions_first_form_is_none_of_ours() -> None:
    house = House(optimize="max")
    first, second = dated(2)
    house.play(house.call(first, session="a"))
    sent = house.play(house.call(second, session="b"))
    assert sent.request.body["system"] == second["system"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21",
        "2026-11-21T09:30:00Z",
        "2026-11-21 09:30:00.123+02:00",
        "9:30 PM",
        "Saturday",
        "November",
        "21st",
        "123e4567-e89b-12d3-a456-426614174000",
        "42",
    ],
)
def test_what_counts_as_volatile(text: str) -> None:
    assert "".join(volatile(f"It is {text} here")) == text


def test_words_are_not_volatile() -> None:
    assert volatile("You may decide. Use sha256 or utf8, v2a, and the Monday.com tool") == ["Monday"]


# --- off and shadow ---------------------------------------------------------------------------------------------


def test_off_touches_nothing() -> None:
    for call in House(optimize="off").run(list(loop(8))):
        assert call.request is call.original
        assert call.trail == ()


def test_shadow_says_what_it_would_have_done() -> None:
    house = House(mode="shadow")
    sent = house.run(list(loop(12)))
    assert all(call.request is call.original for call in sent)
    assert house.paid == house.asked
    assert Verdict.SHADOWED in {step.verdict for call in sent for step in steps(call)}


def test_a_step_says_how_many_marks_and_their_life() -> None:
    (step,) = steps(House().run(list(loop(12)))[-1])
    assert step.verdict is Verdict.ACCEPTED
    assert "cache breakpoint" in step.why
    assert "(5m)" in step.why


# --- an upstream that takes none of it --------------------------------------------------------------------------


def refused(call: Call, *, status: int = 200) -> Outcome:
    """As the pipeline settles a call that was refused as we sent it, and then asked as the caller wrote it."""
    step = Step("prompt_cache", Verdict.FAILED, why="1 cache breakpoint (5m)", error="refused_upstream")
    return Outcome(call.note(step), Done(), status, "p")


def test_an_upstream_that_refuses_what_is_added_gets_no_more_of_it_for_an_hour() -> None:
    house = House()
    bodies = list(loop(16))
    house.run(bodies[:12])
    untouched = house.call(bodies[12])
    for status in (400, 200, 200):  # a call that is refused either way says nothing of us
        assert ask(house, bodies[12]) is not None
        asyncio.run(house.optimizer.settle(refused(untouched, status=status)))
    assert ask(house, bodies[12]) is None
    house.clock.advance(3_601.0)
    house.run(bodies[12:14])
    assert ask(house, bodies[14]) is not None


def test_one_refusal_is_forgotten_with_the_next_call_that_goes_through() -> None:
    house = House()
    bodies = list(loop(16))
    house.run(bodies[:12])
    for place in (12, 13, 14):
        asyncio.run(house.optimizer.settle(refused(house.call(bodies[place]))))
        assert marks(house.play(house.call(bodies[place])).request.body)


def ask(house: House, body: dict[str, Any]) -> object:
    return asyncio.run(house.optimizer.propose(house.call(body)))
