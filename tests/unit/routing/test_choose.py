"""The choice among targets: bars, aims, shares, tiers of agents, budgets, cascades; and the words it is told in."""

from __future__ import annotations

import msgspec
import pytest

from pennyweight.call import Target
from pennyweight.request import Wire
from pennyweight.routing.choose import Asked, Choice, Option, choose, strong_after
from pennyweight.routing.settings import Aim, TargetTable
from pennyweight.routing.virtual import Candidate, Virtual

TIERS = ("local", "cheap", "frontier")
CODE = Asked("code", 0.5)


def option(
    rank: int,
    success: float,
    cost: float | None = 0.0,
    *,
    model: str = "",
    excluded: str = "",
    rests: bool = False,
    seconds: float = 1.0,
) -> Option:
    name = model or TIERS[rank]
    candidate = Candidate(Target("p", name, Wire.OPENAI_CHAT), TIERS[rank], rank, TargetTable(f"p/{name}"))
    return Option(candidate, success, cost, seconds, excluded, rests)


def virtual(aim: Aim = "balanced", options: list[Option] | None = None, **more: object) -> Virtual:
    candidates = tuple(o.candidate for o in options or [])
    return Virtual("auto", aim, candidates, Target("p", "frontier", Wire.OPENAI_CHAT), **more)  # type: ignore[arg-type]


def chosen(choice: Choice) -> str:
    assert choice.option is not None
    return choice.option.target.model


LADDER = [option(0, 0.7, 0), option(1, 0.91, 10), option(2, 0.97, 100)]


def test_the_cheapest_that_clears_the_bar_is_taken_and_told() -> None:
    choice = choose(virtual(), CODE, LADDER)
    assert chosen(choice) == "cheap"
    assert choice.why == "code, middle complexity: cheap 0.91 clears 0.85"
    assert choice.money


@pytest.mark.parametrize(("bar", "model"), [(0.5, "local"), (0.9, "cheap"), (0.95, "frontier")])
def test_the_bar_decides(bar: float, model: str) -> None:
    assert chosen(choose(virtual(bar=bar), CODE, LADDER)) == model


def test_where_none_clears_the_likeliest_is_taken() -> None:
    choice = choose(virtual(bar=0.99), CODE, LADDER)
    assert chosen(choice) == "frontier"
    assert "none clears 0.99" in choice.why


@pytest.mark.parametrize(
    ("aim", "model"), [("cheap", "local"), ("quality", "frontier"), ("fast", "frontier"), ("local", "local")]
)
def test_aims_differ(aim: Aim, model: str) -> None:
    options = [option(0, 0.75, 0, seconds=9), option(1, 0.8, 10, seconds=5), option(2, 0.97, 100, seconds=2)]
    assert chosen(choose(virtual(aim), CODE, options)) == model


def test_only_price_must_be_worth_it() -> None:
    assert not choose(virtual("quality"), CODE, LADDER).money
    assert not choose(virtual("fast"), CODE, LADDER).money


def test_what_is_excluded_is_never_chosen() -> None:
    options = [option(0, 0.99, 0, excluded="no tools"), *LADDER[1:]]
    assert chosen(choose(virtual(), CODE, options)) == "cheap"


def test_where_all_rest_one_is_asked_all_the_same() -> None:
    options = [option(0, 0.99, 0, excluded="no tools"), option(1, 0.9, 1, excluded="rests", rests=True)]
    assert chosen(choose(virtual(), CODE, options)) == "cheap"


def test_where_none_can_nobody_is_chosen_and_each_reason_is_told() -> None:
    choice = choose(virtual(), CODE, [option(0, 0.9, excluded="no tools"), option(1, 0.9, excluded="no images")])
    assert choice.option is None
    assert choice.why == "no target can take it (p/local: no tools; p/cheap: no images)"


def test_alike_prices_leave_the_operators_order() -> None:
    options = [option(1, 0.9, 10.5, model="first"), option(1, 0.9, 10.0, model="second"), option(2, 0.9, 20.0)]
    assert chosen(choose(virtual(), CODE, options)) == "first"


def test_an_unknown_price_is_taken_for_that_of_its_tier() -> None:
    options = [option(0, 0.9, 5.0), option(1, 0.9, None, model="unknown"), option(2, 0.9, 4.0)]
    assert chosen(choose(virtual(), CODE, options)) == "frontier"


