"""Which calls go past the wrappers, and which never do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from pennyweight.backends.direct import Direct
from pennyweight.call import Call
from pennyweight.protocols import Backend
from pennyweight.request import Reply
from pennyweight.testing.backend import ScriptedBackend, make_call


class Wrapper:
    """Something that plain calls need not pass."""

    def __init__(self, under: Backend) -> None:
        self.under = under
        self.passed: list[Call] = []
        self.looks = 0

    async def open(self, call: Call) -> Reply:
        self.passed.append(call)
        return await self.under.open(call)

    def beneath(self, call: Call) -> Backend:
        self.looks += 1
        return self.under


class Way:
    """Direct over a wrapper, on one connection, which a plain call has gone past before."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.wrapper = Wrapper(ScriptedBackend())
        self.direct = Direct(self.wrapper, lambda tenant: tenant not in self.bound)
        self.room: dict[Any, Any] = {}
        self.target = self.call().target
        assert not self.passes(self.call())

    def call(self, *, tenant: str = "local", **asked: Any) -> Call:
        raw = msgspec.json.encode({"model": "m", **asked, "messages": [{"role": "user", "content": "hi"}]})
        call = make_call(raw, tenant=tenant)
        call.request.told(call.request.fields, self.room)
        return msgspec.structs.replace(call, target=getattr(self, "target", call.target))

    def passes(self, call: Call) -> bool:
        """Whether the wrapper sees it."""
        before = len(self.wrapper.passed)
        asyncio.run(self.direct.open(call))
        return len(self.wrapper.passed) > before


def test_a_plain_call_goes_past_and_is_looked_at_once() -> None:
    way = Way()
    assert not way.passes(way.call())
    assert not way.passes(way.call(temperature=0.5))
    assert not way.passes(way.call(stream=True, stream_options={"include_usage": True}))
    assert way.wrapper.looks == 1


def test_a_call_that_an_optimizer_changed_goes_through() -> None:
    way = Way()
    call = way.call()
    changed = call.sending(msgspec.structs.replace(call.request))
    changed.request.told(call.request.fields, way.room)
    assert way.passes(changed)


@pytest.mark.parametrize(
    "asked", [{"temperature": 0}, {"temperature": 0.0}, {"seed": 0}, {"seed": 7}, {"stream": True}]
)
def test_a_call_with_which_wrappers_have_to_do_goes_through(asked: dict[str, Any]) -> None:
    way = Way()
    assert way.passes(way.call(**asked))


def test_a_call_whose_tenant_has_a_limit_goes_through_from_that_moment_on() -> None:
    way = Way()
    way.bound.add("local")
    assert way.passes(way.call())
    way.bound.clear()
    assert not way.passes(way.call())


def test_another_model_target_or_tenant_is_looked_at_anew() -> None:
    way = Way()
    elsewhere = msgspec.structs.replace(way.call(), target=msgspec.structs.replace(way.target, provider="other"))
    for number, call in enumerate((way.call(model="other"), way.call(tenant="t2"), elsewhere), 2):
        assert not way.passes(call)
        assert way.wrapper.looks == number


def test_a_call_of_no_connection_goes_through() -> None:
    way = Way()
    call = make_call(b'{"model":"m","messages":[]}')
    assert way.passes(call)
