"""Templates in their place: over an upstream that answers, in all protocols, and never across what is kept apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pennyweight.call import Call, Credential, Outcome
from pennyweight.errors import ConfigError
from pennyweight.hits import CacheRule, looks
from pennyweight.kept import named
from pennyweight.optimizers.templates import Settings, Templates, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.protocols import Optimizer
from pennyweight.request import Charge, Done, Headers, Reply, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract
from pennyweight.testing.shapes import Turn, body_of, finish, stream, turn_of
from pennyweight.wire import codec

USAGE = Usage(input_tokens=20, output_tokens=10)
PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OLLAMA: "/api/chat",
}


def ask(text: str, wire: Wire = Wire.OPENAI_CHAT, *, streamed: bool = False, **more: Any) -> bytes:
    body: dict[str, Any] = {"model": "m", "temperature": 0, "stream": streamed}
    if wire is Wire.OLLAMA:
        del body["temperature"]
        body["options"] = {"temperature": 0}
    body["input" if wire is Wire.OPENAI_RESPONSES else "messages"] = [{"role": "user", "content": text}]
    return json.dumps(body | more).encode()


class Model:
    """A Backend that says what `says` makes of the newest user text, in the caller's protocol."""

    def __init__(self, says: Callable[[str], str]) -> None:
        self.says = says
        self.asked: list[str] = []
        self.turn: Turn | None = None

    async def open(self, call: Call) -> Reply:
        body = call.request.body
        items = body.get("messages") or body["input"]
        text = items[-1]["content"]
        self.asked.append(text)
        wire = call.request.wire
        turn = self.turn or Turn(self.says(text))
        answer = (
            _ollama(turn) if wire is Wire.OLLAMA else finish(wire, body_of(wire, turn, model="m"), USAGE, model="m")
        )
        done = Done(USAGE, codec(wire).read(json.dumps(answer).encode()).finish_reason, (Charge("p", "m", USAGE, 1.0),))
        if not call.request.stream:
            return Reply(200, (), wire=wire, content=json.dumps(answer).encode(), done=done)
        if wire is Wire.OLLAMA:
            chunks = codec(wire).unfold(json.dumps(answer).encode())
        else:
            chunks = list(stream(wire, answer, include_usage=True))

        async def pieces():  # type: ignore[no-untyped-def]
            for chunk in chunks:
                yield chunk

        return Reply(200, (), wire=wire, chunks=pieces(), done=done)


def _ollama(turn: Turn) -> dict[str, Any]:
    message = {"role": "assistant", "content": turn.text}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 10}
    return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, **end}


class House:
    def __init__(self, says: Callable[[str], str], **settings: Any) -> None:
        self.model = Model(says)
        self.parts = ContractParts(FakeClock())
        self.templates = build(Settings(**{"audit": 0.0, **settings}), self.parts)
        self.outcomes: list[Outcome] = []
        self.number = 0
        self.pipeline = Pipeline(
            [(self.templates, Flag("on"))], self.model, submit=self.outcomes.append, clock=self.parts.clock
        )

    async def ask(self, raw: bytes, wire: Wire = Wire.OPENAI_CHAT, **more: Any) -> tuple[bytes, bool]:
        """The body, and whether the model said it."""
        self.number += 1
        before = len(self.model.asked)
        call = make_call(raw, wire=wire, path=PATHS[wire], **{"call_id": f"c{self.number}", "optimize": "max", **more})
        async with await self.pipeline.open(call) as reply:
            body = await reply.read()
        await self.pipeline.settle(self.outcomes[-1])
        return body, len(self.model.asked) > before


def says(text: str) -> str:
    name = text.split()[1]
    return json.dumps({"about": name, "text": f"we think {name} is hard"})


def question(name: str) -> str:
    return f"Is {name} hard to pass?"


def play(house: House, bodies: Sequence[bytes], **more: Any) -> list[bool]:
    """For each of them whether the model was asked."""

    async def run() -> list[bool]:
        return [(await house.ask(body, **more))[1] for body in bodies]

    return asyncio.run(run())


