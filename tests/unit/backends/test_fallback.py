from __future__ import annotations

import asyncio

import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.cooldown import Cooldown
from pennyweight.backends.fallback import Fallback
from pennyweight.call import Call, Credential, Target, Verdict
from pennyweight.errors import BackendError, ContextTooLong, Unreachable, UpstreamTimeout
from pennyweight.request import Edit, Reply, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

P = Target("p", "m", Wire.OPENAI_CHAT)
Q = Target("q", "n", Wire.OPENAI_CHAT)
R = Target("r", "o", Wire.OPENAI_CHAT)


class ByProvider:
    """One scripted backend per provider."""

    def __init__(self, **backends: ScriptedBackend) -> None:
        self.backends = backends
        self.asked: list[str] = []
        self.calls: list[Call] = []

    async def open(self, call: Call) -> Reply:
        self.asked.append(call.target.provider)
        self.calls.append(call)
        return await self.backends[call.target.provider].open(call)


def backend(*scripts: Script) -> ScriptedBackend:
    return ScriptedBackend(*scripts)


def ask(inner: ByProvider, call: Call | None = None, *, fallback: Fallback | None = None) -> Reply:
    fallback = fallback or Fallback(inner, lambda _call: (P, Q, R), FakeClock())
    return asyncio.run(fallback.open(call or make_call()))


@pytest.mark.parametrize(
    "failure",
    [
        Script(status=429),
        Script(status=503),
        Script(status=529),
        Script(status=504),
        Script(status=401),
        Script(error=Unreachable("x")),
        Script(error=UpstreamTimeout("x")),
    ],
)
def test_moves_on_to_the_next_target(failure: Script) -> None:
    inner = ByProvider(p=backend(failure), q=backend(Script(content=b"yes")))
    reply = ask(inner)
    assert reply.content == b"yes"
    assert inner.asked == ["p", "q"]
    assert [(s.optimizer, s.verdict) for s in reply.notes] == [
        ("fallback", Verdict.FAILED),
        ("fallback", Verdict.ACCEPTED),
    ]


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_the_callers_own_mistake_goes_back_and_cools_nothing(status: int) -> None:
    inner = ByProvider(p=backend(Script(status=status, content=b"no")), q=backend())
    clock = FakeClock()
    cooldown: Cooldown[Target] = Cooldown(clock)
    reply = ask(inner, fallback=Fallback(inner, lambda _call: (Q,), clock, cooldown=cooldown))
    assert (reply.status, reply.content, inner.asked) == (status, b"no", ["p"])
    assert not cooldown.cooling(P)


def test_a_prompt_that_is_too_long_is_not_sent_elsewhere() -> None:
    inner = ByProvider(p=backend(Script(error=ContextTooLong("long"))), q=backend())
    with pytest.raises(ContextTooLong):
        ask(inner)
    assert inner.asked == ["p"]


def test_the_last_refusal_goes_back_verbatim_and_the_others_are_closed() -> None:
    headers = (("retry-after", "9"),)
    inner = ByProvider(
        p=backend(Script(status=503)),
        q=backend(Script(status=429, headers=headers, content=b"slow")),
        r=backend(Script(error=Unreachable("x"))),
    )
    reply = ask(inner)
    assert (reply.status, reply.headers, reply.content) == (429, headers, b"slow")
    assert (inner.backends["p"].closed, inner.backends["q"].closed) == (1, 0)


def test_a_key_refused_by_a_fallback_does_not_hide_the_first_refusal() -> None:
    inner = ByProvider(
        p=backend(Script(status=429, content=b"slow")), q=backend(Script(status=401)), r=backend(Script(status=403))
    )
    assert ask(inner).content == b"slow"
    assert inner.backends["q"].closed == inner.backends["r"].closed == 1


