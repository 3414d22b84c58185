"""Which of the targets that may take a call is asked: the choice, and the reason for it in words. Pure.

A bar is a chance of success. Of the targets that clear it the cheapest is taken; shares of tiers are steered to among
those only, so a soft goal never costs an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from ..call import Call, Outcome, Target
from .settings import Aim
from .virtual import Candidate, Virtual

__all__ = ["BARS", "Asked", "Chance", "Chances", "Choice", "Option", "Priors", "bar_of", "choose", "strong_after"]

BARS: Mapping[Aim, float] = {"balanced": 0.85, "cheap": 0.7, "quality": 0.85, "fast": 0.75, "local": 0.6}
"""The chance of success that a target must have, where the virtual model names none."""

_ALIKE_COST = 1.1  # costs within this are alike: the operator's order of targets decides
_ALIKE_SUCCESS = 0.01
_SHARE_SLACK = 0.02
_TOP, _A_TIER, _BOTTOM = 0.95, 0.12, 0.55  # of tiers at middle complexity, where nothing is known of their models
_HOPELESS = 0.3  # a cascade begins with no target that is less likely to be right


class Asked(msgspec.Struct, frozen=True):
    """What kind of call it is. complexity: in [0, 1]. output_tokens: that its answer will probably have. text: the
    human's words that this was read off."""

    task: str = "general"
    complexity: float = 0.5
    output_tokens: float = 400.0
    text: str = ""


class Chance(msgspec.Struct, frozen=True):
    """That a target's answer is good. low: a lower bound of it. seen: how many own outcomes stand behind it."""

    success: float
    low: float = 0.0
    seen: float = 0.0
    why: str = ""


class Chances(Protocol):
    """Knows how likely targets succeed."""

    def of(self, call: Call, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Chance]:
        """One for each candidate, in their order. Never waits, writes nothing, and never raises."""
        ...

    async def ready(self, call: Call, asked: Asked) -> None:
        """Get what `of` would use and does not have yet: some milliseconds at most. Never raises."""
        ...

    def wants_response(self, call: Call) -> bool:
        """Whether `settle` needs the whole answer."""
        ...

    async def settle(self, outcome: Outcome, asked: Asked) -> None:
        """Learn from a finished call to a virtual model, whoever answered it."""
        ...


class Priors:
    """Chances before anything was learnt: a dearer tier is likelier right, the more so the harder the call."""

    def of(self, call: Call, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Chance]:
        most = max((candidate.rank for candidate in candidates), default=0)
        return [_prior(asked, candidate, most) for candidate in candidates]

    async def ready(self, call: Call, asked: Asked) -> None:
        return None

    def wants_response(self, call: Call) -> bool:
        return False

    async def settle(self, outcome: Outcome, asked: Asked) -> None:
        return None


def _prior(asked: Asked, candidate: Candidate, most: int) -> Chance:
    told = candidate.facts.success
    usual = told if told is not None else max(_TOP - _A_TIER * (most - candidate.rank), _BOTTOM)
    if asked.task == "side":
        return Chance(max(usual, 0.93))
    missing = (1.0 - usual) * (0.5 + asked.complexity)
    return Chance(max(1.0 - missing, 0.0))


class Option(msgspec.Struct, frozen=True):
    """A candidate as the call finds it. cost: of the call and of what it loses of caches, in pico-dollars; None: no
    price is known. guessed: that cost, by what is known of others. seconds: to a whole answer. excluded: why it cannot
    be taken, "" if it can. rests: only its state of the moment is against it."""

    candidate: Candidate
    success: float = 0.0
    cost: float | None = None
    seconds: float = 0.0
    excluded: str = ""
    rests: bool = False
    seen: float = 0.0
    guessed: bool = False

    @property
    def target(self) -> Target:
        return self.candidate.target


class Choice(msgspec.Struct, frozen=True):
    """`option` None: nothing can take the call, and it goes where it would without routing. money: only its price
    speaks for the choice, so it must be worth it. locked: its session must stay there."""

    option: Option | None
    why: str
    money: bool = False
    options: tuple[Option, ...] = ()
    locked: bool = False


