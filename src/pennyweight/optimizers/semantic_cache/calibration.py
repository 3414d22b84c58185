"""Where to draw the line between a hit and a miss, so that few enough hits are wrong: learnt from answers compared.

A logistic regression turns features into a score. The threshold is the loosest score above which the share of wrong
answers is under the target by its upper confidence bound; without evidence there is none, and nothing is a hit. Pure:
labels and traffic in, a `Line` out. See docs/decisions/0016 for why each part is as it is. Needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from .bounds import weighted
from .logistic import fit
from .neighbours import Floats

__all__ = ["LEAST_LABELS", "Line", "draw_line", "held_out_scores"]

LEAST_LABELS = 60
"""Above a threshold: fewer cannot hold any target that makes sense (at 2%, 150 without a single wrong one can)."""

_FOLDS = 5
_SHRINK = 1.0
_BELIEVED = 0.2
"""Weight of every standardised feature before there is evidence: all of them rise with the chance to be right. Without
it, a cache that was never wrong would take whatever is asked for as good as what it has seen."""
_FURTHEST = 5.0  # standard deviations: a feature beyond them says no more than at them
_BINS = 8  # of traffic above a threshold at most, each with a share that is known and labels of its own
_LEAST_DENSITY = 0.5  # of labels for their traffic, as a share of the mean: thinner bins are joined with others
_CUTS = tuple(round(0.04 + 0.02 * n, 2) for n in range(48))  # shares of traffic above the thresholds that are tried
_AUDIT_SPREAD = 4.0  # how many times the mean share of audits a bin may get


class Line(msgspec.Struct, frozen=True):
    """A scorer and where its hits begin. `threshold` None: nowhere.

    weights: of the standardised features, the constant first; share: of traffic above the threshold; edges: the lowest
    scores of its bins from the top down, and audits: how many times the mean share of each bin is to be audited.
    """

    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    threshold: float | None
    bound: float
    share: float
    labels: int  # above the threshold
    wrong: int  # of those
    edges: tuple[float, ...] = ()
    audits: tuple[float, ...] = ()

    def scores(self, features: Floats) -> Floats:
        """(n,) log-odds that the chosen answer is right. features: (n, d)."""
        rows = _with_ones(_standard(features, np.array(self.means), np.array(self.scales)))
        scores: Floats = rows @ np.array(self.weights)
        return scores

    def score(self, features: Sequence[float]) -> float:
        """`scores` of one: so few numbers are added faster without numpy."""
        total = self.weights[0]
        for weight, feature, mean, scale in zip(self.weights[1:], features, self.means, self.scales, strict=True):
            total += weight * min(max((feature - mean) / scale, -_FURTHEST), _FURTHEST)
        return total

    def audit_share(self, score: float, mean: float) -> float:
        """The share of hits of that score to be asked upstream, where `mean` of all hits is."""
        for edge, times in zip(self.edges, self.audits, strict=True):
            if score >= edge:
                return min(mean * times, 1.0)
        return mean


def draw_line(features: Floats, wrong: Floats, traffic: Floats, *, target: float, alpha: float) -> Line | None:
    """The line by these labels; None while there are too few to draw one at all.

    features: (n, d) of labels, oldest first; wrong: (n,) of 0.0 and 1.0; traffic: (m, d), what was asked of late.
    target: the share of wrong hits that is allowed; alpha: the probability that a threshold allows more.
    """
    if min(len(wrong), len(traffic)) < LEAST_LABELS:
        return None
    means, scales = features.mean(axis=0), features.std(axis=0) + 1e-6
    rows = _with_ones(_standard(features, means, scales))
    held_out, weights = held_out_scores(rows, wrong)
    of_traffic = np.sort(_with_ones(_standard(traffic, means, scales)) @ weights)[::-1]
    line = Line(tuple(weights.tolist()), tuple(means.tolist()), tuple(scales.tolist()), None, 1.0, 0.0, 0, 0)
    for share in _CUTS:
        cut = float(of_traffic[int(share * len(of_traffic))])
        above = held_out >= cut
        if above.sum() < LEAST_LABELS:
            continue
        edges, parts = _parts(held_out, wrong, of_traffic, cut)
        bound = weighted(parts, alpha=alpha)
        if bound <= target:
            line = msgspec.structs.replace(
                line,
                threshold=cut,
                bound=bound,
                share=share,
                labels=int(above.sum()),
                wrong=int(wrong[above].sum()),
                edges=edges,
                audits=_audits(parts),
            )
    return line


def held_out_scores(rows: Floats, wrong: Floats) -> tuple[Floats, Floats]:
    """(score of each label by a regression that did not see it, mean weights of those regressions)."""
    fold = np.arange(len(rows)) % _FOLDS
    believed = np.full(rows.shape[1], _BELIEVED)
    believed[0] = 0.0
    scores = np.zeros(len(rows))
    weights = []
    for one in range(_FOLDS):
        seen = fold != one
        weights.append(fit(rows[seen], 1.0 - wrong[seen], shrink=_SHRINK, towards=believed))
        scores[~seen] = rows[~seen] @ weights[-1]
    return scores, np.mean(weights, axis=0)


def _parts(
    scores: Floats, wrong: Floats, of_traffic: Floats, cut: float
) -> tuple[tuple[float, ...], list[tuple[float, int, int]]]:
    """Lowest score of each bin of traffic above `cut`, and (its share, wrong, labels), from the top down.

    A bin that has few labels for its traffic is taken together with the one below, which is wrong more often if
    anything: so no single label weighs much, and the bound errs on the safe side. Which bins are joined depends on
    numbers of labels alone, never on how many were wrong.
    """
    above = of_traffic[of_traffic >= cut]
    lowest = [float(above[min(len(above) * n // _BINS, len(above) - 1)]) for n in range(1, _BINS)] + [cut]
    dense = _LEAST_DENSITY * float((scores >= cut).sum())
    edges: list[float] = []
    parts: list[tuple[float, int, int]] = []
    high = np.inf
    for low in lowest:
        inside = (scores >= low) & (scores < high)
        share, labels = float(((above >= low) & (above < high)).mean()), int(inside.sum())
        if labels >= dense * share or low == cut:
            edges.append(low)
            parts.append((share, int(wrong[inside].sum()), labels))
            high = low
    while len(parts) > 1 and parts[-1][2] < dense * parts[-1][0]:  # the lowest has no bin below: it joins the one above
        last, before = parts.pop(), parts.pop()
        parts.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
        del edges[-2]
    return tuple(edges), parts


def _audits(parts: list[tuple[float, int, int]]) -> tuple[float, ...]:
    """More where labels are few for the traffic that they stand for: the heaviest label is what widens the bound."""
    needs = [share / max(labels, 1) for share, _, labels in parts]
    mean = sum(need * share for need, (share, _, _) in zip(needs, parts, strict=True)) or 1.0
    times = [min(need / mean, _AUDIT_SPREAD) for need in needs]
    total = sum(one * share for one, (share, _, _) in zip(times, parts, strict=True)) or 1.0
    return tuple(one / total for one in times)


def _standard(features: Floats, means: Floats, scales: Floats) -> Floats:
    return np.clip((features - means) / scales, -_FURTHEST, _FURTHEST)


def _with_ones(rows: Floats) -> Floats:
    return np.hstack([np.ones((len(rows), 1)), rows])