@pytest.mark.parametrize("wire", list(Wire))
@pytest.mark.parametrize("streamed", [False, True])
def test_a_third_question_is_answered_whole_and_streamed(wire: Wire, streamed: bool) -> None:
    async def run() -> None:
        house = House(says)
        for name in ("EECS", "MATH"):
            assert (await house.ask(ask(question(name), wire, streamed=streamed), wire))[1]
        for as_stream in (False, True):
            body, asked = await house.ask(ask(question('"Q"-1'), wire, streamed=as_stream), wire)
            assert asked, "another kind of slot"
            body, asked = await house.ask(ask(question("PHYS"), wire, streamed=as_stream), wire)
            assert not asked
            whole = json.loads(codec(wire).fold(body) if as_stream else body)
            assert turn_of(wire, whole).text == says(question("PHYS"))
        outcome = house.outcomes[-1]
        assert outcome.answered_by == "templates"
        assert outcome.done.charges == ()
        assert outcome.done.usage == USAGE

    asyncio.run(run())


def test_only_under_max() -> None:
    house = House(says)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")], optimize="safe") == [True] * 3
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")]) == [True, True, False]


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "other"},
        {"credential": Credential("authorization", "Bearer theirs")},
        {"headers": (("anthropic-beta", "x"),)},
        {"provider": "q"},
        {"model": "n"},
        {"query": "a=b"},
    ],
)
def test_never_for_another_caller_or_target(other: dict[str, Any]) -> None:
    house = House(says)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH")]) == [True, True]
    assert play(house, [ask(question("PHYS"))], **other) == [True]
    assert play(house, [ask(question("PHYS"))]) == [False]


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 1},
        {"max_tokens": 5},
        {"response_format": {"type": "json_object"}},
        {"unknown": 1},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": question("PHYS")}]},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": question("PHYS")}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"n": 2},
        {"temperature": 0.5},
    ],
)
def test_never_where_anything_else_of_the_request_differs(more: dict[str, Any]) -> None:
    house = House(says)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH")]) == [True, True]
    assert play(house, [ask(question("PHYS"), **more)]) == [True]


@pytest.mark.parametrize("text", ["Is \0 hard to pass?", "Is name hard to pass?", "Is {name} hard to pass?"])
def test_a_prompt_cannot_imitate_a_slot(text: str) -> None:
    house = House(lambda text: says(text) if "hard" in text else "")
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH")]) == [True, True]
    assert play(house, [ask(text)]) == [True]


@pytest.mark.parametrize(
    "turn",
    [
        Turn("it is EECS", reasoning="EECS, I think"),
        Turn(""),
    ],
)
def test_answers_that_are_more_than_a_text_are_not_kept(turn: Turn) -> None:
    house = House(says)
    house.model.turn = turn
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")]) == [True] * 3
    assert not house.parts.kv.data


def test_an_answer_that_is_not_as_foretold_closes_the_template() -> None:
    house = House(says)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH")]) == [True, True]
    house.model.says = lambda _text: "something else about PHYS"
    assert play(house, [ask(question("PHYS"))], headers=(("cache-control", "no-cache"),)) == [True]
    house.model.says = says
    assert play(house, [ask(question(n)) for n in ("CHEM", "BIO", "LAW")]) == [True] * 3


def test_a_share_of_what_could_be_served_is_asked_anyway() -> None:
    house = House(says, audit=0.5)
    names = ["EECS", "MATH"] + [f"{a}{b}Q" for a in "BCDFGHJK" for b in "LMNPR"]
    asked = play(house, [ask(question(name)) for name in names])
    assert asked[:2] == [True, True]
    assert 10 <= sum(asked[2:]) <= 30


def test_answers_grow_old_but_what_they_proved_stays() -> None:
    house = House(says, ttl_s=60.0)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")]) == [True, True, False]
    house.parts.clock.advance(61.0)  # type: ignore[attr-defined]
    assert play(house, [ask(question(n)) for n in ("PHYS", "CHEM")]) == [True, False], "one fresh answer is enough"


@pytest.mark.parametrize("header", ["no-cache", "no-store", "max-age=0"])
def test_callers_can_refuse(header: str) -> None:
    house = House(says)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH")]) == [True, True]
    refusing: Headers = (("cache-control", header),)
    assert play(house, [ask(question("PHYS"))], headers=refusing) == [True]