def test_without_any_reply_the_last_error_is_raised() -> None:
    inner = ByProvider(
        p=backend(Script(error=Unreachable("p"))),
        q=backend(Script(error=UpstreamTimeout("q"))),
        r=backend(Script(error=Unreachable("r"))),
    )
    with pytest.raises(BackendError, match="r"):
        ask(inner)


def test_charges_of_all_attempts_are_kept() -> None:
    class Billing(ScriptedBackend):
        def _done(self, call, script):  # type: ignore[no-untyped-def]
            return super()._done(call, Script(usage=script.usage))

    inner = ByProvider(
        p=Billing(Script(status=500, usage=Usage(7, output_tokens=0))), q=backend(Script(chunks=(b"a",)))
    )

    async def run() -> Reply:
        reply = await Fallback(inner, lambda _call: (Q,), FakeClock()).open(make_call())
        await reply.read()
        await reply.aclose()
        return reply

    done = asyncio.run(run()).done
    assert done is not None
    assert [(c.provider, c.usage.input_tokens) for c in done.charges] == [("p", 7), ("q", 10)]


def test_a_callers_credential_goes_to_no_other_provider() -> None:
    inner = ByProvider(p=backend(Script(status=503)), q=backend())
    ask(inner, make_call(credential=Credential("authorization", "Bearer s")))
    assert inner.calls[0].credential is not None
    assert inner.calls[1].credential is None


def test_the_callers_own_bad_key_is_the_callers_business() -> None:
    inner = ByProvider(p=backend(Script(status=401, content=b"bad key")), q=backend())
    reply = ask(inner, make_call(credential=Credential("authorization", "Bearer s")))
    assert (reply.content, inner.asked) == (b"bad key", ["p"])


def test_a_session_stays_where_it_was_moved_for_a_while() -> None:
    clock = FakeClock()
    inner = ByProvider(p=backend(Script(status=503), Script()), q=backend())
    fallback = Fallback(inner, lambda _call: (Q,), clock, sticky_s=600)
    for advance in (0, 500, 500, 700):
        clock.advance(advance)
        ask(inner, make_call(session="s"), fallback=fallback)
    assert inner.asked == ["p", "q", "q", "q", "p"]


def test_a_resting_target_is_asked_last_and_never_refused() -> None:
    clock = FakeClock()
    inner = ByProvider(p=backend(Script(status=503)), q=backend(Script(), Script(status=503)))
    fallback = Fallback(inner, lambda _call: (Q,), clock)
    ask(inner, fallback=fallback)
    ask(inner, fallback=fallback)
    assert inner.asked == ["p", "q", "q", "p"]


def test_without_a_chain_it_is_not_there() -> None:
    headers = (("retry-after", "9"),)
    inner = ByProvider(p=backend(Script(status=529, headers=headers, content=b"busy")))
    fallback = Fallback(inner, lambda _call: (), FakeClock())
    for _ in range(5):
        reply = ask(inner, fallback=fallback)
        assert (reply.status, reply.headers, reply.content, reply.notes) == (529, headers, b"busy", [])
    assert len(inner.asked) == 5


@pytest.mark.parametrize("field", ["cache_control", "prompt_cache_key"])
def test_what_was_added_for_one_providers_cache_does_not_reach_another(field: str) -> None:
    call = make_call()
    marked = call.sending(call.request.edit((Edit((field,), "ours"),)))
    inner = ByProvider(p=backend(Script(status=503)), q=backend(Script()))
    ask(inner, marked)
    assert [field in sent.request.body for sent in inner.calls] == [True, False]


def test_other_rewrites_and_the_callers_own_marks_go_along() -> None:
    call = make_call(b'{"model":"m","messages":[],"cache_control":{"type":"ephemeral"}}')
    rewritten = call.sending(call.request.edit((Edit(("shorter",), True),)))
    inner = ByProvider(p=backend(Script(status=503)), q=backend(Script()))
    ask(inner, rewritten)
    assert inner.calls[1].request is rewritten.request
