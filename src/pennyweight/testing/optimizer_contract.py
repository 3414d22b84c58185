"""What every optimizer promises, as tests. Subclass `OptimizerContract`, say how yours is built, and run pytest.

class TestMine(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(), parts)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from ..call import Answer, Call, Outcome, Proposal, Rewrite, Route
from ..errors import BadRequest, StoreError
from ..hits import Audit, CacheRule
from ..money import PicoUSD
from ..prefix import canonical
from ..protocols import Clock, Optimizer
from ..request import DELETE, Charge, Done, Request, Response, Usage, Wire
from .backend import make_call
from .clock import FakeClock

__all__ = ["ContractKV", "ContractParts", "OptimizerContract", "flaws", "odd_calls"]


class ContractKV:
    """A KV in memory that raises StoreError on any write while `locked`."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.counters: dict[str, int] = {}
        self.locked = False

    async def get(self, key: str) -> bytes | None:
        return self.data.get(key)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._write()
        self.data[key] = value

    async def delete(self, prefix: str) -> int:
        self._write()
        gone = [key for key in self.data if key.startswith(prefix)]
        for key in gone:
            del self.data[key]
        return len(gone)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        if amount:
            self._write()
        self.counters[key] = self.counters.get(key, 0) + amount
        return self.counters[key]

    def _write(self) -> None:
        if self.locked:
            raise StoreError("This store refuses writes: propose only looks.")


