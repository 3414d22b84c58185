"""The semantic cache in a pipeline: what it learns, what it refuses and why, and what can never be shared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.optimizers.semantic_cache.rig import QUICK, Opened, Parts, Rig, Words

from pennyweight.call import Verdict
from pennyweight.errors import ConfigError, StoreError
from pennyweight.hits import CacheRule
from pennyweight.optimizers.semantic_cache.optimizer import Settings, build
from pennyweight.stores.standings import SQLiteStandings

TAUGHT = 320  # questions after which the rig's stream is answered
ASK = "hi there, can you describe the house loan, thanks"


def run(folder: Path, test: Callable[[Rig], Awaitable[None]], **more: Any) -> None:
    async def main() -> None:
        rig = Rig(Parts(folder), **more)
        rig.upstream.answer = lambda text: "fresh"
        await test(rig)

    asyncio.run(main())


def test_without_evidence_nothing_is_served_then_it_learns_to(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert await rig.teach(90) == (0, 0)
        assert "no answers compared yet" in rig.why
        served, wrong = await rig.teach(700, seed=2)
        assert served > 100
        assert wrong <= 0.02 * served
        await rig.known()
        outcome = rig.outcomes[-1]
        assert (outcome.answered_by, outcome.done.charges) == ("semantic_cache", ())
        assert dict(outcome.headers)["x-pennyweight-cache"] == "semantic"
        step = outcome.call.trail[-1]
        assert (step.verdict, step.saving) == (Verdict.ACCEPTED, 12 * 10**6)
        assert "wrong at most" in step.why
        (standing,) = await rig.parts.standings.all()
        assert (standing.state, standing.target) == ("open", 0.02)
        assert standing.bound <= 0.02
        assert rig.parts.audits
        assert all(audit.valid and audit.cache == "semantic_cache" for audit in rig.parts.audits)

    run(tmp_path, test, settings=Settings(models=("m",)))


def test_what_can_never_be_shared(tmp_path: Path) -> None:
    """A taught cache, asked the same by somebody else or with anything else in the request."""

    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        others: list[dict[str, Any]] = [
            {"tenant": "another"},
            {"provider": "q"},
            {"optimize": "max"},
            {"headers": (("openai-organization", "o"),)},
            {"more": {"seed": 7}},
            {"more": {"response_format": {"type": "json_object"}}},
            {"more": {"max_tokens": 7}},
            {"more": {"tools": [{"type": "function", "function": {"name": "f"}}]}},
            {"more": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}]}},
            {"more": {"messages": [{"role": "user", "content": text + "\x00"}]}, "tenant": "local\x00"},
        ]
        for other in others:
            assert await rig.ask(text, **other) == ("fresh", False), other

    run(tmp_path, test)


def test_values_names_and_negations_are_never_passed_over(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        for more in (" 5", " of May 2024", " 'gold'", " not", " A-1234", " at https://x.example/y"):
            changed = text.replace("the house loan", f"the house loan{more}")
            assert await rig.ask(changed) == ("fresh", False), changed

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"temperature": 1}, "a sampled answer"),
        ({"n": 2}, "several answers asked for"),
        ({"model": "other"}, "not switched on for this model"),
        ({"messages": [{"role": "user", "content": "Delete my card"}]}, "a request that acts"),
        ({"messages": [{"role": "user", "content": "What is new today?"}]}, "a question about now"),
        ({"messages": [{"role": "assistant", "content": "so"}]}, "the last message is not the user's"),
    ],
)
def test_every_refusal_leaves_its_reason_in_the_trail(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    async def test(rig: Rig) -> None:
        assert await rig.ask("why", more=more) == ("fresh", False)
        assert rig.why == why
        assert not rig.cache.wants_response(rig.outcomes[-1].call)

    run(tmp_path, test)


def test_callers_and_routes_may_forbid_it(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        for header in ("no-cache", "max-age=0"):
            rig.parts.clock.advance(1.0)
            assert await rig.ask(text, headers=(("cache-control", header),)) == ("fresh", False)
        rig.parts.rules["m"] = CacheRule("m", volatile=True)
        assert await rig.ask(text) == ("fresh", False)
        assert rig.why == "a route whose answers do not keep"
        rig.parts.rules["m"] = CacheRule("m", ttl_s=0.5)
        assert (await rig.ask(text))[1] is False

    run(tmp_path, test)


def test_in_shadow_nothing_is_served_and_all_would_be_hits_are_compared(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        assert await rig.teach(400) == (0, 0)
        verdicts = [outcome.call.trail[-1].verdict for outcome in rig.outcomes]
        assert Verdict.SHADOWED in verdicts
        assert Verdict.ACCEPTED not in verdicts
        (standing,) = await rig.parts.standings.all()
        assert standing.hits == 0
        assert standing.audited > 20
        pairs = await rig.parts.standings.pairs(tenant="local", limit=500)
        assert {pair.source for pair in pairs} <= {"shadow", "audit"}
        assert all(pair.served == pair.fresh and pair.equal and pair.asked != pair.served for pair in pairs)
        assert not await rig.parts.standings.pairs(tenant="another")

    run(tmp_path, test, mode="shadow")


def test_when_the_upstream_changes_its_mind_stale_answers_stop_and_it_learns_anew(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        await rig.known()
        states, stale = set(), []
        for seed in range(12):
            _, wrong = await rig.teach(40, seed=100 + seed, say="now it is {}")
            stale.append(wrong)
            states.add((await rig.parts.standings.all())[0].state)
        assert "closed" in states
        assert sum(stale) < 60
        assert sum(stale[6:]) == 0

    run(tmp_path, test, settings=msgspec.structs.replace(QUICK, audit_share=0.3))


def test_what_was_learnt_outlives_the_process(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        await rig.known()
        again = Rig(rig.parts)
        again.upstream.answer = lambda text: "fresh"
        assert (await again.ask(ASK))[1] is False  # it is read when the first call settles
        await again.known()

    run(tmp_path, test)


def test_another_embedder_begins_with_nothing(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        rig.parts.embeddings = Opened(Words("words-2"))
        again = Rig(rig.parts)
        again.upstream.answer = lambda text: "fresh"
        for _ in range(5):
            assert (await again.ask(text))[1] is False
        assert again.why.startswith("learning")

    run(tmp_path, test)


def test_damaged_and_lost_entries_are_misses(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        found = rig.parts.kv.found if hasattr(rig.parts.kv, "found") else None
        get = rig.parts.kv.get

        class Damaged:
            def __getattr__(self, name: str) -> Any:
                if name == "found" and found is None:
                    raise AttributeError(name)
                return getattr(kv, name)

            async def get(self, key: str) -> bytes | None:
                value = await get(key)
                return value[:-1] if value else value

        kv = rig.parts.kv
        rig.cache._kv = Damaged()
        assert await rig.ask(text) == ("fresh", False)
        assert rig.why == "its answers are no longer stored"
        rig.cache._kv = kv
        await kv.delete("semantic/")
        assert await rig.ask(ASK) == ("fresh", False)

    run(tmp_path, test)


def test_stores_that_fail_cost_no_request(tmp_path: Path) -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            async def fail(*_: Any, **__: Any) -> None:
                raise StoreError("down")

            return fail

    async def test(rig: Rig) -> None:
        await rig.teach(TAUGHT)
        text = await rig.known()
        for part in ("_vectors", "_kv"):
            whole = getattr(rig.cache, part)
            setattr(rig.cache, part, Down())
            assert await rig.ask(text) == ("fresh", False)
            assert rig.outcomes[-1].call.trail[-1].error == "StoreError"
            setattr(rig.cache, part, whole)

    run(tmp_path, test)


def test_without_a_model_it_says_so_and_stays_off(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        rig.parts.embeddings = Opened(None, "There is no model. Run `pennyweight models pull`.")
        rig = Rig(rig.parts)
        rig.upstream.answer = lambda text: "fresh"
        for _ in range(3):
            assert await rig.ask(ASK) == ("fresh", False)
        assert "models pull" in rig.why

    run(tmp_path, test)


def test_a_miss_in_a_partition_that_still_learns_embeds_nothing_while_the_caller_waits(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(30)
        embedder = await rig.parts.embeddings.embedder()
        assert embedder is not None
        before = embedder.asked
        call = rig.outcomes[-1].call
        call.facts.clear()
        assert await rig.cache.propose(call) is None
        assert embedder.asked == before

    run(tmp_path, test)


def test_a_judge_may_hold_answers_for_the_same(tmp_path: Path) -> None:
    class Alike:
        async def same(self, question: str, served: str, fresh: str) -> bool:
            return served.split(":")[0] == fresh.split(":")[0]

    async def test(rig: Rig) -> None:
        await rig.teach(400)
        answer = rig.upstream.answer
        rig.upstream.answer = lambda text: f"about the loan: {len(text)}"
        await rig.ask("hello, what is the loan for, thanks")
        groups = {name.partition("-")[0] for name in rig.cache._shelf._open.popitem()[1].partition._panel.names}
        assert len(groups) <= 7
        rig.upstream.answer = answer

    run(tmp_path, test, judge=Alike())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(models=("m",), error_target=0.0),
        Settings(models=("m",), error_target=0.5),
        Settings(models=("m",), audit_share=0.0),
        Settings(models=("m",), max_entries=10),
    ],
)
def test_settings_that_cannot_work_are_told(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ConfigError, match="semantic_cache: "):
        build(settings, Parts(tmp_path))


def test_standings_keep_few_pairs_and_forget_by_tenant(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        await rig.teach(400)
        store: SQLiteStandings = rig.parts.standings
        small = SQLiteStandings(store._database, pairs=3)
        newest = (await store.pairs(limit=1))[0]
        await small.add(newest)
        assert len(await store.pairs(limit=100)) == 3
        assert await store.forget(tenant="nobody") == 0
        assert await store.forget(tenant="local") == 1
        assert not await store.all()
        assert not await store.pairs()

    run(tmp_path, test, mode="shadow")
