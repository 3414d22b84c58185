"""Whether an answer is kept or a stronger model is asked: the whole rule of a cascade."""

from __future__ import annotations

from typing import Literal

import msgspec

from .acceptor import Acceptor, by_hand
from .agreement import Agreement, agree
from .checks import complaints, made_up
from .entropy import Sureness
from .features import features, off_topic
from .said import Asked, Said

__all__ = ["LEAST_PAIRS", "Decision", "Mode", "Standing", "decide", "hopeless"]

Mode = Literal["bound", "verify"]
"""bound: keep what the evidence allows, so that losses stay within the bound. verify: keep what verifiers find nothing
wrong with and the peer, if there is one, does not contradict; nothing is promised of losses."""

LEAST_PAIRS = 200
"""Compared answers from which on a threshold is trusted. Below, two models must agree."""


class Standing(msgspec.Struct, frozen=True):
    """What was learnt of one kind of call. threshold: keep answers that score above it; None: keep none of them.

    pairs: compared answers behind the threshold. kept: the share of them that is above it. price: what asking the cheap
    target and the peer costs, as a share of asking the strongest; 0: not known.
    """

    acceptor: Acceptor = by_hand()
    threshold: float | None = None
    pairs: int = 0
    kept: float = 1.0
    price: float = 0.0

    @property
    def learnt(self) -> bool:
        return self.pairs >= LEAST_PAIRS


class Decision(msgspec.Struct, frozen=True):
    keep: bool
    why: str  # for the trail; never a word of prompt or answer
    score: float = 0.0
    features: tuple[float, ...] = ()


def decide(
    said: Said,
    asked: Asked,
    *,
    peer: Said | None = None,
    sure: Sureness | None = None,
    familiar: float = 0.0,
    standing: Standing | None = None,
    mode: Mode = "bound",
) -> Decision:
    """Whether to keep what the cheap model said.

    peer: a second model's answer. sure: by the odds of its tokens. familiar: how likely the prompt is to a local model.
    """
    standing = standing or _NONE
    found = complaints(said, asked)
    both = agree(said, peer, asked) if peer is not None else None
    signs = features(said, asked, peer=peer, sure=sure, familiar=familiar, both=both, found=found)
    # What a verifier finds wrong is never kept; calibration sees the same score, so the bound holds for the rule.
    score = 0.0 if found else standing.acceptor.score(signs)
    if found:
        return Decision(False, found[0], score, signs)
    if mode == "verify":
        doubted = both is not None and both.same is False and not _peer_refuted(said, peer, asked)
        return Decision(not doubted, _told(both) if both else "nothing wrong was found", score, signs)
    if standing.learnt:
        keep = standing.threshold is not None and score > standing.threshold
        bar = "nothing is kept" if standing.threshold is None else f"the bar is {max(standing.threshold, 0.0):.3f}"
        return Decision(keep, f"score {score:.3f}, {bar}, by {standing.pairs} comparisons", score, signs)
    if both is None:
        return Decision(False, "no peer was asked, and nothing was learnt yet", score, signs)
    if both.same and off_topic(said, asked):
        return Decision(False, "both call the one tool there is, whose name has nothing of the request", score, signs)
    if both.same:
        return Decision(True, _told(both), score, signs)
    if _peer_refuted(said, peer, asked):
        return Decision(True, "it calls no tool, and the peer had to make up what it calls one with", score, signs)
    return Decision(False, _told(both), score, signs)


_NONE = Standing()
_MADE_UP = 0.5


def _peer_refuted(said: Said, peer: Said | None, asked: Asked) -> bool:
    """Whether the peer calls tools with arguments that nobody told it, where the answer calls none: then the peer was
    wrong to call, which is no reason to doubt. Not within a tool loop, where arguments come of more than the prompt."""
    if said.calls or peer is None or not peer.calls or asked.in_loop:
        return False
    return max(made_up(call, asked) for call in peer.calls) > _MADE_UP


def _told(both: Agreement) -> str:
    match both.same:
        case True:
            return f"the peer agrees ({both.kind})"
        case False:
            alike = f", {both.share:.0%} alike" if both.share else ""
            return f"the peer disagrees ({both.kind}{alike})"
    return f"whether the peer agrees cannot be told ({both.kind})"


def hopeless(standing: Standing | None, *, peer: bool, mode: Mode) -> str:
    """Why no answer of the cheap model can be kept now, whatever it says: then asking it would be money for nothing.
    "" where one can."""
    if mode == "verify":
        return ""
    if standing is not None and standing.learnt:
        if standing.threshold is None:
            return "its answers were lost too often"
        if standing.price > 0.0 and standing.kept <= standing.price:
            return f"it keeps {standing.kept:.0%}, and asking it first costs {standing.price:.0%} of the strongest"
        return ""
    return "" if peer else "nothing was learnt of its answers yet, and there is no peer"