def test_a_tier_above_its_share_gives_way_to_one_below_it_that_clears_the_bar() -> None:
    options = [option(0, 0.9, 0), option(1, 0.9, 10), option(2, 0.97, 100)]
    goals = (("local", 0.5), ("cheap", 0.4))
    choice = choose(virtual(shares=goals), CODE, options, shares={"local": 0.8, "cheap": 0.2})
    assert chosen(choice) == "cheap"
    assert "more than its share of 50%" in choice.why
    assert chosen(choose(virtual(shares=goals), CODE, options, shares={"local": 0.4, "cheap": 0.6})) == "local"


def test_a_share_never_goes_below_the_bar() -> None:
    goals = (("local", 0.9), ("cheap", 0.1))
    assert chosen(choose(virtual(shares=goals), CODE, LADDER, shares={"cheap": 1.0})) == "cheap"


def test_an_agent_goes_to_its_tier_and_up_only_if_that_cannot() -> None:
    choice = choose(virtual(), CODE, LADDER, tier="local")
    assert chosen(choice) == "local"
    assert "its agent's tier is local" in choice.why
    options = [option(0, 0.7, 0, excluded="no tools"), *LADDER[1:]]
    assert chosen(choose(virtual(), CODE, options, tier="local")) == "cheap"


def test_a_tight_budget_goes_one_tier_down() -> None:
    choice = choose(virtual("quality"), CODE, LADDER, pressure=0.93, tight=True)
    assert chosen(choice) == "cheap"
    assert "93% of a budget is spent" in choice.why
    assert chosen(choose(virtual("quality"), CODE, LADDER, pressure=0.95)) == "frontier"
    assert chosen(choose(virtual(bar=0.1), CODE, LADDER, pressure=1.0, tight=True)) == "local"  # there is none below


def test_a_session_stays_where_it_must() -> None:
    choice = choose(virtual(), CODE, LADDER, held=LADDER[2].target, held_why="a tool loop is open")
    assert chosen(choice) == "frontier"
    assert "stays with frontier, a tool loop is open" in choice.why
    gone = [*LADDER[:2], option(2, 0.97, 100, excluded="it failed lately and rests", rests=True)]
    assert chosen(choose(virtual(), CODE, gone, held=LADDER[2].target)) == "cheap"


def test_a_cascade_begins_where_all_of_it_costs_least() -> None:
    choice = choose(virtual(cascade=True), CODE, LADDER)
    assert chosen(choice) == "cheap"  # 10 and 100 for one in eleven, against 100 for three in ten
    assert [target.model for target in strong_after(choice)] == ["frontier"]
    assert "up to frontier where it is doubtful" in choice.why


def test_a_cascade_that_cannot_pay_begins_at_the_top() -> None:
    options = [option(0, 0.1, 0), option(1, 0.4, 70), option(2, 0.97, 100)]
    choice = choose(virtual(cascade=True), CODE, options)
    assert chosen(choice) == "frontier"
    assert strong_after(choice) == ()


def test_a_cascade_goes_up_to_what_can_take_the_call_only() -> None:
    options = [option(0, 0.7, 0), option(1, 0.8, 10, excluded="no tools"), option(2, 0.97, 100)]
    assert [target.model for target in strong_after(choose(virtual(cascade=True), CODE, options))] == ["frontier"]


def test_what_is_refused_is_left_out_and_says_why() -> None:
    asked = []

    def refuses(target: Target) -> str:
        asked.append(target.model)
        return "it would cost more" if target.model in ("local", "cheap") else ""

    choice = choose(virtual(bar=0.1), CODE, LADDER, refuses=refuses)
    assert (chosen(choice), choice.money) == ("frontier", True)
    assert asked == ["local", "cheap", "frontier"]
    assert [(option.excluded, option.rests) for option in choice.options] == [
        ("it would cost more", True),
        ("it would cost more", True),
        ("", False),
    ]


def test_where_all_that_is_left_was_refused_the_price_is_no_reason_any_more() -> None:
    options = [*LADDER[:2], msgspec.structs.replace(LADDER[2], excluded="it failed lately and rests", rests=True)]
    choice = choose(virtual(bar=0.1), CODE, options, refuses=lambda _target: "it would cost more")
    assert (chosen(choice), choice.money) == ("local", False)
    assert choice.option is choice.options[0]
    assert choice.option.excluded == "it would cost more"


def test_nothing_is_refused_but_for_its_price() -> None:
    def refuses(target: Target) -> str:
        raise AssertionError(target)

    assert chosen(choose(virtual("quality"), CODE, LADDER, refuses=refuses)) == "frontier"
    assert choose(virtual(bar=0.1), CODE, LADDER, held=LADDER[0].target, held_why="x", refuses=refuses).locked
