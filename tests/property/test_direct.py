"""The way past the wrappers says what the way through them says, for calls of one connection in any order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.app import App, build
from pennyweight.backends.cooldown import Cooldown
from pennyweight.backends.direct import Direct
from pennyweight.backends.fallback import Fallback
from pennyweight.backends.retry import Retry
from pennyweight.call import Call, Target
from pennyweight.config import load
from pennyweight.errors import LimitReached, NotConnected, PennyweightError, Unreachable
from pennyweight.request import Headers, Reply, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

PLAIN = """
[[routes]]
model = "shared"
provider = "openai"
fuse = "all"
"""
BOUND = '[[budgets]]\nscope = "session"\ntokens = 1\n'
CHAINED = PLAIN + '[[routes]]\nmodel = "chained"\nprovider = "openai"\nfallbacks = ["anthropic"]\n'

KINDS = st.sampled_from(
    [(Wire.OPENAI_CHAT, "/v1/chat/completions")] * 9
    + [
        (Wire.OPENAI_RESPONSES, "/v1/responses"),
        (Wire.ANTHROPIC_MESSAGES, "/v1/messages"),
        (Wire.OLLAMA, "/api/chat"),
    ]
)
HEADS: st.SearchStrategy[Headers] = st.sampled_from(
    [
        (),
        (),
        (),
        (),
        (),
        (("x-pennyweight-fuse", "all"),),
        (("x-pennyweight-fuse", "off"),),
        (("idempotency-key", "k"),),
    ]
)
ASKED = st.sampled_from(
    [
        *[{}] * 5,
        {"temperature": 0.7},
        {"temperature": 0},
        {"temperature": 0},
        {"seed": 0},
        {"seed": 1, "n": 2},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
    ]
)
BODIES = st.builds(
    lambda model, asked: {"model": model, **asked}, st.sampled_from(["gpt-5.5"] * 4 + ["shared", "chained"]), ASKED
)
SCRIPTS = st.lists(
    st.sampled_from(
        [
            Script(),
            Script(),
            Script(chunks=(b"data: {}\n\n", b"data: [DONE]\n\n")),
            Script(status=429, headers=(("retry-after", "0"),)),
            Script(status=503),
            Script(status=400),
            Script(error=NotConnected("no")),
            Script(error=Unreachable("gone")),
        ]
    ),
    min_size=1,
    max_size=3,
)
CALLS = st.lists(
    st.tuples(
        BODIES,
        st.sampled_from(["openai", "openai", "openai", "anthropic"]),
        st.sampled_from(["safe", "safe", "max", "off"]),
        st.sampled_from(["local", "local", "other"]),
        st.sampled_from([False, False, False, True]),  # an optimizer has changed it
        st.sampled_from([2, 2, 1]),  # how many like it at once
    ),
    min_size=2,
    max_size=6,
)
Asked = tuple[dict[str, Any], str, Any, str, bool, int]


class Providers:
    """All of them, as what answers them now."""

    now: Any

    async def open(self, call: Call) -> Reply:
        reply: Reply = await self.now.open(call)
        return reply


async def answered(backend: Any, calls: Sequence[Call]) -> list[tuple[Any, ...]]:
    """What each of these calls, asked at once, came to."""

    async def one(call: Call) -> tuple[Any, ...]:
        try:
            reply = await backend.open(call)
            async with reply:
                content = await reply.read()
        except PennyweightError as error:
            return (type(error),)
        done = reply.done
        told = (done.usage, done.finish_reason, len(done.charges), done.complete) if done is not None else None
        return reply.status, reply.headers, content, told, [(n.optimizer, n.verdict, n.why) for n in reply.notes]

    return await asyncio.gather(*map(one, calls))


def made(session: str, asked: Asked, wire: Wire, path: str, headers: Headers, room: dict[Any, Any]) -> list[Call]:
    body, provider, optimize, tenant, changed, count = asked
    raw = msgspec.json.encode({**body, "messages": [{"role": "user", "content": "hi"}]})
    call = make_call(raw, wire=wire, path=path, headers=headers, tenant=tenant, session=session, provider=provider)
    call.request.told(call.request.fields, room)
    speaks = wire if provider == "openai" else Wire.ANTHROPIC_MESSAGES
    target = room.setdefault(("target", provider), Target(provider, "gpt-5.5", speaks))  # under three names
    call = msgspec.structs.replace(call, target=target, optimize=optimize)
    if changed:
        call = call.sending(msgspec.structs.replace(call.request))
        call.request.told(call.request.fields, room)
    return [msgspec.structs.replace(call, id=f"c{number}", facts={}) for number in range(count)]


def dispatch(app: App) -> dict[str, Any]:
    backend: Any = app.backend
    while not hasattr(backend, "_backends"):
        backend = backend._inner
    found: dict[str, Any] = backend._backends
    return found


def rested(backend: Any) -> None:
    """Nothing is remembered of targets that failed, and there are no pauses before a second try."""
    while backend is not None:
        if isinstance(backend, Fallback):
            backend._moved.clear()
            backend._cooldown = Cooldown(backend._clock)
        if isinstance(backend, Retry):
            backend._sleep = asyncio.sleep
            backend._uniform = lambda _least, _most: 0.0
        backend = getattr(backend, "_inner", None)


@pytest.mark.parametrize("text", [PLAIN, CHAINED, BOUND])
def test_the_way_past_the_wrappers_is_the_way_through_them(text: str) -> None:
    def alone(asked: Asked) -> Asked:
        """Which of two at once is refused depends on who comes first."""
        return (*asked[:-1], 1) if text == BOUND else asked

    @settings(max_examples=60, deadline=None)
    @given(KINDS, HEADS, CALLS, SCRIPTS)
    def holds(kind: tuple[Wire, str], headers: Headers, calls: list[Asked], scripts: list[Script]) -> None:
        room: dict[Any, Any] = {}
        for asked in calls:
            came = []
            for backend in (direct, direct._inner):
                upstream = ScriptedBackend(*scripts)
                providers.now = upstream
                rested(direct._inner)
                room_of_it = room if backend is direct else {}
                told = runner.run(answered(backend, made(f"s{next(count)}", alone(asked), *kind, headers, room_of_it)))
                sent = [(c.request.raw, c.request.headers, c.target, c.request.wire) for c in upstream.calls]
                came.append((told, sent))
            assert came[0] == came[1]

    count = itertools.count()  # each in a session of its own, of which nothing was spent

    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        file = Path(folder) / "pennyweight.toml"
        file.write_text(text)
        env = {"PENNYWEIGHT_DATA": f"{folder}/data", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
        entering = build(load(file, env, {"holdout": 0.0}))
        app = runner.run(entering.__aenter__())
        direct: Any = app.pipeline._backend
        assert isinstance(direct, Direct)
        rested(direct._inner)
        backends = dispatch(app)
        providers = Providers()
        for name in backends:
            backends[name] = providers
        try:
            holds()
        finally:
            runner.run(entering.__aexit__(None, None, None))


def test_calls_that_may_share_an_answer_still_do_after_plain_ones_and_limits_still_hold() -> None:
    def asked(text: str, body: dict[str, Any], count: int) -> tuple[int, list[Any]]:
        with TemporaryDirectory() as folder, asyncio.Runner() as runner:
            file = Path(folder) / "pennyweight.toml"
            file.write_text(text)
            entering = build(load(file, {"PENNYWEIGHT_DATA": f"{folder}/data", "OPENAI_API_KEY": "k"}, {"holdout": 0}))
            app = runner.run(entering.__aenter__())
            try:
                providers = dispatch(app)["openai"] = Providers()
                room: dict[Any, Any] = {}
                providers.now = ScriptedBackend()
                kind = Wire.OPENAI_CHAT, "/v1/chat/completions", (), room
                plain = made("s", ({"model": "gpt-5.5"}, "openai", "safe", "local", False, 2), *kind)
                runner.run(answered(app.pipeline._backend, plain))
                assert text == BOUND or len(providers.now.calls) == 2
                providers.now = ScriptedBackend()
                calls = made("t", ({"model": "gpt-5.5", **body}, "openai", "safe", "local", False, count), *kind)
                for _ in range(2 if text == BOUND else 1):
                    told = runner.run(answered(app.pipeline._backend, calls))
                return len(providers.now.calls), told
            finally:
                runner.run(entering.__aexit__(None, None, None))

    for body in ({"temperature": 0}, {"seed": 1}):
        assert asked(PLAIN, body, 2)[0] == 1
    assert asked(PLAIN, {}, 2)[0] == 2
    assert asked(PLAIN, {"stream": True}, 1)[1][0][4][0][0] == "ask_usage"
    assert asked(BOUND, {}, 1)[1] == [(LimitReached,)]  # what the first cost was all there was
