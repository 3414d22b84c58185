"""The book of cache hits: how often each cache answered, how often it was right, what it saved. By route and by store.

`HitBook` takes every receipt, off the request path, and writes sums every few seconds; `hit_lines` reads them. A hit
is an accepted step of a cache's name in a receipt's trail, so it is counted as the ledger counts it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..binomial import upper_bound
from ..call import Call, Outcome, Receipt, Step, Verdict
from ..errors import StoreError
from ..hits import LOOKS, Audit, Pair, looks
from ..money import PicoUSD
from ..protocols import Clock
from .functions import FunctionLine
from .reading import is_made, reading
from .signals import Rows

__all__ = ["Audited", "HitBook", "HitLine", "Served", "hit_lines", "summed", "told"]

log = logging.getLogger(__name__)

DAY_S = 86_400
_GROUPS = 20_000  # sums waiting to be written; model names come from callers, so they are bounded
_AUDITS = 10_000
_SERVED = 5_000  # hits that are remembered, for those who say afterwards that one was wrong
_PAIRS, _TENANTS = 20, 100  # audited pairs kept of each tenant, and tenants
_PAIR_CHARACTERS = 2_000  # of each text
_SHARED = "coalesce"  # has no look of its own: whoever shares an answer could only share

_ADD = """
INSERT INTO cache_hits (day, tenant, route, cache, tier, looks, hits, shadowed, tokens, saved_micro, saved_rest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, tenant, route, cache, tier) DO UPDATE SET
  looks = looks + excluded.looks, hits = hits + excluded.hits, shadowed = shadowed + excluded.shadowed,
  tokens = tokens + excluded.tokens, saved_micro = saved_micro + excluded.saved_micro,
  saved_rest = saved_rest + excluded.saved_rest
