"""Tiny classifications in one call, split back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.unit.backends.lanes.rig import costs, looped

from pennyweight.backends.lanes import forms
from pennyweight.backends.lanes.combining import Combine
from pennyweight.call import Call, Identity, Target, Verdict
from pennyweight.errors import Unreachable
from pennyweight.request import Charge, Done, Reply, Usage, Wire
from pennyweight.routing.background import CombineTable, LaneSettings
from pennyweight.testing.backend import make_call

SYSTEM = "Say whether the message is a complaint, praise or a question. " * 30
RULE = CombineTable(model="m", labels=("complaint", "praise", "question"), window_ms=20.0, size=5)
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA}}


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


Spoil = Callable[[dict[str, Any]], Any]


class Classifier:
    """An upstream that answers what the input's last word says."""

    def __init__(self, spoil: Spoil = lambda entries: entries) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.error: Exception | None = None
        self._spoil = spoil

    async def open(self, call: Call) -> Reply:
        body = call.request.body
        self.asked.append(body)
        await asyncio.sleep(0)
        together = "JSON object of inputs" in body["messages"][0]["content"]
        if self.error is not None and together:
            raise self.error
        if self.status != 200 and together:
            return Reply(self.status, (), wire=call.request.wire, content=b"{}", done=Done(complete=False))
        user = body["messages"][1]["content"]
        if together:
            form = body["response_format"]["json_schema"]["schema"]
            plain = form["properties"]["1"]["type"] == "string"
            inputs = msgspec.json.decode(user)
            assert list(inputs) == form["required"]
            entries = {name: _label(one) if plain else {"mood": _label(one)} for name, one in inputs.items()}
            spoilt = self._spoil(entries)
            text = spoilt if isinstance(spoilt, str) else msgspec.json.encode(spoilt).decode()
        else:
            text = _label(user)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        usage = Usage(input_tokens=prompt, output_tokens=len(text.split()))
        told["usage"] = {"prompt_tokens": prompt, "completion_tokens": usage.output_tokens, "total_tokens": 0}
        done = Done(usage, "stop", (Charge("p", "m", usage, 0.0),))
        return Reply(200, (), wire=call.request.wire, content=msgspec.json.encode(told), done=done)


def _label(text: str) -> str:
    return text.rsplit(" ", 1)[-1]


def call(text: str, tenant: str = "local", agent: str = "", system: str = SYSTEM, **fields: Any) -> Call:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    made = make_call(msgspec.json.encode({"model": "m", "messages": messages, "temperature": 0, **fields}))
    identity = Identity(tenant=tenant, agent=agent)
    return msgspec.structs.replace(made, target=Target("p", "m", Wire.OPENAI_CHAT), identity=identity)


def combine(upstream: Classifier, rule: CombineTable = RULE) -> Combine:
    return Combine(upstream, Words(), LaneSettings(combine=(rule,)), cost=costs)


async def ask(backend: Combine, one: Call) -> tuple[Reply, str]:
    async with await backend.open(one) as reply:
        content = await reply.read()
    if reply.status != 200:
        return reply, ""
    return reply, msgspec.json.decode(content)["choices"][0]["message"]["content"]


def told(reply: Reply) -> tuple[Charge, ...]:
    assert reply.done is not None
    return reply.done.charges


TEXTS = ["it broke, complaint", "well done, praise", "is it open? question", "so slow complaint"]
LABELS = ["complaint", "praise", "question", "complaint"]


@looped
async def test_each_caller_gets_its_own_label_and_its_own_share() -> None:
    upstream = Classifier()
    backend = combine(upstream)
    answers = await asyncio.gather(*(ask(backend, call(text, max_tokens=4)) for text in TEXTS))
    assert [text for _, text in answers] == LABELS
    (asked,) = upstream.asked
    assert asked["max_tokens"] > 4 * 4
    whole = told(answers[0][0])[0].part
    assert whole is not None
    parts = [told(reply)[0] for reply, _ in answers]
    assert sum(part.usage.input_tokens for part in parts) == whole.usage.input_tokens
    assert sum(part.usage.output_tokens for part in parts) == whole.usage.output_tokens
    ends = [(part.part.start, part.part.end) for part in parts if part.part]
    assert [start for start, _ in ends[1:]] == [end for _, end in ends[:-1]]  # they join to the whole
    assert all(reply.notes[0].saving > 0 for reply, _ in answers)