class _BytesTokenizer:
    """Four bytes a token."""

    def count(self, text: str) -> int:
        return -(-len(text.encode()) // 4)


class _FlatBook:
    """A microdollar a token, whatever the model."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        return charge.usage.total_tokens * 10**6


class ContractParts:
    """Parts as an App hands them to `build`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.kv = ContractKV()
        self.clock: Clock = clock if clock is not None else FakeClock()
        self.book = _FlatBook()
        self.tokenizer = _BytesTokenizer()
        self.audits: list[Audit] = []
        self.hits = self
        self.rules: dict[str, CacheRule] = {}  # by the model as asked

    def audited(self, audit: Audit) -> None:
        """Protocol: `hits.Hits`."""
        self.audits.append(audit)

    def rule(self, call: Call) -> CacheRule:
        return self.rules.get(call.original.model, CacheRule(""))


class OptimizerContract:
    """The suite. Every test builds a fresh optimizer over fresh parts."""

    def build(self, parts: ContractParts) -> Optimizer:
        raise NotImplementedError("Say how your optimizer is built.")

    def calls(self) -> Sequence[Call]:
        """The calls that the suite offers. Add some on which yours proposes something."""
        return odd_calls()

    def test_name_is_stable(self) -> None:
        first, second = self.build(ContractParts()), self.build(ContractParts())
        assert first.name
        assert first.name == second.name

    def test_propose_writes_nothing(self) -> None:
        parts = ContractParts()
        optimizer = self.build(parts)
        parts.kv.locked = True
        for call in self.calls():
            asyncio.run(_ask(optimizer, call))

    def test_same_call_same_proposal(self) -> None:
        optimizer = self.build(ContractParts())
        for call in self.calls():
            first, second = asyncio.run(_twice(optimizer, call))
            assert _plain(first) == _plain(second), call.request.raw[:200]

    def test_propose_changes_no_call(self) -> None:
        optimizer = self.build(ContractParts())
        for call in self.calls():
            before = _body(call.request)
            asyncio.run(_ask(optimizer, call))
            assert _body(call.request) == before, "the parsed body of a call was changed in place"
            assert call.request is call.original

    def test_a_proposal_is_sound(self) -> None:
        optimizer = self.build(ContractParts())
        for call in self.calls():
            proposal = asyncio.run(_ask(optimizer, call))
            assert flaws(call, proposal) == []

    def test_it_has_nothing_for_calls_that_do_not_concern_it(self) -> None:
        optimizer = self.build(ContractParts())
        concerns = getattr(optimizer, "concerns", None)
        if concerns is None:
            return
        for call in self.calls():
            assert concerns(call) or asyncio.run(_ask(optimizer, call)) is None

    def test_settle_tolerates_any_outcome(self) -> None:
        parts = ContractParts()
        optimizer = self.build(parts)
        for call in self.calls():
            wants = optimizer.wants_response(call)
            assert isinstance(wants, bool)
            assert not wants or getattr(optimizer, "wants_responses", True), "wants_responses = False, and it wants one"
            for outcome in _outcomes(call):
                asyncio.run(optimizer.settle(outcome))
            proposal = asyncio.run(_ask(optimizer, call))
            assert flaws(call, proposal) == []

    def test_what_it_is_not_shown_would_teach_it_nothing(self) -> None:
        """`learns_from`, where it has it, spares work, and must hide nothing."""
        parts = ContractParts()
        optimizer = self.build(parts)
        learns_from = getattr(optimizer, "learns_from", None)
        if learns_from is None:
            return
        parts.kv.locked = True
        for call in self.calls():
            outcomes = _outcomes(call)
            chosen = {id(outcome) for outcome in learns_from(outcomes)}
            assert chosen <= {id(outcome) for outcome in outcomes}
            for outcome in outcomes:
                if id(outcome) not in chosen:
                    asyncio.run(optimizer.settle(outcome))

    def test_settled_answers_stay_with_their_tenant(self) -> None:
        parts = ContractParts()
        optimizer = self.build(parts)
        for call in self.calls():
            for outcome in _outcomes(call):
                asyncio.run(optimizer.settle(outcome))
        for call in self.calls():
            other = msgspec.structs.replace(call, identity=msgspec.structs.replace(call.identity, tenant="another"))
            proposal = asyncio.run(_ask(optimizer, other))
            assert proposal is None or not isinstance(proposal.action, Answer), "an answer crossed to another tenant"


def flaws(call: Call, proposal: Proposal | None) -> list[str]:
    """What is wrong with a proposal for that call, in words; nothing for a sound one."""
    if proposal is None:
        return []
    found = []
    if not 0.0 <= proposal.risk <= 1.0:
        found.append(f"risk {proposal.risk} is no probability")
    if not isinstance(proposal.saving, int) or not isinstance(proposal.spent, int) or proposal.spent < 0:
        found.append("saving and spent are whole PicoUSD, and spent is at least 0")
    match proposal.action:
        case Rewrite(edits=edits) | Route(params=edits):
            if edits:
                found += _rewrite_flaws(call.request, call.request.edit(edits))
        case Answer():
            pass
    return found


def _rewrite_flaws(before: Request, after: Request) -> list[str]:
    old, new = _messages(before), _messages(after)
    found = []
    if _read(_newest_user(old)) != _read(_newest_user(new)):
        found.append("the newest user message was changed")
    if _loose_ends(new) - _loose_ends(old):
        found.append("a tool call lost its result, or a result its call")
    return found


def _messages(request: Request) -> list[Any]:
    body = request.body
    messages = body.get("messages", body.get("input"))
    return messages if isinstance(messages, list) else [{"role": "user", "content": messages}]


def _newest_user(messages: list[Any]) -> Any:
    """What a user says, and not what tools gave back: in Messages that comes in a user's name."""
    users = [_said(m) for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    return next((said for said in reversed(users) if said is not None), None)


def _said(message: dict[str, Any]) -> Any:
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return message
    own = [b for b in content if not isinstance(b, dict) or b.get("type") != "tool_result"]
    return {**message, "content": own} if own else None


def _read(message: Any) -> bytes:
    """A message as a model reads it: cache marks aside, and a lone text block is its text."""
    return canonical(msgspec.json.encode(message))


def _loose_ends(messages: list[Any]) -> set[str]:
    """Ids of tool calls without a result and of results without a call, in any of the wires."""
    calls: set[str] = set()
    results: set[str] = set()
    for message in (m for m in messages if isinstance(m, dict)):
        content = message.get("content")
        blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
        calls |= {str(c.get("id")) for c in message.get("tool_calls") or () if isinstance(c, dict)}
        calls |= {str(b.get("id")) for b in blocks if b.get("type") == "tool_use"}
        results |= {str(b.get("tool_use_id")) for b in blocks if b.get("type") == "tool_result"}
        if message.get("role") == "tool":
            results.add(str(message.get("tool_call_id")))
        if message.get("type") == "function_call":
            calls.add(str(message.get("call_id")))
        if message.get("type") == "function_call_output":
            results.add(str(message.get("call_id")))
    return calls ^ results


def odd_calls() -> list[Call]:
    """Plain calls and strange ones: unknown fields, empty and wrong-typed values, tool pairs, broken JSON."""
    chat = [
        b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}',
        b'{"model":"m","seed":7,"x_unknown":{"a":[1,2,{"b":null}]},"messages":['
        b'{"role":"system","content":"Be brief.  \\n"},'
        b'{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00"}]}',
        b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"w"},'
        b'{"role":"assistant","content":null,"tool_calls":['
        b'{"id":"t1","type":"function","function":{"name":"f","arguments":""}}]},'
        b'{"role":"tool","tool_call_id":"t1","content":"3"}],'
        b'"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}',
        b'{"model":"m","temperature":0,"big":123456789012345678901234567890,"messages":[]}',
        b'{"model":"m","messages":null,"temperature":0}',
        b'{"model":"m","messages":[null,3,{"role":"user"},{"content":[null]}],"temperature":0}',
        b'{"model":"m","temperature":"hot","messages":"no list"}',
        b'{"model":7}',
        b"{}",
        b"[]",
        b"",
        b'{"model":"m","messages":[',
        b"\xff\xfe\x00",
        b'{"model":"m","a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ]
    anthropic = [
        b'{"model":"m","max_tokens":9,"temperature":0,"system":[{"type":"text","text":"S  "}],"messages":['
        b'{"role":"user","content":[{"type":"text","text":"go"}]},{"role":"assistant","content":[{"type":"tool_use","id":"u1","name":"f","input":{}}]},'
        b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"u1","content":"ok"}]}],'
        b'"tools":[{"name":"f","input_schema":{}}]}',
        b'{"model":"m","max_tokens":9,"system":"S","messages":[{"role":"user","content":"x"}]}',
    ]
    responses = [
        b'{"model":"m","input":"hello","temperature":0,"instructions":"I  "}',
        b'{"model":"m","input":[{"type":"function_call","call_id":"k","name":"f","arguments":"{}"},'
        b'{"type":"function_call_output","call_id":"k","output":"1"},{"role":"user","content":"go"}],"store":false}',
    ]
    ollama = [
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"options":{"temperature":0}}',
        b'{"model":"m","options":3}',
    ]
    return [
        *(make_call(body) for body in chat),
        *(make_call(body, wire=Wire.ANTHROPIC_MESSAGES, path="/v1/messages") for body in anthropic),
        *(make_call(body, wire=Wire.OPENAI_RESPONSES, path="/v1/responses") for body in responses),
        *(make_call(body, wire=Wire.OLLAMA, path="/api/chat") for body in ollama),
        make_call(chat[1], optimize="max"),
        make_call(chat[1], optimize="off"),
        make_call(chat[1], headers=(("cache-control", "no-cache, max-age=oops"),)),
    ]


