"""Callers of Responses that go on from a translated answer by its name, or by the names of its items."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any

import msgspec
import pytest
from tests.unit.wire.translate.bodies import STREAMS, answer

from pennyweight.backends.answers import Answers
from pennyweight.backends.crossing import Crossing
from pennyweight.call import Call, Identity, Target
from pennyweight.errors import BadRequest, StoreError
from pennyweight.request import Request, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import Script, ScriptedBackend
from pennyweight.testing.clock import FakeClock

MESSAGES, RESPONSES = Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_RESPONSES


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The coroutine function as a plain test."""

    @wraps(test)
    def plain(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return plain


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


def _script(number: str, *, stream: bool) -> Script:
    """Claude's answer of that number."""

    def renamed(raw: bytes) -> bytes:
        return raw.replace(b'"msg_1"', f'"msg_{number}"'.encode())

    if not stream:
        return Script(content=renamed(answer(MESSAGES)))
    return Script(chunks=tuple(renamed(chunk) for chunk in STREAMS[MESSAGES]))


class House:
    """A Crossing in front of a Claude that gives one answer, streamed or whole."""

    def __init__(
        self,
        *,
        stream: bool = False,
        ttl_s: float = 60.0,
        max_bytes: int = 1 << 20,
        numbers: Sequence[int] = range(1, 9),
    ) -> None:
        scripts = [_script(str(number), stream=stream) for number in numbers]
        self.clock = FakeClock()
        self.kv = MemoryKV(clock=self.clock)
        self.inner = ScriptedBackend(*scripts)
        self.answers = Answers(self.kv, self.clock, ttl_s=ttl_s, max_bytes=max_bytes)
        self.crossing = Crossing(self.inner, Words(), answers=self.answers)

    async def ask(
        self, given: Any, *, tenant: str = "local", to: Wire = MESSAGES, id: str = "c", **more: Any
    ) -> dict[str, Any]:
        """The answer's Responses object."""
        body = {"model": "auto", "input": given, **more}
        request = Request(RESPONSES, msgspec.json.encode(body), path="/v1/responses")
        call = Call(id, Identity(tenant=tenant), request, request, Target("up", "m", to), at=1_700_000_000.0)
        async with await self.crossing.open(call) as reply:
            if reply.chunks is None:
                return json.loads(reply.content or b"{}")
            raw = b"".join([chunk async for chunk in reply.chunks])
        last = [line for line in raw.splitlines() if line.startswith(b"data: ")][-1]
        return json.loads(last[6:])["response"]  # type: ignore[no-any-return]

    @property
    def sent(self) -> dict[str, Any]:
        return self.inner.calls[-1].request.body


def results(answered: dict[str, Any]) -> list[dict[str, Any]]:
    calls = [item for item in answered["output"] if item["type"] == "function_call"]
    return [{"type": "function_call_output", "call_id": call["call_id"], "output": "x"} for call in calls]


@pytest.mark.parametrize("stream", [False, True])
@run
async def test_items_are_named_in_place_of_being_sent(stream: bool) -> None:
    house = House(stream=stream)
    user = {"role": "user", "content": "read them"}
    first = await house.ask([user], stream=stream)
    named = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    await house.ask([user, *named, *results(first)], stream=stream)
    by_name = house.sent["messages"]
    await house.ask([user, *first["output"], *results(first)], stream=stream, store=False)
    assert by_name == house.sent["messages"]
    assert [block["type"] for block in by_name[1]["content"]][:2] == ["thinking", "text"]


@pytest.mark.parametrize("stream", [False, True])
@run
async def test_a_conversation_goes_on_by_the_name_of_its_last_answer(stream: bool) -> None:
    house = House(stream=stream)
    first = await house.ask("read them", stream=stream)
    second = await house.ask(results(first), stream=stream, previous_response_id=first["id"])
    await house.ask("and now?", stream=stream, previous_response_id=second["id"])
    roles = [message["role"] for message in house.sent["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert house.sent["messages"][0]["content"] in ("read them", [{"type": "text", "text": "read them"}])


@run
async def test_a_provider_of_the_same_protocol_gets_the_items_too_without_reasoning_of_others() -> None:
    house = House()
    first = await house.ask("read them")
    await house.ask(results(first), previous_response_id=first["id"], to=RESPONSES)
    sent = house.sent
    assert "previous_response_id" not in sent
    kinds = [item.get("type") for item in sent["input"]]
    assert kinds[:2] == [None, "message"]
    assert "reasoning" not in kinds
    assert kinds[-1] == "function_call_output"


@run
async def test_what_a_provider_of_the_same_protocol_keeps_is_its_own_affair() -> None:
    house = House()
    await house.ask([{"type": "item_reference", "id": "fc_68"}], previous_response_id="resp_68", to=RESPONSES)
    assert house.sent["previous_response_id"] == "resp_68"
    assert house.sent["input"] == [{"type": "item_reference", "id": "fc_68"}]


@run
async def test_nothing_is_kept_that_need_not_be() -> None:
    house = House()
    first = await house.ask("read them", store=False)
    assert not await house.kv.keys("responses/", limit=99)
    await house.ask("read them")
    kept, items = len(await house.kv.keys("responses/", limit=99)), len(first["output"])
    assert kept == items + 1
    await house.ask([{"role": "user", "content": "read them"}, *first["output"], *results(first)])
    assert len(await house.kv.keys("responses/", limit=99)) == kept + items, "not what its caller sends"


@pytest.mark.parametrize("why", ["late", "another tenant", "too long", "the store is down"])
@run
async def test_what_is_gone_is_said_to_be_gone(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(max_bytes=50 if why == "too long" else 1 << 20)
    first = await house.ask("read them")
    if why == "late":
        house.clock.advance(61)
    if why == "the store is down":

        async def down(_key: str) -> bytes | None:
            raise StoreError("down")

        monkeypatch.setattr(house.kv, "get", down)
    tenant = "other" if why == "another tenant" else "local"
    with pytest.raises(BadRequest, match=r"not kept here.*store: false") as gone:
        await house.ask("go on", previous_response_id=first["id"], tenant=tenant)
    assert gone.value.code == "previous_response_not_found"  # which clients look for
    with pytest.raises(BadRequest, match="not kept here"):
        await house.ask([{"type": "item_reference", "id": first["output"][0]["id"]}], tenant=tenant)


@run
async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(stream=True)

    async def down(*_: Any, **__: Any) -> None:
        raise StoreError("down")

    monkeypatch.setattr(house.kv, "put", down)
    assert (await house.ask("read them", stream=True))["status"] == "completed"


@pytest.mark.parametrize("stream", [False, True])
@run
async def test_answers_that_their_server_gives_one_id_are_told_apart(stream: bool) -> None:
    house = House(stream=stream, numbers=[1] * 4)
    one = await house.ask("one", id="c1")
    other = await house.ask("other", id="c2")
    two = await house.ask("two", id="c3", previous_response_id=one["id"])
    await house.ask("three", id="c4", previous_response_id=two["id"])
    names = [item["id"] for answered in (one, other, two) for item in answered["output"]]
    assert len({one["id"], other["id"], two["id"]}) == 3
    assert len(set(names)) == len(names)
    said = json.dumps(house.sent["messages"])
    assert said.index('"one"') < said.index('"two"') < said.index('"three"')
    assert '"other"' not in said


@run
async def test_an_item_is_no_answer_and_an_answer_no_item() -> None:
    house = House()
    answered = await house.ask("one")
    item = answered["output"][0]["id"]
    with pytest.raises(BadRequest, match=r"previous_response_id .* is not kept here"):
        await house.ask("two", previous_response_id=item)
    with pytest.raises(BadRequest, match=r"item_reference .* is not kept here"):
        await house.ask([{"type": "item_reference", "id": answered["id"]}, {"role": "user", "content": "two"}])
    assert len(house.inner.calls) == 1


@pytest.mark.parametrize("given", [5, True, {"role": "user"}])
@run
async def test_an_input_that_is_none_is_told(given: Any) -> None:
    house = House()
    answered = await house.ask("one")
    with pytest.raises(BadRequest, match="input must be a string or a list"):
        await house.ask(given, previous_response_id=answered["id"])


@run
async def test_a_long_name_is_told_in_short() -> None:
    with pytest.raises(BadRequest) as told:
        await House().ask("one", previous_response_id="resp_pennyweight_" + "x" * 100_000)
    assert len(told.value.message) < 400


@run
async def test_a_history_too_long_for_a_request_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.backends.answers._MOST_BYTES", 50_000)
    house = House()
    one = await house.ask("x" * 30_000)
    two = await house.ask("x" * 30_000, previous_response_id=one["id"])
    with pytest.raises(BadRequest, match="Send the input"):
        await house.ask("three", previous_response_id=two["id"])