def test_a_damaged_entry_is_a_miss() -> None:
    async def run() -> None:
        house = House(says, lower_case=False)
        for name in ("EECS", "MATH"):
            await house.ask(ask(question(name)))
        ((key, kept),) = house.parts.kv.data.items()
        assert named(key) is not None, "purges find it"
        for damaged in (b"", kept[:-1], b"\x07" + kept[1:], kept[:20] + b"x" + kept[21:], kept + b"x"):
            house.parts.kv.data[key] = damaged
            assert (await house.ask(ask(question("PHYS"))))[1]
        house.parts.kv.data[key] = kept
        assert not (await house.ask(ask(question("PHYS"))))[1]

    asyncio.run(run())


def test_looks_and_audits_are_told() -> None:
    house = House(says, audit=0.5)
    names = ["EECS", "MATH"] + [f"{a}{b}Q" for a in "BCDFGHJK" for b in "LMN"]
    asked = play(house, [ask(question(name)) for name in names])
    audits = house.parts.audits
    assert len(audits) == sum(asked[2:])
    assert all(audit.cache == "templates" and audit.valid and audit.source == "audit" for audit in audits)
    looks_of = [looks(outcome.call) for outcome in house.outcomes if outcome.answered_by == "templates"]
    assert all(look == [("templates", "store", look[0][2])] for look in looks_of)
    house.model.says = lambda text: says(text).replace("hard", "easy")
    play(house, [ask(question(f"{name}X")) for name in names])
    assert not all(audit.valid for audit in audits)


def test_routes_decide_how_long_answers_last() -> None:
    house = House(says)
    house.parts.rules["m"] = CacheRule("r", volatile=True)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")]) == [True] * 3
    house.parts.rules["m"] = CacheRule("r", ttl_s=5.0)
    assert play(house, [ask(question(n)) for n in ("EECS", "MATH", "PHYS")]) == [True, True, False]
    house.parts.clock.advance(6.0)  # type: ignore[attr-defined]
    assert play(house, [ask(question("PHYS"))]) == [True]


def test_the_saving_is_what_the_leader_would_cost_now() -> None:
    async def run() -> None:
        house = House(says)
        for name in ("EECS", "MATH"):
            await house.ask(ask(question(name)))
        call = make_call(ask(question("PHYS")), path=PATHS[Wire.OPENAI_CHAT], optimize="max", call_id="x")
        proposal = await house.templates.propose(call)
        assert proposal is not None
        assert proposal.saving == house.parts.book.cost(Charge("p", "m", USAGE, call.at))
        assert proposal.level == "max"
        assert "1 answers foretold" in proposal.why

    asyncio.run(run())


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(), parts)

    def calls(self) -> Sequence[Call]:
        texts = (question("EECS"), "no slots here", "7", "")
        return [make_call(ask(text), optimize="max") for text in texts] + [make_call(b"broken"), make_call(b"{}")]


@pytest.mark.parametrize(("name", "value"), [("audit", 1.5), ("witnesses", 0), ("doubtful", 0)])
def test_settings_that_cannot_be_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        build(Settings(**{name: value}), ContractParts())  # type: ignore[arg-type]


def test_its_name_is_the_one_in_the_configuration() -> None:
    assert Templates.name == "templates"


def flights(city: str) -> str:
    return f"what flights go from {city} on weekdays"


def flies(text: str) -> str:
    city = text.removeprefix("what flights go from ").removesuffix(" on weekdays")
    return f"These flights go from {city} on weekdays: select it where city = '{city}' please"


def test_words_in_lower_case_need_one_witness_more() -> None:
    house = House(flies)
    asked = play(house, [ask(flights(city)) for city in ("boston", "oslo", "buenos aires", "rome")])
    assert asked == [True, True, True, False]
    assert play(house, [ask(flights(word)) for word in ("the coldest", "no", "anywhere", "new york")]) == [
        True,
        True,
        False,
        True,
    ], "what names nothing is asked"
    body, _ = asyncio.run(house.ask(ask(flights("lima"))))
    assert turn_of(Wire.OPENAI_CHAT, json.loads(body)).text == flies(flights("lima"))


def test_words_in_lower_case_can_be_left_alone() -> None:
    house = House(flies, lower_case=False)
    assert play(house, [ask(flights(city)) for city in ("boston", "oslo", "buenos aires", "rome")]) == [True] * 4
    assert not house.parts.kv.data
