"""Whatever the ledger holds: advice is given without a stumble, and its money is sound."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Step, Verdict
from pennyweight.ledger.advice import Settings, advise, read
from pennyweight.money import PicoUSD
from pennyweight.request import Charge, Operation, Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt

NOW = 1_800_000_000.0
names = st.sampled_from(["", "a", "b/c", "d'e", '"', "ü\U0001f4a9"])
counts = st.integers(0, 10**12)
usages = st.none() | st.builds(
    lambda i, r, w, v, o: Usage(i, r, w, v, o), counts, counts, counts, counts, counts
)  # contradictions included: more read than there was
money = st.none() | st.integers(0, 2**62)
receipts = st.fixed_dictionaries(
    {
        "at": st.floats(NOW - 200_000, NOW + 1000),
        "tenant": names,
        "session": names,
        "agent": names,
        "provider": names,
        "target_model": names,
        "housekeeping": st.sampled_from(["", "heartbeat", "title", "compaction"]),
        "operation": st.sampled_from(list(Operation)),
        "usage": usages,
        "cost": money,
        "baseline": money,
        "pricing": st.sampled_from(["priced", "unpriced", "local", "subscription", "free"]),
        "status": st.sampled_from([200, 200, 200, 429, 500]),
        "finish_reason": st.sampled_from(["stop", "tool_use", "length", ""]),
        "trail": st.sampled_from([(), (Step("exact_cache", Verdict.ABSTAINED),)]),
        "latency_s": st.floats(0, 1e6),
        "ttft_s": st.none() | st.floats(0, 1e6),
        "replayed": st.booleans(),
        "abandoned": st.booleans(),
    }
)


class Book:
    def cost(self, charge: Charge) -> PicoUSD | None:
        u = charge.usage
        return None if charge.model == "a" else (u.uncached_tokens * 10 + u.cache_read_tokens) * len(charge.model)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(receipts, max_size=60),
    st.sampled_from([60.0, 86_400.0, 604_800.0]),
    st.sampled_from([1, 10, 20_000]),
)
def test_any_ledger_gives_sound_advice(rows, length_s: float, newest: int) -> None:
    told = Settings(min_calls=1, slow_s=0.1, switches=1, session_usd=0.01, least_usd=0.0, newest=newest)

    async def write(path: Path) -> None:
        database = Database(path)
        try:
            await SQLiteLedger(database).append([sample_receipt(f"c{n}", **row) for n, row in enumerate(rows)])
        finally:
            await database.close()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        asyncio.run(write(path))
        window = read(path, now=NOW, length_s=length_s, settings=told)
    inside = [row for row in rows if NOW - length_s <= row["at"] <= NOW]
    counted = sum(cell.sums.calls for cell in window.cells)
    assert counted == len(inside) if not window.bounded else newest <= counted
    findings = advise(window, Book(), told)
    assert len({f.id for f in findings}) == len(findings)
    for finding in findings:
        assert (finding.cost is None) == (finding.basis == "")
        assert finding.cost is None or finding.cost >= 0
        assert finding.title
        assert finding.remedy
        assert finding.setting