def _outcomes(call: Call) -> list[Outcome]:
    usage = Usage(input_tokens=10, output_tokens=3)
    done = Done(usage, "stop", (Charge(call.target.provider, call.target.model, usage, call.at),))
    answer = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}'
    response = Response(call.request.wire, answer, done)
    return [
        Outcome(call, Done(complete=False), 502, "p", error="Unreachable"),
        Outcome(call, Done(complete=False), 200, "p", abandoned=True),
        Outcome(call, Done(), 200, "p"),
        Outcome(
            call, Done(usage, None), 429, "p", response=msgspec.structs.replace(response, raw=b"<html>", status=429)
        ),
        Outcome(call, Done(usage, "length"), 200, "p", response=msgspec.structs.replace(response, raw=b"")),
        Outcome(call, done, 200, "p", response=response),
    ]


async def _ask(optimizer: Optimizer, call: Call) -> Proposal | None:
    """What it proposes. To raise BadRequest, as `Request.body` does for what is no JSON object, is to offer nothing."""
    try:
        return await optimizer.propose(call)
    except BadRequest:
        return None


async def _twice(optimizer: Optimizer, call: Call) -> tuple[Proposal | None, Proposal | None]:
    return await _ask(optimizer, call), await _ask(optimizer, call)


def _plain(proposal: Proposal | None) -> object:
    if proposal is not None and isinstance(proposal.action, Rewrite):
        edits = tuple((e.path, "deleted" if e.value is DELETE else e.value) for e in proposal.action.edits)
        return edits, proposal.saving, proposal.tokens, proposal.risk, proposal.why
    return proposal


def _body(request: Request) -> object:
    try:
        return msgspec.json.encode(request.body)
    except Exception as error:  # noqa: BLE001 - a body that cannot be read stays unreadable
        return type(error).__name__
