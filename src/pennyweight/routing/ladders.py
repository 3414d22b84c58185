"""One local model in several precisions: how far down a task of low impact may go, and whether going pays.

Pure. What a rung costs in quality is its perplexity over the first one's, both measured on one text: a figure of that
model and that text, which says little of another's (see docs/generation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .virtual import Live

__all__ = ["Down", "Ladder", "down"]


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rungs: "provider/model", the most precise first. perplexity: of each, as measured; without it nothing moves.

    tasks: types of task that may go down, of any agent. agents: patterns of agents that may, with any task. most_loss:
    perplexity that may be lost, as a share of the rung's that was asked for. temperature: of calls that go down, where
    the caller set none.
    """

    rungs: tuple[str, ...]
    perplexity: tuple[float, ...] = ()
    tasks: tuple[str, ...] = ("side",)
    agents: tuple[str, ...] = ()
    most_loss: float = 0.05
    temperature: float | None = None

    def __post_init__(self) -> None:
        if len(self.rungs) < 2 or len(set(self.rungs)) != len(self.rungs):
            raise ValueError("`rungs` must name two models or more, each once")
        if any("/" not in rung.strip("/") for rung in self.rungs):
            raise ValueError(f'`rungs` has {min(self.rungs)!r} or the like: write "provider/model"')
        if self.perplexity and len(self.perplexity) != len(self.rungs):
            raise ValueError(f"`perplexity` has {len(self.perplexity)} figures for {len(self.rungs)} rungs")
        if any(not 1.0 <= figure < float("inf") for figure in self.perplexity):
            raise ValueError(f"`perplexity` has {min(self.perplexity)}: a perplexity is 1 or more")
        if not 0 <= self.most_loss <= 1:
            raise ValueError(f"`most_loss` is {self.most_loss}: it must be a share, such as 0.05")


class Down(msgspec.Struct, frozen=True):
    """A rung to go to, and what it costs. `loss`: share of the perplexity; below 0 it gains."""

    rung: str
    loss: float
    why: str


def down(ladder: Ladder, at: str, lives: Sequence[Live]) -> Down | str:
    """The rung that a call for `at`, one of the rungs, goes to; or why it stays. lives: of each rung, as it is now.

    The lowest rung within `most_loss` that is loaded; where neither it nor the one asked for is, the lowest that fits.
    A rung that is not loaded is no gain over one that is.
    """
    if not ladder.perplexity:
        return "no perplexity was measured of these rungs"
    start = ladder.rungs.index(at)
    allowed = [
        index
        for index in range(start + 1, len(ladder.rungs))
        if _loss(ladder, start, index) <= ladder.most_loss and lives[index].fits and not lives[index].resting
    ]
    if not allowed:
        return f"no lower rung within {ladder.most_loss:.1%} of its perplexity can be had"
    loaded = [index for index in allowed if not lives[index].load_s]
    ready = lives[start].fits and not lives[start].resting and not lives[start].load_s
    if not loaded and ready:
        return "it is loaded, and no lower rung is"
    index = (loaded or allowed)[-1]
    loss = _loss(ladder, start, index)
    figures = f"{ladder.perplexity[start]:g} to {ladder.perplexity[index]:g}"
    return Down(ladder.rungs[index], loss, f"{at} to {ladder.rungs[index]}, perplexity {figures} ({loss:+.2%})")


def _loss(ladder: Ladder, start: int, index: int) -> float:
    return ladder.perplexity[index] / ladder.perplexity[start] - 1