def bar_of(virtual: Virtual) -> float:
    return virtual.bar if virtual.bar is not None else BARS[virtual.aim]


def _nothing(_target: Target) -> str:
    return ""


def choose(
    virtual: Virtual,
    asked: Asked,
    options: Sequence[Option],
    *,
    tier: str = "",
    pressure: float = 0.0,
    tight: bool = False,
    shares: Mapping[str, float] | None = None,
    held: Target | None = None,
    held_why: str = "",
    refuses: Callable[[Target], str] = _nothing,
) -> Choice:
    """The target to ask. options: all candidates of the virtual model, in order, with what excludes each.

    tier: where the operator wants this agent's calls. pressure: the share spent of the tightest budget; tight: it
    asks for one tier down. shares: of
    recent calls that each tier got. held: the target that this session must stay with. refuses: why a target must not
    be asked as long as only its price speaks for it, "" if it may be.
    """
    costed = with_costs(options)
    live = _live(costed)
    if not live:
        return Choice(None, _nobody(costed), options=tuple(costed))
    kind = f"{asked.task}, {_level(asked.complexity)} complexity"
    if held is not None and (stays := [option for option in live if option.target == held]):
        why = f"{kind}: stays with {_name(stays[0])}, {held_why}"
        return Choice(stays[0], why, options=tuple(costed), locked=True)
    refused: dict[Target, str] = {}
    while True:
        found, why, by_price = _best(virtual, live, tier=tier, pressure=pressure, tight=tight, shares=shares)
        target = found.candidate.target
        money = by_price and held is None and target not in refused  # else nothing but refused ones can take it
        reason = refuses(target) if money else ""
        if not reason:
            break
        refused[target] = reason
        live = [o for o in live if not o.excluded and o.candidate.target not in refused]
        if not live:
            live = [o for o in costed if o.rests or o.candidate.target in refused]
    if refused:
        place = next(place for place, option in enumerate(costed) if option is found)
        costed = [_without(option, refused) for option in costed]
        found = costed[place]
    return Choice(found, f"{kind}: {why}", money, tuple(costed))


def _without(option: Option, refused: Mapping[Target, str]) -> Option:
    reason = refused.get(option.candidate.target)
    return option if reason is None else msgspec.structs.replace(option, excluded=reason, rests=True)


def _live(options: Sequence[Option]) -> list[Option]:
    """What can take the call; where nothing can, what failed a minute ago: better that than none."""
    return [option for option in options if not option.excluded] or [option for option in options if option.rests]


def _best(
    virtual: Virtual,
    live: Sequence[Option],
    *,
    tier: str,
    pressure: float,
    tight: bool,
    shares: Mapping[str, float] | None,
) -> tuple[Option, str, bool]:
    """Of what can take the call, what is asked; why; and whether only its price speaks for it."""
    by_price = virtual.aim in ("balanced", "cheap")
    wanted = [option for option in live if option.candidate.tier == tier] if tier else ()
    if wanted:
        found, why = _pick(virtual, wanted, shares=None)
        by_price, why = False, f"its agent's tier is {tier}"
    elif virtual.cascade:
        found, why = _first_of_cascade(virtual, live)
    else:
        found, why = _pick(virtual, live, shares)
    if not tight:
        return found, why, by_price
    lower = [option for option in live if option.candidate.rank < found.candidate.rank]
    if not lower:
        return found, why, by_price
    rank = max(option.candidate.rank for option in lower)
    found = max((o for o in lower if o.candidate.rank == rank), key=lambda o: o.success)
    return found, f"{why}; {pressure:.0%} of a budget is spent, so one tier down: {_name(found)}", False


