"""How targets are now, by all who know something of that: cooldowns, quotas, the machines of local models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..backends.cooldown import Cooldown
from ..call import Target
from ..protocols import Clock
from ..routing.quotas import Quotas
from ..routing.virtual import Live, Lookout

__all__ = ["lookout", "of_cooldown", "of_quotas"]

_WELL = Live()


def lookout(sources: Sequence[Callable[[Target], Live]]) -> Lookout:
    """The worst that any of them says of a target."""

    def look(target: Target) -> Live:
        found = _WELL
        for source in sources:
            told = source(target)
            if told is not _WELL and told != _WELL:
                found = told if found is _WELL else _worse(found, told)
        return found

    return look


def _worse(one: Live, other: Live) -> Live:
    quotas = [left for left in (one.quota_left, other.quota_left) if left is not None]
    return Live(
        one.resting or other.resting,
        min(quotas, default=None),
        one.fits and other.fits,
        max(one.load_s, other.load_s),
        max(one.wait_s, other.wait_s),
    )


def of_cooldown(cooldown: Cooldown[Target]) -> Lookout:
    resting = Live(resting=True)
    return lambda target: resting if cooldown.cooling(target) else _WELL


def of_quotas(quotas: Quotas, clock: Clock) -> Lookout:
    if not quotas.limits:
        return lambda _target: _WELL

    def look(target: Target) -> Live:
        if quotas.group((target.provider, target.model)) is None:
            return _WELL
        return quotas.live(target, now=clock.now(), at=clock.monotonic())

    return look
