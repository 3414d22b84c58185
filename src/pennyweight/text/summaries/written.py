"""Summaries in a model's words: asked of whoever can write them, checked, and mended or replaced where they fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

from ..relevance import sentences
from .checked import Problem, Source, checked, kept_true
from .extract import extend, summarize

__all__ = ["Summarizer", "Written", "written"]

LEAST_LEFT = 0.5
"""Where more of a summary than this fails, the rest is not believed either."""


class Summarizer(Protocol):
    """Writes a summary with a model: a cheap one of a provider, or the local engine.

    before: the summary so far, of what stood before the text; "" at first. May raise anything, or never answer:
    callers set a time limit.
    """

    def __call__(self, text: str, *, tokens: int, query: str, before: str) -> Awaitable[str]: ...


class Written(msgspec.Struct, frozen=True):
    """by: who the text is of: the model, the model without the sentences that failed, or the text's own sentences.
    problems: what failed; () for none, or where the model did not answer."""

    text: str
    tokens: int
    by: Literal["model", "model, mended", "extract"]
    problems: tuple[Problem, ...] = ()


async def written(
    summarizer: Summarizer,
    text: str,
    *,
    budget_tokens: int,
    count: Callable[[str], int],
    query: str = "",
    before: str = "",
) -> Written:
    """The model's summary of `before` and `text` if what it names stands in them, else the extractive one.

    Raises only what `count` raises, and CancelledError: a summarizer that fails is one that has not answered.
    """
    try:
        said = (await summarizer(text, tokens=budget_tokens, query=query, before=before)).strip()
    except Exception:  # noqa: BLE001 - any failure of any model means the same here
        said = ""
    said = _within(said, budget_tokens, count)
    source = Source(f"{before}\n{text}")
    problems = checked(said, source)
    if said and not problems:
        return Written(said, count(said), "model")
    mended = kept_true(said, source)
    if mended and len(mended) >= LEAST_LEFT * len(said):
        return Written(mended, count(mended), "model, mended", problems)
    old = summarize(before, budget_tokens=budget_tokens, count=count, query=query)
    own = extend(old, text, budget_tokens=budget_tokens, count=count, query=query)
    return Written(own.text, own.tokens, "extract", problems)


def _within(said: str, budget_tokens: int, count: Callable[[str], int]) -> str:
    """The first whole sentences that fit: models do not count."""
    if count(said) <= budget_tokens:
        return said
    kept = ""
    for piece in sentences(said):
        if count((kept + piece).strip()) > budget_tokens:
            break
        kept += piece
    return kept.strip()
