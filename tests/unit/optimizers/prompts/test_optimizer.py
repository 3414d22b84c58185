from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from pennyweight.app import build as build_app
from pennyweight.call import SAID, Call, Outcome, Proposal, Rewrite
from pennyweight.config import load
from pennyweight.economy import Economy
from pennyweight.money import Price
from pennyweight.optimizers.prompts import Prompts, Settings, build
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Done, Request, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.text.prompts.usage import SESSIONS, usage_key
from pennyweight.text.tokenizers import BpeTokenizer

LIST = "".join(
    f"- tool_{n} (core): Does thing {n} in a way that takes many words to tell, with details.\n" for n in range(60)
)
PROMPT = (
    "You are Ada.\n## Tools\n- read: Read files\n- write: Write files\n- exec: Run\n- ls: List\n"
    + f"## More\n{LIST}## Rules\n"
    + ("Work with care.\n" * 3)
    + "".join(f"## Part {n}\n" + f"Words about topic{n} that are many. " * 12 + "\n" for n in range(12))
)


class _Parts(msgspec.Struct):
    economy: Economy
    kv: MemoryKV


def _none(provider: str, model: str, at: float) -> Price | None:
    return None


def _prompts(**settings: Any) -> tuple[Prompts, MemoryKV]:
    tokenizer = BpeTokenizer()
    kv = MemoryKV(clock=FakeClock())
    economy = Economy(blocks=Blocks(count=tokenizer.count), caches=CacheBook(), prices=_none)
    return build(Settings(**{"wait_s": 10.0, **settings}), _Parts(economy, kv)), kv


def _call(body: Any, wire: Wire = Wire.OPENAI_CHAT, session: str = "s") -> Call:
    return make_call(msgspec.json.encode(body), wire=wire, session=session, optimize="max")


def _propose(prompts: Prompts, call: Call) -> Proposal | None:
    return asyncio.run(prompts.propose(call))


def _body(*more: Any, system: str = PROMPT, query: str = "Tell me of topic7 and tool_5.") -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": n, "parameters": {}}} for n in ("read", "write")]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": query}, *more]
    return {"model": "gpt-5.5", "messages": messages, "tools": tools}


def test_the_first_call_gets_the_parts_that_it_needs() -> None:
    prompts, _ = _prompts(least_tokens=500)
    call = _call(_body())
    proposal = _propose(prompts, call)
    assert proposal is not None
    assert isinstance(proposal.action, Rewrite)
    assert proposal.level == "max"
    sent = call.request.edit(proposal.action.edits).body["messages"]
    assert "topic7" in sent[0]["content"]
    assert "- tool_5 (core): Does thing 5" in sent[0]["content"]
    assert all(f"tool_{n}" in sent[0]["content"] for n in range(60))
    assert sent[1:] == call.request.body["messages"][1:]
    assert BpeTokenizer().count(sent[0]["content"]) <= 0.55 * BpeTokenizer().count(PROMPT)


def test_later_calls_short_prompts_and_chores_are_left_alone() -> None:
    prompts, _ = _prompts(least_tokens=500)
    assert (
        _propose(prompts, _call(_body({"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}))) is None
    )
    assert _propose(prompts, _call(_body(system="Be brief."))) is None
    assert _propose(prompts, _call(_body(), session="")) is None
    assert _propose(prompts, _call({"messages": "odd"})) is None


def test_a_session_does_not_wait_for_a_prompt_that_is_new() -> None:
    prompts, _ = _prompts(least_tokens=500, wait_s=0.001)
    call = _call(_body())

    async def asked() -> Proposal | None:
        with prompts._working:  # so that the work cannot be done in time
            return await prompts.propose(call)

    assert asyncio.run(asked()) is None
    assert "being read" in call.facts[SAID]["prompts"].why
    patient, _ = _prompts(least_tokens=500)
    assert _propose(patient, call) is not None


def test_every_protocol_has_its_system_prompt_changed_where_it_stands() -> None:
    prompts, _ = _prompts(least_tokens=500)
    user = [{"role": "user", "content": "topic7?"}]
    for wire, body in (
        (
            Wire.ANTHROPIC_MESSAGES,
            {"system": [{"type": "text", "text": "Short."}, {"type": "text", "text": PROMPT}], "messages": user},
        ),
        (Wire.ANTHROPIC_MESSAGES, {"system": PROMPT, "messages": user}),
        (Wire.OPENAI_RESPONSES, {"instructions": PROMPT, "input": "topic7?"}),
        (
            Wire.OPENAI_RESPONSES,
            {"input": [{"role": "developer", "content": [{"type": "input_text", "text": PROMPT}]}, *user]},
        ),
        (Wire.OLLAMA, {"messages": [{"role": "system", "content": PROMPT}, *user]}),
    ):
        call = _call(body, wire)
        proposal = _propose(prompts, call)
        assert proposal is not None, wire
        assert isinstance(proposal.action, Rewrite)
        sent = call.request.edit(proposal.action.edits)
        assert len(sent.raw) < 0.7 * len(call.request.raw)
        assert sent.body.keys() == call.request.body.keys()


def test_what_sessions_use_is_counted_once_each() -> None:
    prompts, kv = _prompts(least_tokens=500)

    async def play() -> None:
        for session in ("a", "a", "b"):
            calls = [{"id": "1", "type": "function", "function": {"name": "read", "arguments": '{"path":"docs/x.md"}'}}]
            more = ({"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "1", "content": "x"})
            call = _call(_body(*more), session=session)
            await prompts.settle(Outcome(call, Done(), 200, "p"))
        assert await kv.get(usage_key("local", "", SESSIONS)) == b"2"
        assert await kv.get(usage_key("local", "", "read")) == b"2"
        assert await kv.get(usage_key("local", "", "x.md")) == b"2"

    asyncio.run(play())


def test_the_form_of_the_first_call_is_sent_again_whatever_is_asked_then(tmp_path: Any) -> None:
    path = tmp_path / "pennyweight.toml"
    path.write_text(
        'optimize = "max"\n[experiments]\nholdout = 0.0\n'
        '[[optimizers]]\nuse = "prompts"\n[optimizers.settings]\nleast_tokens = 500\nwait_s = 10.0\n'
        "[pipeline]\npropose_s = 10.0\n"
    )
    config = load(path, {"OPENAI_API_KEY": "k"}, {"data_dir": tmp_path / "data"})

    async def play() -> tuple[Request, Request]:
        async with build_app(config, clock=FakeClock()) as app:
            first = msgspec.structs.replace(_call(_body()), target=_target())
            one, _ = await app.pipeline.consult(first)
            app.pipeline.follow(one, _usage())
            body = _body({"role": "assistant", "content": "It is so."}, {"role": "user", "content": "And of topic3?"})
            two, _ = await app.pipeline.consult(msgspec.structs.replace(_call(body), target=_target()))
            return one.request, two.request

    one, two = asyncio.run(play())
    assert one.body["messages"][0]["content"] != PROMPT
    assert two.body["messages"][0] == one.body["messages"][0]


def _target() -> Any:
    from pennyweight.call import Target

    return Target("openai", "gpt-5.5", Wire.OPENAI_CHAT)


def _usage() -> Any:
    from pennyweight.request import Usage

    return Usage(input_tokens=2_000, output_tokens=10)
