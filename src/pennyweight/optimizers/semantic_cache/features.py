"""A pair of questions as numbers, for the scorer. All are zero for two equal texts but the cosines."""

from __future__ import annotations

from .facets import Facets
from .vetoes import Comparison

__all__ = ["FEATURES", "features"]

FEATURES = (
    "bias",
    "cosine",  # of the transformer's embeddings, as distance from 1: 1 - cosine
    "static",  # of the static embeddings, likewise
    "missing",  # share of the terms of weight that only one side has
    "added",  # words that one has more, where nothing else differs
    "replaced",  # words in the place of others, likewise
    "swapped",  # opposites made good by a negation
    "moved",  # terms in another place, by all terms
    "soft",  # differences of grammar
    "light",  # light words that only one side has, by all terms
    "length",  # how much longer one is than the other, by the longer
)


def features(a: Facets, b: Facets, compared: Comparison, *, cosine: float, static_cosine: float) -> tuple[float, ...]:
    """The numbers of `FEATURES`, in that order."""
    unmatched = len(compared.left) + len(compared.right)
    weight = max(1, 2 * compared.matched + unmatched)
    words = max(1, len(a.terms) + len(b.terms))
    longer = max(len(a.folded), len(b.folded), 1)
    return (
        1.0,
        1.0 - cosine,
        1.0 - static_cosine,
        unmatched / weight,
        min(2.0, float(compared.added)),
        min(2.0, float(compared.replaced)),
        float(compared.swapped),
        min(1.0, 2 * compared.moved / words),
        min(4.0, float(compared.soft)),
        compared.light / words,
        abs(len(a.folded) - len(b.folded)) / longer,
    )
