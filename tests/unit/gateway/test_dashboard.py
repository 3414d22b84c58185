"""The dashboard's answers: figures equal the receipts', each sees its own, and files come safely."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight import app as application
from pennyweight.app import App
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

NOW = 1_800_000_000.0
DAY = 86_400
VIEWS = ("about", "pulse", "overview", "breakdown", "sessions", "calls", "caches", "optimizers", "budgets", "prices")
NASTY = "<script>alert(1)</script>"

Ask = Callable[..., Awaitable[HttpResponse]]


def drive(folder: Path, work: Callable[[App, Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        async with application.build(load(None, {}, {"data_dir": str(folder)}), clock=FakeClock(NOW)) as app:
            gate = Gate(app.config, app.keys)
            front = Front(app, gate, Pages(app, gate, Metrics()).find)

            async def ask(path: str, query: str = "", key: str = "", peer: str = "127.0.0.1") -> HttpResponse:
                headers = (("host", "127.0.0.1"),) + ((("authorization", f"Bearer {key}"),) if key else ())
                return await front.respond(HttpRequest("GET", path, query, headers, b"", peer))

            await work(app, ask)

    asyncio.run(main())


async def told(ask: Ask, view: str, query: str = "", **more: str) -> Any:
    answer = await ask(f"/pennyweight/dashboard/{view}", query, **more)
    assert isinstance(answer.body, bytes)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body)


def test_without_calls_every_view_answers(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        for view in VIEWS:
            await told(ask, view, "range=all")
        assert (await told(ask, "overview"))["total"]["calls"] == 0

    drive(tmp_path, work)


def test_money_is_exact_and_savings_are_told_apart(tmp_path: Path) -> None:
    cost = 9_007_199_254_740_993  # not a number that a browser's floats could hold

    async def work(app: App, ask: Ask) -> None:
        await app.ledger.append(
            [
                sample_receipt("a", at=NOW - 60, cost=cost, baseline=cost + 3, basis="computed"),
                sample_receipt("b", at=NOW - DAY, cost=5, baseline=12, basis="estimated"),
                sample_receipt("c", at=NOW - 10 * DAY, cost=1, baseline=1, basis=""),
                sample_receipt("d", at=NOW, cost=None, baseline=None, pricing="unpriced", basis="", model="odd"),
            ]
        )
        week, ever = await told(ask, "overview", "range=7d"), await told(ask, "overview", "range=all")
        assert (week["total"]["cost"], ever["total"]["cost"]) == (str(cost + 5), str(cost + 6))
        assert [week["total"][word] for word in ("measured", "computed", "estimated")] == ["0", "3", "7"]
        assert week["unpriced"] == [{"key": "odd", "calls": 1}]
        assert sum(int(step["cost"] or 0) for step in week["steps"]) == cost + 5
        models = (await told(ask, "breakdown", "by=model"))["groups"]
        assert [(line["key"], line["cost"]) for line in models] == [
            ("claude-sonnet-4-5", str(cost + 5)),
            ("odd", None),  # loud, never $0
        ]

    drive(tmp_path, work)


def test_a_key_sees_its_own_figures_in_every_view(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        ann, bob = (app.keys.add(name, daily_usd=5) for name in ("ann", "bob"))
        await app.ledger.append(
            [
                sample_receipt("a", at=NOW, tenant="ann", session="s-ann", model="m-ann", agent="ann's"),
                sample_receipt("b", at=NOW, tenant="bob", session="s-bob", model="m-bob", agent="bob's"),
                sample_receipt("c", at=NOW, tenant="local", session="s-loc", model="m-loc", agent="loc's"),
            ]
        )
        for view in VIEWS:
            for by in ("model", "agent", "session", "tenant"):
                answer = await ask(f"/pennyweight/dashboard/{view}", f"by={by}&session=s-bob&tenant=bob", key=ann)
                assert isinstance(answer.body, bytes)
                for other in (b"bob", b"loc", str(tmp_path).encode()):
                    assert other not in answer.body.replace(b'"local":null', b""), (view, answer.body)
        assert (await told(ask, "overview", key=bob))["total"]["calls"] == 1
        assert (await told(ask, "overview"))["total"]["calls"] == 3
        calls = await told(ask, "calls", "session=s-bob&tenant=bob")
        assert [call["call_id"] for call in calls["calls"]] == ["b"]

    drive(tmp_path, work)


def test_from_elsewhere_the_page_loads_and_figures_need_a_key(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        key = app.keys.add("ann")
        for path in ("/", "/pennyweight/assets/main.js", "/pennyweight/assets/style.css"):
            assert (await ask(path, peer="192.0.2.7")).status == 200
        for view in VIEWS:
            path = f"/pennyweight/dashboard/{view}"
            assert (await ask(path, peer="192.0.2.7")).status == 401
            assert (await ask(path, peer="192.0.2.7", key=key)).status == 200

    drive(tmp_path, work)


def test_the_page_may_load_its_own_files_only(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        page = await ask("/")
        headers = dict(page.headers)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
        assert isinstance(page.body, bytes)
        assert b"://" not in page.body
        assert b"<script>" not in page.body
        assert b" style=" not in page.body
        script = await ask("/pennyweight/assets/views/overview.js")
        assert dict(script.headers)["content-type"] == "text/javascript; charset=utf-8"

    drive(tmp_path, work)


@pytest.mark.parametrize(
    "name",
    ["../routes.py", "views/../../routes.py", "..%2Froutes.py", "routes.py", "index.html", "no.js", "views/", ""],
)
def test_no_other_file_can_be_had(tmp_path: Path, name: str) -> None:
    async def work(app: App, ask: Ask) -> None:
        assert (await ask(f"/pennyweight/assets/{name}")).status == 404

    drive(tmp_path, work)


@pytest.mark.parametrize(
    ("view", "query", "words"),
    [
        ("overview", "range=1y", "range '1y' is not known"),
        ("breakdown", "by=price", "by 'price' is not known"),
        ("sessions", "order=x", "order 'x' is not known"),
        ("overview", "width=nan", "width 'nan' is no number"),
        ("overview", "width=1e9", "width '1e9' is no number"),
        ("calls", "before=x", "before 'x' is no number"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, view: str, query: str, words: str) -> None:
    async def work(app: App, ask: Ask) -> None:
        answer = await ask(f"/pennyweight/dashboard/{view}", query)
        assert isinstance(answer.body, bytes)
        assert answer.status == 400
        assert words.encode() in answer.body

    drive(tmp_path, work)


def test_what_callers_named_is_never_in_a_chart(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await app.ledger.append([sample_receipt("a", at=NOW, model=NASTY, agent=NASTY, session=NASTY)])
        for view in ("overview", "caches"):
            assert NASTY not in (await told(ask, view))["chart"]

    drive(tmp_path, work)


def test_pages_of_calls_leave_none_out_and_show_none_twice(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await app.ledger.append([sample_receipt(f"call_{n:03}", at=NOW - n // 40) for n in range(130)])
        seen: list[str] = []
        query = ""
        while True:
            page = await told(ask, "calls", query)
            seen += [call["call_id"] for call in page["calls"]]
            if not page["more"]:
                break
            last = page["calls"][-1]
            query = f"before={last['at']}&before_id={last['call_id']}"
        assert sorted(seen) == [f"call_{n:03}" for n in range(130)]
        assert len(seen) == 130

    drive(tmp_path, work)


def test_the_pulse_beats_for_ones_own_calls(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        ann = app.keys.add("ann")
        before, mine = await told(ask, "pulse"), await told(ask, "pulse", key=ann)
        await app.ledger.append([sample_receipt("a", at=NOW, tenant="local")])
        assert (await told(ask, "pulse"))["state"] != before["state"]
        assert (await told(ask, "pulse", key=ann))["state"] == mine["state"]  # others' traffic does not show
        await app.ledger.append([sample_receipt("b", at=NOW, tenant="ann")])
        assert (await told(ask, "pulse", key=ann))["state"] != mine["state"]

    drive(tmp_path, work)


def test_a_limit_and_what_is_spent_of_it(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        app.keys.add("ann", daily_usd=5)
        app.keys.add("bob")
        await app.ledger.append([sample_receipt("a", at=NOW, tenant="bob", cost=7, baseline=7, basis="")])
        keys = {line["name"]: line for line in (await told(ask, "budgets"))["keys"]}
        assert (keys["ann"]["limit"], keys["ann"]["spent"]) == (str(5 * 10**12), "0")
        assert (keys["bob"]["limit"], keys["bob"]["spent"], keys["bob"]["calls"]) == (None, "7", 1)

    drive(tmp_path, work)


def test_prices_in_use_and_by_search(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await app.ledger.append(
            [
                sample_receipt("a", at=NOW, provider="anthropic", target_model="claude-sonnet-4-5"),
                sample_receipt("b", at=NOW, provider="openai", target_model="nobody-knows"),
            ]
        )
        lines = {line["model"]: line for line in (await told(ask, "prices"))["lines"]}
        assert lines["claude-sonnet-4-5"]["input"] == str(3 * 10**12)
        assert lines["nobody-knows"]["priced"] is False
        found = await told(ask, "prices", "search=Sonnet-4-5")
        assert found["count"] >= 1
        assert all("sonnet-4-5" in f"{line['provider']}/{line['model']}".lower() for line in found["lines"])

    drive(tmp_path, work)
