"""Lower precision for tasks of low impact: only where it is measured, allowed and there."""

from __future__ import annotations

from typing import Any

import pytest

from pennyweight.routing.ladders import Down, Ladder, down
from pennyweight.routing.virtual import Live

RUNGS = ("ollama/q:q8_0", "ollama/q:q4_K_M", "ollama/q:q2_K")
LADDER = Ladder(RUNGS, (8.0, 8.08, 8.8))
IN, OUT, DEAD = Live(), Live(load_s=2.0), Live(resting=True, fits=False)


def go(ladder: Ladder = LADDER, at: str = RUNGS[0], lives: tuple[Live, ...] = (OUT, OUT, OUT)) -> Any:
    found = down(ladder, at, lives)
    return found.rung if isinstance(found, Down) else found


def test_the_lowest_within_the_loss_that_is_allowed() -> None:
    assert go() == RUNGS[1]  # 1% is; 10% is more than 5%
    found = down(LADDER, RUNGS[0], (OUT, OUT, OUT))
    assert isinstance(found, Down)
    assert found.loss == pytest.approx(0.01)
    assert found.why == "ollama/q:q8_0 to ollama/q:q4_K_M, perplexity 8 to 8.08 (+1.00%)"
    assert go(Ladder(RUNGS, (8.0, 8.08, 8.8), most_loss=0.2)) == RUNGS[2]
    assert go(at=RUNGS[1]).startswith("no lower rung")  # from there it is 8.9%


def test_what_is_loaded_goes_before_what_is_not() -> None:
    wide = Ladder(RUNGS, (8.0, 8.08, 8.8), most_loss=0.2)
    assert go(wide, lives=(IN, OUT, OUT)) == "it is loaded, and no lower rung is"
    assert go(wide, lives=(IN, IN, OUT)) == RUNGS[1]
    assert go(wide, lives=(OUT, IN, OUT)) == RUNGS[1]
    assert go(wide, lives=(DEAD, OUT, OUT)) == RUNGS[2]
    assert go(wide, lives=(OUT, OUT, DEAD)) == RUNGS[1]


def test_without_a_measured_perplexity_nothing_moves() -> None:
    assert go(Ladder(RUNGS)) == "no perplexity was measured of these rungs"


@pytest.mark.parametrize(
    ("rungs", "more", "match"),
    [
        (("ollama/a",), {}, "two models or more"),
        (("ollama/a", "ollama/a"), {}, "each once"),
        (("a", "ollama/b"), {}, 'write "provider/model"'),
        (RUNGS, {"perplexity": (8.0, 9.0)}, "2 figures for 3 rungs"),
        (RUNGS, {"perplexity": (8.0, 0.5, 9.0)}, "a perplexity is 1 or more"),
        (RUNGS, {"perplexity": (8.0, float("nan"), 9.0)}, "a perplexity is 1 or more"),
        (RUNGS, {"most_loss": 5}, "must be a share"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(rungs: tuple[str, ...], more: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Ladder(rungs, **more)