"""
_ADD_AUDIT = """
INSERT INTO cache_audits (at, tenant, route, cache, tier, call_id, source, valid) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (call_id, cache, source) DO UPDATE SET at = excluded.at, valid = excluded.valid
"""


class Audited(msgspec.Struct, frozen=True):
    """An audit with its texts. `at`: unix seconds."""

    at: float
    audit: Audit
    pair: Pair


class Served(msgspec.Struct, frozen=True):
    """A hit of late. `key`: of its entry, "" where the cache did not say."""

    cache: str
    tenant: str
    route: str
    tier: str
    key: str


_Group = tuple[int, str, str, str, str]  # day, tenant, route, cache, tier


class HitBook:
    """Protocols: `hits.Hits`, and a watcher of receipts. Sums are lost only with the process, `every_s` of them."""

    def __init__(
        self, rows: Rows, clock: Clock, *, route: Callable[[Call], str] | None = None, every_s: float = 2.0
    ) -> None:
        """route: the name that figures of a call are told by; "" or None: its provider and model."""
        self._route = route
        self._rows = rows
        self._clock = clock
        self._every_s = every_s
        self._sums: dict[_Group, list[int]] = {}
        self._pairs: dict[str, deque[Audited]] = {}
        self._served: dict[str, Served] = {}
        self._audits: deque[tuple[Any, ...]] = deque(maxlen=_AUDITS)
        self._task: asyncio.Task[None] | None = None

    def watch(self, receipts: Sequence[Receipt], outcomes: Sequence[Outcome]) -> None:
        """Take finished calls: of most of them no cache has anything to tell."""
        for receipt, outcome in zip(receipts, outcomes, strict=True):
            if receipt.replayed or LOOKS in outcome.call.facts:
                self(receipt, outcome)

    def __call__(self, receipt: Receipt, outcome: Outcome) -> None:
        found = looks(outcome.call)
        if not found and not receipt.replayed:
            return
        trail = receipt.trail
        if receipt.replayed and all(look[0] != _SHARED for look in found) and _verdict(trail, _SHARED):
            found = [*found, (_SHARED, "in flight", "")]
        route = (self._route(outcome.call) if self._route else "") or f"{receipt.provider}/{receipt.model}"
        day = int(receipt.at // DAY_S) * DAY_S
        for cache, tier, key in found:
            sums = self._group((day, receipt.tenant, route, cache, tier))
            sums[0] += 1
            verdict = _verdict(trail, cache) if tier else None
            if verdict is Verdict.ACCEPTED:
                tokens, saved = _worth(receipt)
                sums[1] += 1
                sums[3] += tokens
                sums[4] += saved // 1_000_000
                sums[5] += saved % 1_000_000
                self._remember(receipt.call_id, Served(cache, receipt.tenant, route, tier, key))
            elif verdict is Verdict.SHADOWED:
                sums[2] += 1

    def _group(self, group: _Group) -> list[int]:
        sums = self._sums.get(group)
        if sums is None:
            sums = [0] * 6
            if len(self._sums) < _GROUPS:
                self._sums[group] = sums
        return sums

    def served(self, call_id: str) -> Served | None:
        """The hit that answered that call; None for other calls, and for hits too long ago."""
        return self._served.get(call_id)

    def _remember(self, call_id: str, served: Served) -> None:
        self._served[call_id] = served
        if len(self._served) > _SERVED:
            del self._served[next(iter(self._served))]

    def pairs(self, tenant: str) -> list[Audited]:
        """The last audits of that tenant whose texts are known, newest first. Texts are kept in memory only."""
        return list(self._pairs.get(tenant, ()))

    def tenants(self) -> list[str]:
        """Those with audited pairs."""
        return list(self._pairs)

    def audited(self, audit: Audit) -> None:
        a = audit
        if a.pair is not None:
            self._keep(a, a.pair)
        self._audits.append(
            (self._clock.now(), a.tenant, a.route, a.cache, a.tier, a.call_id or None, a.source, a.valid)
        )

    def _keep(self, audit: Audit, pair: Pair) -> None:
        kept = self._pairs.setdefault(audit.tenant, deque(maxlen=_PAIRS))
        cut = Pair(*(text[:_PAIR_CHARACTERS] for text in (pair.asked, pair.answer, pair.kept_answer, pair.kept_asked)))
        kept.appendleft(Audited(self._clock.now(), msgspec.structs.replace(audit, pair=None), cut))
        if len(self._pairs) > _TENANTS:
            del self._pairs[next(iter(self._pairs))]

    async def flush(self) -> None:
        """Write what is new. Raises StoreError, and keeps it then for the next time."""
        sums, self._sums = self._sums, {}
        audits = list(self._audits)
        self._audits.clear()
        if not sums and not audits:
            return

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(_ADD, [(*group, *values) for group, values in sums.items()])
            connection.executemany(_ADD_AUDIT, audits)

        try:
            await self._rows.write(add)
        except BaseException:
            for group, values in self._sums.items():
                earlier = sums.get(group, [0] * len(values))
                sums[group] = [a + b for a, b in zip(earlier, values, strict=True)]
            self._sums = sums
            self._audits.extendleft(reversed(audits))
            raise

    async def forget(self, before: float) -> None:
        """Delete what is of days before that moment (unix seconds). Raises StoreError."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM cache_hits WHERE day < ?", (before - DAY_S,))
            connection.execute("DELETE FROM cache_audits WHERE at < ?", (before,))

        await self._rows.write(delete)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="hits")

    async def close(self) -> None:
        """Stop, and write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.flush()
        except StoreError as error:
            log.warning("figures of caches are lost", extra={"error": type(error).__name__})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - it is tried again with what comes next
                log.warning("figures of caches wait", extra={"error": type(error).__name__})


def _verdict(trail: Sequence[Step], optimizer: str) -> Verdict | None:
    for step in trail:
        if step.optimizer == optimizer:
            return step.verdict
    return None


def _worth(receipt: Receipt) -> tuple[int, PicoUSD]:
    """(tokens, money) that an answer did not cost."""
    tokens = receipt.usage.total_tokens if receipt.usage is not None and receipt.replayed else 0
    if receipt.baseline is None or receipt.cost is None:
        return tokens, 0
    return tokens, max(receipt.baseline - receipt.cost, 0)


# --- reading ------------------------------------------------------------------------------------------------


class HitLine(msgspec.Struct, frozen=True):
    """Sums over some days of one cache, for one tenant, route and store where those are told.

    reported: hits that a caller said were wrong; rated: hits of which any caller said anything.
    """

    cache: str
    tenant: str = ""
    route: str = ""
    tier: str = ""
    looks: int = 0
    hits: int = 0
    shadowed: int = 0
    tokens: int = 0
    saved: PicoUSD = 0
    audited: int = 0  # of a random sample of hits
    wrong: int = 0
    compared: int = 0  # answers that had to be asked again anyway
    changed: int = 0
    rated: int = 0
    reported: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Of the calls that it could have answered; None where there was none."""
        return self.hits / self.looks if self.looks else None

    @property
    def wrong_share(self) -> float | None:
        """Of hits, by the random sample; None without one."""
        return self.wrong / self.audited if self.audited else None

    @property
    def wrong_at_most(self) -> float:
        """With 95% confidence; 1.0 where nothing was audited."""
        return upper_bound(self.wrong, self.audited)

    @property
    def valid_hit_rate(self) -> float | None:
        """Hits that were right, of the calls that could have been answered: by audits, or what was reported if that
        is more. None where nobody looked at a hit."""
        if not self.looks or not (self.audited or self.rated):
            return None
        wrong = max(self.hits * (self.wrong_share or 0.0), float(self.reported))
        return max(self.hits - wrong, 0.0) / self.looks

    @property
    def valid_at_least(self) -> float | None:
        """The same by the bound; None where nothing was audited."""
        if not self.looks or not self.audited:
            return None
        return self.hits * (1 - self.wrong_at_most) / self.looks


