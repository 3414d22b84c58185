"""Budgets as an App has them: from its file and its agents, over clocks that jump, and forced compression."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight import app as application
from pennyweight.app import App
from pennyweight.app.pressed import Pressed
from pennyweight.call import Call, Identity, Proposal, Rewrite
from pennyweight.config import load
from pennyweight.counters import Counter, Move, Take
from pennyweight.testing.backend import make_call

YEAR = 365 * 86_400.0
NOON = 1_800_014_400.0


class Clock:
    """Its time can be set; the other one never goes back."""

    def __init__(self) -> None:
        self.at, self.since_start = NOON, 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.since_start


def drive(folder: Path, text: str, work: Callable[[App], Awaitable[None]], clock: Clock | None = None) -> None:
    (folder / "pennyweight.toml").write_text(text)
    config = load(folder / "pennyweight.toml", {}, {"data_dir": str(folder / "data")})

    async def main() -> None:
        async with application.build(config, clock=clock) as app:
            await work(app)

    asyncio.run(main())


def call(session: str = "s", agent: str = "", model: str = "gpt-5", provider: str = "openai") -> Call:
    made = make_call(provider=provider, model=model)
    return msgspec.structs.replace(made, identity=Identity("t", session, agent), facts={})


@pytest.mark.parametrize("store", ["sqlite", "memory"])
def test_a_clock_that_is_set_a_year_forward_frees_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    monkeypatch.setattr("pennyweight.stores.counters.sqlite._SWEEP_EVERY", 1)
    monkeypatch.setattr("pennyweight.stores.counters.memory._REWRITE_BYTES", 1)
    clock = Clock()

    async def work(app: App) -> None:
        counters = app.budgets._counters
        await counters.take([Take("day", 5, 100, NOON, NOON + 86_400), Take("session", 5, 100)])
        await counters.move([Move("day", 5, 5), Move("session", 5, 5)])
        clock.at += 3 * YEAR
        await counters.take([Take("then", 1, 100, clock.at, clock.at + 86_400)])
        clock.at -= 3 * YEAR
        found = await counters.read("")
        assert (found["day"], found["session"]) == (Counter(5, 0), Counter(5, 0))
        clock.since_start += 50 * 86_400
        clock.at += 50 * 86_400
        await counters.take([Take("later", 1, 100)])
        assert "day" not in await counters.read(""), "what is long past goes"

    drive(tmp_path, f'[budgeting]\nstore = "{store}"\n', work, clock)


def test_budgets_come_from_the_file_agents_and_types(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text('[[agents]]\nname = "writer"\nbudget_tokens = 5000\nday_usd = "2"\n')
    text = 'agents = "agents.toml"\n[budgeting]\nsession_types = true\n'
    text += '[[budgets]]\nscope = "all"\nper = "month"\nusd = 9\n'

    async def work(app: App) -> None:
        names = {
            agent: {line.limit.id: line.limit.amount for line in app.budgets.lines(call(agent=agent))}
            for agent in ("writer", "x")
        }
        assert names["x"] == {"all month usd": 9 * 10**12, "sessions:direct": 10_000_000}
        assert names["writer"] == {
            "all month usd": 9 * 10**12,
            "agent writer session tokens": 5_000_000,
            "agent writer agent day usd": 2 * 10**12,
        }

    drive(tmp_path, text, work)


def test_nothing_is_limited_and_nothing_built_without_a_budget(tmp_path: Path) -> None:
    async def work(app: App) -> None:
        assert app.budgets.lines(call(agent="a")) == []
        assert app.budgets.headers(call()) == ()
        assert "compression" not in {optimizer.name for optimizer, _ in app.pipeline._optimizers}

    drive(tmp_path, "", work)


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ("", Pressed),
        ("[budgeting]\ncompress = false\n", None),
        ('[[optimizers]]\nuse = "compression"\n', Pressed),
    ],
)
def test_compression_is_there_where_a_budget_may_force_it(tmp_path: Path, more: str, kind: type | None) -> None:
    async def work(app: App) -> None:
        found = [one for one, _ in app.pipeline._optimizers if one.name == "compression"]
        assert [type(one) for one in found] == ([kind] if kind else [])

    drive(tmp_path, f'[[budgets]]\nscope = "key"\nper = "day"\nusd = 5\n{more}', work)


def test_what_is_forced_counts_as_safe_and_nothing_else_does() -> None:
    class Offers:
        name = "compression"

        async def propose(self, _call: Call) -> Proposal | None:
            return Proposal(Rewrite(()), level="max", why="1 result: json 5 tokens")

        async def settle(self, outcome: Any) -> None: ...

        def wants_response(self, _call: Call) -> bool:
            return False

    def level(only: bool, forced: bool) -> str | None:
        found = asyncio.run(Pressed(Offers(), lambda _call: forced, only=only).propose(call()))
        return found.level if found is not None else None

    assert [level(only, forced) for only in (True, False) for forced in (True, False)] == ["safe", None, "safe", "max"]


def test_a_call_at_worst_is_its_body_written_to_the_cache_and_all_it_may_say(tmp_path: Path) -> None:
    from pennyweight.app.backends import bounds_of

    async def work(app: App) -> None:
        bounds = bounds_of(app.accounts, app.accounts._tokenizer)
        for body, output in (
            (b'{"model":"m","messages":[],"max_tokens":7}', 7),
            (b'{"model":"m","messages":[],"max_tokens":7,"max_completion_tokens":9,"n":3}', 27),
            (b'{"model":"m","messages":[],"max_tokens":-1}', 32_000),
            (b'{"model":"m","messages":[],"max_tokens":true,"n":true}', 32_000),
            (b'{"model":"m","messages":[]}', 32_000),
            (b'{"model":"m","messages":[],"options":{"num_predict":11}}', 11),
            (b'{"model":"m","messages":[],"options":[1]}', 32_000),
            (b'{"model":"m","messages":[],"max_tokens":64000.0}', 64_000),
            (b'{"model":"m","messages":[],"max_tokens":10,"n":3.0}', 30),
            (b'{"model":"m","messages":[],"max_tokens":1e300}', int(1e300)),
        ):
            found = bounds(make_call(body, provider="openai", model="gpt-5"))
            assert found.worst.output_tokens == output
            assert found.least.output_tokens == 0
            assert found.worst_usd is not None
            assert found.least_usd is not None
            assert found.worst_usd > found.least_usd
        marked = (
            b'{"model":"m","messages":[],"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"%s}}]}'
        )
        for ttl, long in ((b"", False), (b',"ttl":"5m"', False), (b',"ttl":"1h"', True), (b',"ttl":"\\u0031h"', True)):
            found = bounds(make_call(marked % ttl, provider="anthropic", model="claude-opus-4-5"))
            assert (found.worst.cache_write_1h_tokens > 0) == long
            assert found.worst.cache_write_1h_tokens + found.worst.cache_write_5m_tokens == found.worst.input_tokens
        unknown = bounds(make_call(provider="openai", model="nobody-knows"))
        assert (unknown.worst_usd, unknown.least_usd, unknown.price) == (None, None, None)

    drive(tmp_path, "", work)
