"""Whatever happened before, a request that is answered at once is told what the long way tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.front.test_repeated import House, body, house, parts, request

from pennyweight.front.http import HttpRequest
from pennyweight.stores.purge import Wanted

HEADERS = st.sampled_from(
    [
        (),
        (("x-pennyweight-optimize", "max"),),
        (("x-pennyweight-optimize", "off"),),
        (("cache-control", "max-age=50"),),
        (("cache-control", "no-cache"),),
        (("authorization", "Bearer sk-two"),),
        (("x-pennyweight-session", "s"),),
        (("x-api-key", "TENANT"),),
    ]
)
BODIES = st.sampled_from(
    [
        body("one question"),
        body("two questio"),
        body("one question", seed=1),
        body("one question", max_tokens=5),
        body("one question").replace(b":", b": "),
        body("and so on").replace(b"and so on", b"one question"),
    ]
)
REQUESTS = st.tuples(BODIES, HEADERS)
EVENTS = st.sampled_from(["wait", "wait long", "purge", "flag", "key"])


@settings(max_examples=25, deadline=None)
@given(events=st.lists(REQUESTS | REQUESTS | REQUESTS | EVENTS, min_size=4, max_size=24))
def test_it_is_what_the_long_way_says(events: list[object]) -> None:
    async def main() -> None:
        with TemporaryDirectory() as folder:
            async with house(Path(folder)) as h:
                key = h.app.keys.add("tenant")
                mode = "on"
                for event in events:
                    match event:
                        case (bytes() as raw, tuple() as headers):
                            told = tuple((name, value.replace("TENANT", key)) for name, value in headers)
                            await same(h, request(raw, headers=(("host", "127.0.0.1"), *told)))
                        case "wait" | "wait long":
                            h.clock.advance(30 if event == "wait" else 3600)
                        case "purge":
                            await h.app.purge(Wanted())
                        case "flag":
                            mode = "off" if mode == "on" else "on"
                            await h.app.policy.set("exact_cache", by="operator", mode=mode)  # type: ignore[arg-type]
                        case "key":
                            h.app.keys.revoke("tenant")
                            key = h.app.keys.add("tenant")

    asyncio.run(main())


async def same(h: House, asked: HttpRequest) -> None:
    at_once = h.again(asked)
    before = h.provider.asked
    headers, content = await h.ask(asked)
    if at_once is None:
        return
    assert h.provider.asked == before
    told, answer = parts(at_once)
    assert answer == content
    changing = ("x-pennyweight-call",)
    assert [one for one in told if one[0] not in changing] == [one for one in headers if one[0] not in changing]