_AUDITED = ("audited", "wrong", "compared", "changed", "rated", "reported")
_COUNTED = ("looks", "hits", "shadowed", "tokens", "saved")
_NUMBERS = (*_COUNTED, *_AUDITED)

_READ_HITS = """
SELECT cache, tenant, route, tier, sum(looks), sum(hits), sum(shadowed), sum(tokens),
  sum(saved_micro), sum(saved_rest)
FROM cache_hits WHERE day >= ? AND (? IS NULL OR tenant = ?) GROUP BY 1, 2, 3, 4"""
_READ_AUDITS = """
SELECT cache, tenant, route, tier, sum(source = 'audit'), sum(source = 'audit' AND NOT valid),
  sum(source = 'expired'), sum(source = 'expired' AND NOT valid),
  sum(source = 'feedback'), sum(source = 'feedback' AND NOT valid)
FROM cache_audits WHERE at >= ? AND (? IS NULL OR tenant = ?) GROUP BY 1, 2, 3, 4"""


def hit_lines(path: Path, *, since: float | None = None, tenant: str | None = None) -> list[HitLine]:
    """Every cache, tenant, route and store that has something to tell, from the ledger's file; none where it is absent.

    since: unix seconds, by whole UTC days; None: all. Raises StoreError.
    """
    if not is_made(path):
        return []
    with reading(path) as connection:
        return read_lines(connection, since=since, tenant=tenant)


def read_lines(connection: sqlite3.Connection, *, since: float | None, tenant: str | None) -> list[HitLine]:
    """The same from an open connection."""
    day = 0.0 if since is None else since // DAY_S * DAY_S
    values = (day, tenant, tenant)
    lines = [
        HitLine(*row[:4], **dict(zip(_COUNTED, (*row[4:8], row[8] * 1_000_000 + row[9]), strict=True)))
        for row in connection.execute(_READ_HITS, values)
    ]
    lines += [
        HitLine(*row[:4], **dict(zip(_AUDITED, row[4:], strict=True)))
        for row in connection.execute(_READ_AUDITS, values)
    ]
    return summed(lines, ("cache", "tenant", "route", "tier"))


def summed(lines: Iterable[HitLine], by: Sequence[str]) -> list[HitLine]:
    """One line for each value of the named fields, those that saved and answered most first."""
    found: dict[tuple[str, ...], dict[str, int]] = {}
    for line in lines:
        sums = found.setdefault(tuple(getattr(line, name) for name in by), dict.fromkeys(_NUMBERS, 0))
        for name in _NUMBERS:
            sums[name] += getattr(line, name)
    made = [HitLine(**({"cache": ""} | dict(zip(by, key, strict=True)) | sums)) for key, sums in found.items()]  # type: ignore[arg-type]
    return sorted(made, key=lambda line: (-line.saved, -line.hits, -line.looks, line.cache, line.route, line.tier))


def told(lines: Sequence[HitLine], functions: Sequence[FunctionLine] = ()) -> dict[str, Any]:
    """For programs: each cache as a whole, by route, by store and by tenant; cached functions and tools. Money in US
    dollars."""
    return {
        "caches": [_object(line) for line in summed(lines, ("cache",))],
        "routes": [_object(line) for line in summed(lines, ("cache", "route"))],
        "tiers": [_object(line) for line in summed(lines, ("cache", "tier")) if line.tier],
        "tenants": [_object(line) for line in summed(lines, ("cache", "tenant"))],
        "functions": [
            {**_without(line, "saved"), "saved_usd": line.saved / 1e12, "hit_share": line.hit_share}
            for line in functions
        ],
    }


def _without(line: FunctionLine, name: str) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(line).items() if key != name}


def _object(line: HitLine) -> dict[str, Any]:
    rates = {
        "hit_rate": line.hit_rate,
        "valid_hit_rate": line.valid_hit_rate,
        "valid_hit_rate_at_least": line.valid_at_least,
        "wrong_share": line.wrong_share,
        "wrong_share_at_most": line.wrong_at_most if line.audited else None,
    }
    names = {name: value for name in ("cache", "route", "tier", "tenant") if (value := getattr(line, name))}
    counts = {name: getattr(line, name) for name in _NUMBERS if name != "saved"}
    return {**names, **counts, "saved_usd": line.saved / 1e12, **rates}