def _pick(virtual: Virtual, live: Sequence[Option], shares: Mapping[str, float] | None) -> tuple[Option, str]:
    bar = bar_of(virtual)
    if virtual.aim == "quality":
        found = _likeliest(live)
        return found, f"{_name(found)} is the likeliest to succeed ({found.success:.2f})"
    clearing = [option for option in live if option.success >= bar]
    if not clearing:
        found = _likeliest(live)
        return found, f"none clears {bar:.2f}, {_name(found)} comes nearest ({found.success:.2f})"
    if virtual.aim == "fast":
        found = min(clearing, key=lambda option: option.seconds)
        return found, f"{_name(found)} answers first of those that clear {bar:.2f} (about {found.seconds:.1f} s)"
    found, steered = _cheapest(clearing), ""
    if shares is not None and virtual.shares:
        goals = dict(virtual.shares)
        short = [o for o in clearing if shares.get(o.candidate.tier, 0.0) < goals.get(o.candidate.tier, 0.0)]
        tier = found.candidate.tier
        over = shares.get(tier, 0.0) > goals.get(tier, 1.0) + _SHARE_SLACK
        if over and short:
            found = _cheapest(short)
            steered = f", and {tier} has had more than its share of {goals[tier]:.0%}"
    return found, f"{_name(found)} {found.success:.2f} clears {bar:.2f}{steered}"


def _first_of_cascade(virtual: Virtual, live: Sequence[Option]) -> tuple[Option, str]:
    """The target to begin with: what it costs, its peer, and the strongest where it is wrong, come to least."""
    strongest = max(live, key=lambda option: (option.success, -(option.cost or 0.0)))
    alone = strongest.cost or 0.0
    peer = next((option.cost or 0.0 for option in live if option.target == virtual.peer), 0.0)
    best, least = strongest, alone
    for option in live:
        if option is strongest or option.success < _HOPELESS:
            continue
        through = (option.cost or 0.0) + peer + (1.0 - option.success) * alone
        if through < least:
            best, least = option, through
    if best is strongest:
        return best, f"no cheaper target pays before {_name(best)}"
    return best, f"{_name(best)} first ({best.success:.2f}), up to {_name(strongest)} where it is doubtful"


def strong_after(choice: Choice) -> tuple[Target, ...]:
    """The targets that a cascade goes up to from the chosen one: likelier right, the likeliest last."""
    chosen = choice.option
    if chosen is None:
        return ()
    better = [o for o in choice.options if not o.excluded and o.success > chosen.success + _ALIKE_SUCCESS]
    return tuple(option.target for option in sorted(better, key=lambda option: option.success))


def _likeliest(options: Sequence[Option]) -> Option:
    """The cheapest of those that are about the likeliest to succeed."""
    best = max(option.success for option in options)
    return _cheapest([option for option in options if option.success >= best - _ALIKE_SUCCESS])


def _cheapest(options: Sequence[Option]) -> Option:
    """The first in the operator's order of those that cost about the least."""
    costs = [option.cost or 0.0 for option in options]
    most = min(costs) * _ALIKE_COST
    return next(option for option, cost in zip(options, costs, strict=True) if cost <= most)


def with_costs(options: Sequence[Option]) -> list[Option]:
    """The options with a cost each: one without a known price is taken to cost what the dearest of its tier or of those
    below costs, as tiers are listed by price."""
    if None not in [option.cost for option in options]:
        return list(options)
    return [
        option
        if option.cost is not None
        else msgspec.structs.replace(
            option,
            cost=max((o.cost or 0.0 for o in options if o.candidate.rank <= option.candidate.rank), default=0.0),
            guessed=True,
        )
        for option in options
    ]


def _name(option: Option) -> str:
    return option.candidate.tier or option.target.model


def _level(complexity: float) -> str:
    return "low" if complexity < 0.34 else "middle" if complexity < 0.67 else "high"


def _nobody(options: Sequence[Option]) -> str:
    reasons = "; ".join(f"{o.target.provider}/{o.target.model}: {o.excluded}" for o in options)
    return f"no target can take it ({reasons})" if options else "there are no targets"
