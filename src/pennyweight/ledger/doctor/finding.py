"""Misses of one kind gathered into findings: how often, what they cost, since when. No prompt text unless asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from ...money import PicoUSD
from .advice import Advice, advise
from .miss import Code, Miss
from .sent import Sent

__all__ = ["Finding", "Group", "Severity", "add", "grouped"]

Severity = Literal["high", "medium", "low"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, in one conversation, at one place. Money in PicoUSD; None: no price is known for some of it.

    `prompt_tokens`: of the calls that missed. `seen_tokens`, `seen_calls`: of all calls of the conversation so far.
    """

    code: Code
    tenant: str
    session: str
    provider: str
    model: str
    client: str
    where: str
    place: str = ""
    what: str = ""
    names: tuple[str, ...] = ()
    at_byte: int | None = None
    at_token: int = 0
    gap_s: float = 0.0
    ttl_s: float = 0.0
    calls: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cost: PicoUSD | None = 0
    first_at: float = 0.0
    last_at: float = 0.0
    call_id: str = ""  # the dearest of the calls, to which place, byte and token belong
    dearest: int = 0  # its missed tokens
    before: str = ""
    after: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return self.tenant, self.session, self.code, self.provider, self.model, self.where


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Findings that one remedy is for. `id` stays the same as long as cause, place, model and client do."""

    id: str
    code: Code
    severity: Severity
    title: str
    detail: str
    fix: str
    setting: str
    applicable: bool
    apply: str  # what `apply` does: see `advice`
    where: str
    provider: str
    model: str
    client: str
    calls: int
    tokens: int
    cost: PicoUSD | None
    sessions: tuple[str, ...]
    first_at: float
    last_at: float
    worst: Finding


def add(known: Finding | None, of: Sent, miss: Miss) -> Finding:
    """The finding with one more call."""
    if known is None:
        known = Finding(
            code=miss.code,
            tenant=of.tenant,
            session=of.session,
            provider=of.provider,
            model=of.model,
            client=of.client,
            where=miss.where,
            first_at=of.at,
        )
    worse = miss.tokens > known.dearest
    cost = None if known.cost is None or miss.cost is None else known.cost + miss.cost
    return msgspec.structs.replace(
        known,
        calls=known.calls + 1,
        tokens=known.tokens + miss.tokens,
        prompt_tokens=known.prompt_tokens + of.usage.input_tokens,
        cost=cost,
        first_at=min(known.first_at, of.at),
        last_at=max(known.last_at, of.at),
        **(
            {
                "dearest": miss.tokens,
                "call_id": of.call_id,
                "place": miss.place,
                "what": miss.what,
                "names": miss.names,
                "at_byte": miss.at_byte,
                "at_token": miss.at_token,
                "gap_s": miss.gap_s,
                "ttl_s": miss.ttl_s,
                "before": miss.before,
                "after": miss.after,
            }
            if worse
            else {}
        ),
    )


def grouped(
    findings: Iterable[Finding],
    *,
    on: Collection[str] = (),
    known: Collection[str] | None = None,
    live: bool = False,
) -> tuple[Group, ...]:
    """Findings by their remedy, the dearest first.

    on: what the gateway does already, in the words of `Advice.apply`; known: the optimizers there are, None: all.
    live: the calls went through this gateway.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        key = (finding.code, finding.where, finding.provider, finding.model, finding.client)
        groups.setdefault(key, []).append(finding)
    made = [_group(key, found, on, known, live=live) for key, found in groups.items()]
    made = [
        group for group in made if (group.cost is None or group.cost > 0) and group.calls >= _LEAST.get(group.code, 1)
    ]
    return tuple(sorted(made, key=lambda g: (g.cost is None, -(g.cost or 0), -g.tokens)))


def _group(
    key: tuple[str, ...],
    found: Sequence[Finding],
    on: Collection[str],
    known: Collection[str] | None,
    *,
    live: bool,
) -> Group:
    worst = max(found, key=lambda finding: finding.dearest)
    priced = [finding.cost for finding in found]
    cost = None if any(one is None for one in priced) else sum(one for one in priced if one is not None)
    tokens = sum(finding.tokens for finding in found)
    share = tokens / max(sum(finding.prompt_tokens for finding in found), 1)
    calls = sum(finding.calls for finding in found)
    advice: Advice = advise(worst, calls=calls, share=share, on=on, known=known, live=live)
    return Group(
        id=hashlib.blake2b("\0".join(key).encode(), digest_size=6).hexdigest(),
        code=worst.code,
        severity="low" if worst.code == "evicted" else _severity(cost, share, calls),
        title=advice.title,
        detail=advice.detail,
        fix=advice.fix,
        setting=advice.setting,
        applicable=bool(advice.apply),
        apply=advice.apply,
        where=worst.where,
        provider=worst.provider,
        model=worst.model,
        client=worst.client,
        calls=calls,
        tokens=tokens,
        cost=cost,
        sessions=tuple(sorted({finding.session for finding in found})),
        first_at=min(finding.first_at for finding in found),
        last_at=max(finding.last_at for finding in found),
        worst=worst,
    )


_LEAST: Mapping[str, int] = {"evicted": 3, "cache_key_missing": 2}
"""Calls: once is a provider's bad luck, and nobody's business."""


def _severity(cost: PicoUSD | None, share: float, calls: int) -> Severity:
    """By money where it is known; a small sum that is most of what its calls cost is worth a look too."""
    dollars = (cost or 0) / 1e12
    if dollars >= 1 or (share >= 0.4 and calls >= 3):
        return "high"
    return "medium" if dollars >= 0.1 or share >= 0.25 else "low"
