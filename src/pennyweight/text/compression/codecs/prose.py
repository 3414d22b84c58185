"""Prose, talk and minutes: the sentences that are asked about, and as a last resort those without their lesser words.

Kinds that are told by what stands in them come first: this is what is left. Sentences are chosen by text/relevance;
words are only left out where a scorer was given, in English, and never those of text/compression/importance/guards.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...relevance import fill, score, sentences
from ..importance.guards import protected
from ..importance.scorers import Scorer
from ..importance.thin import thin
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "GAP", "codec", "lossless"]

GAP = "[…]"
"""Stands where sentences are left out."""

_SPEAKER = re.compile(r"^[A-Z][\w .'-]{0,40}:[ \t]", re.MULTILINE)
_WANTED = 0.5  # of the best score: sentences from there on are asked about
_LEAST_SHARE = 0.6  # of a sentence's characters


def codec(scorer: Scorer | None = None) -> Codec:
    """scorer: who says which words matter; None: sentences are kept whole."""
    return Codec(
        kind="prose",
        sniff=_sniff,
        lossless=lossless,
        reduced=lambda text, ask, room, note: _reduced(text, ask, room, note, scorer),
        guarantees=(
            "Sentences that are kept stand in their order, and nothing is added but marks where some are missing.",
            "Of a sentence that is kept, code, numbers, names, negations, quotations, addresses and markup are whole.",
            "Text that is not English loses whole sentences only.",
        ),
    )


def lossless(text: str) -> str | None:
    """Without blanks at the ends of lines and without more than one empty line; code blocks stay as they are."""
    if not (_BLANKS.search(text) or _EMPTY.search(text)):
        return None
    made: list[str] = []
    after = 0
    for start, end in (span for span in protected(text) if "\n" in text[slice(*span)]):
        made += (_tidy(text[after:start]), text[start:end])
        after = end
    form = "".join((*made, _tidy(text[after:])))
    return form if len(form) < len(text) else None


def _tidy(text: str) -> str:
    return _EMPTY.sub("\n\n", _BLANKS.sub("\n", text)) if "\n" in text else text


_BLANKS, _EMPTY = re.compile(r"(?<![ \t])[ \t]+\n"), re.compile(r"\n{3,}")


def _sniff(sample: Sample) -> float:
    return 0.0  # it is what a text is when no other kind claims it


def _reduced(text: str, ask: Ask, room: int, note: Note, scorer: Scorer | None) -> Shorter | None:
    if len(text) <= room:
        return None
    ask.in_time()
    pieces = sentences(text)
    ask.in_time()
    query = f"{ask.query}\n{ask.arguments}".strip()
    scores = score(pieces, query, shape="talk" if _is_talk(text) else "passages")
    budget = room - len(note(f"{len(pieces)} of {len(pieces)} sentences, and lesser words")) - 1
    ask.in_time()
    shown, kept = _chosen(pieces, scores, budget, scorer, query)
    if not kept:
        return None
    left_out = [f"{len(pieces) - len(kept)} of {len(pieces)} sentences"] if len(kept) < len(pieces) else []
    left_out += ["lesser words"] if any(shown[at] != pieces[at] for at in kept) else []
    if not left_out:
        return None
    told = ", and ".join(left_out)
    return Shorter(f"{_joined(shown, kept).rstrip()}\n{note(told)}", told)


def _chosen(
    pieces: list[str], scores: Sequence[float], budget: int, scorer: Scorer | None, query: str
) -> tuple[list[str], tuple[int, ...]]:
    """The sentences, and the places of those that are kept. Without lesser words where the ones asked about do not fit
    whole."""
    costs = [len(piece) + len(GAP) + 1 for piece in pieces]
    kept = fill(scores, costs, budget)
    wanted = _wanted(scores, costs, budget) if scorer is not None else []
    if scorer is None or set(wanted) <= set(kept):
        return pieces, kept
    thinned = _thinned(pieces, wanted, budget, scorer, query)
    return thinned, fill(scores, [len(piece) + len(GAP) + 1 for piece in thinned], budget)


def _is_talk(text: str) -> bool:
    head = text[:20_000]
    return len(_SPEAKER.findall(head)) >= max(3, 0.4 * (head.count("\n") + 1))


def _wanted(scores: Sequence[float], costs: Sequence[int], budget: int) -> list[int]:
    """The sentences that are asked about, best first, as many as could fit without their lesser words."""
    bound = _WANTED * max(scores, default=0.0)
    made: list[int] = []
    left = budget / _LEAST_SHARE
    for at in sorted(range(len(scores)), key=lambda at: (-scores[at], at)):
        if not scores[at] or scores[at] < bound:
            break
        if costs[at] <= left:
            made.append(at)
            left -= costs[at]
    return made


def _thinned(pieces: Sequence[str], wanted: Sequence[int], budget: int, scorer: Scorer, query: str) -> list[str]:
    """All sentences, those that are asked about without their lesser words, as many of these as must go."""
    total = sum(len(pieces[at]) + len(GAP) + 1 for at in wanted)
    share = max(budget / max(total, 1), _LEAST_SHARE)
    made = list(pieces)
    for at in wanted:
        made[at] = thin(pieces[at], share=min(share, 1.0), scorer=scorer, asked=query)
    return made


def _joined(pieces: Sequence[str], kept: Sequence[int]) -> str:
    """The sentences in their order, a mark wherever some are missing between them or before them."""
    made: list[str] = []
    after = 0
    for at in kept:
        if at != after:
            broken = any("\n" in piece for piece in pieces[after:at])
            made.append(GAP + ("\n" if broken else " "))
        made.append(pieces[at])
        after = at + 1
    if after < len(pieces):
        made.append(GAP)
    return "".join(made)


CODEC = codec()