@looped
async def test_answers_by_a_schema_of_the_callers_own() -> None:
    upstream = Classifier()
    rule = msgspec.structs.replace(RULE, labels=())
    backend = combine(upstream, rule)
    texts = ["a good", "b bad", "c good", "d bad"]
    answers = await asyncio.gather(*(ask(backend, call(text, response_format=FORM)) for text in texts))
    assert [msgspec.json.decode(text)["mood"] for _, text in answers] == ["good", "bad", "good", "bad"]
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        (lambda entries: {name: one for name, one in entries.items() if name != "2"}, 1),  # one is missing
        (lambda entries: '{"1":"praise","2":"praise","3":"question","4":"complaint","1":"complaint"}', 1),  # twice
        (lambda entries: {**entries, "1": "angry"}, 1),  # no such label
        (lambda entries: {**entries, "4": None}, 1),
        (lambda entries: {**entries, "5": "praise"}, 0),  # nobody asked
        (lambda entries: {"answers": entries}, 4),
        (lambda entries: list(entries.values()), 4),
        (lambda entries: '{"1":"complaint","2":"pra', 4),  # cut
    ],
)
@looped
async def test_what_is_not_valid_is_asked_once_more_alone_and_every_bill_is_told(spoil: Spoil, again: int) -> None:
    upstream = Classifier(spoil)
    backend = combine(upstream)
    answers = await asyncio.gather(*(ask(backend, call(text)) for text in TEXTS))
    assert [text for _, text in answers] == LABELS
    assert len(upstream.asked) == 1 + again
    failed = [reply for reply, _ in answers if reply.notes[0].verdict is Verdict.FAILED]
    assert [len(told(reply)) for reply in failed] == [2] * again
    every = sum(charge.usage.input_tokens for reply, _ in answers for charge in told(reply))
    assert every == sum(len(m["content"].split()) for body in upstream.asked for m in body["messages"])


@pytest.mark.parametrize("broken", ["status", "error"])
@looped
async def test_where_all_together_fail_each_is_asked_alone(broken: str) -> None:
    upstream = Classifier()
    if broken == "status":
        upstream.status = 400
    else:
        upstream.error = Unreachable("gone")
    backend = combine(upstream)
    answers = await asyncio.gather(*(ask(backend, call(text)) for text in TEXTS))
    assert [text for _, text in answers] == LABELS
    assert len(upstream.asked) == 5


@looped
async def test_tenants_agents_and_instructions_are_never_mixed() -> None:
    upstream = Classifier()
    backend = combine(upstream)
    odd = [
        call("x praise", tenant="other"),
        call("x praise", agent="other"),
        call("x praise", system=SYSTEM + "!"),
        call("x praise", temperature=1),
    ]
    await asyncio.gather(*(ask(backend, one) for one in [call("y praise"), *odd]))
    assert len(upstream.asked) == 5
    assert all("JSON object of inputs" not in body["messages"][0]["content"] for body in upstream.asked)


@looped
async def test_short_instructions_are_not_worth_it() -> None:
    upstream = Classifier()
    backend = combine(upstream)
    await asyncio.gather(*(ask(backend, call(text, system="Complaint, praise or question?")) for text in TEXTS))
    assert len(upstream.asked) == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"n": 2},
        {"stream": True},
        {"stop": ["x"]},
        {"logprobs": True},
        {"messages": [{"role": "user", "content": "x"}]},
        {
            "messages": [
                {"role": "system", "content": "x"},
                {"role": "user", "content": [{"type": "text", "text": "x"}]},
            ]
        },
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "x" * 601}]},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/$defs/x"}}}},
    ],
)
def test_what_is_not_surely_of_the_form_is_not_touched(fields: dict[str, Any]) -> None:
    assert forms.small(call("x").request, RULE) is not None
    assert forms.small(call("x", **fields).request, RULE) is None


@looped
async def test_nothing_is_combined_that_no_rule_names() -> None:
    upstream = Classifier()
    backend = combine(upstream, msgspec.structs.replace(RULE, agent="labeller"))
    await asyncio.gather(*(ask(backend, call(text)) for text in TEXTS))
    assert len(upstream.asked) == 4
    await asyncio.gather(*(ask(backend, call(text, agent="labeller")) for text in TEXTS))
    assert len(upstream.asked) == 5


@looped
async def test_one_who_leaves_costs_nobody_an_answer() -> None:
    upstream = Classifier()
    backend = combine(upstream)
    tasks = [asyncio.create_task(ask(backend, call(text))) for text in TEXTS]
    await asyncio.sleep(0)
    tasks[0].cancel()
    answers = await asyncio.gather(*tasks[1:])
    assert [text for _, text in answers] == LABELS[1:]
    assert len(upstream.asked) == 1
