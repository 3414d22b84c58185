"""Prompts for small models: fewer tokens by rules, and a greatest length that cuts at sentences and blocks only.

Applied only where a target's configuration asks for it (docs/prompt-rules.md). Every rule is kept only where it saves
tokens by count. Code, markup, quotations and what stands in tags stays as it is. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from ..relevance import fill, score, sentences
from .importance.guards import Span, is_english, protected
from .importance.thin import context_of
from .outline import Part, parts
from .phrases import ABBREVIATIONS, WORDY, replaced

__all__ = ["GAP", "LENGTHS", "Ruled", "Rules", "Tier", "apply", "shortened", "tidied", "without_repeats"]

Tier = Literal["small", "middle", "large"]

LENGTHS: Mapping[Tier, int] = {"small": 500, "middle": 1_000, "large": 2_000}
"""Tokens that a system prompt or a document may have for models of each size."""

GAP = "[…]"
"""A line that stands where something was left out."""

Count = Callable[[str], int]


class Rules(msgspec.Struct, frozen=True):
    """most_tokens: None: however long. abbreviations: phrases in small letters, and what stands for them."""

    most_tokens: int | None = None
    phrases: bool = True
    repeats: bool = True
    abbreviations: Mapping[str, str] = msgspec.field(default_factory=lambda: ABBREVIATIONS)


class Ruled(msgspec.Struct, frozen=True):
    """`done`: the rules that saved something. `left_out`: whether sentences or blocks are missing."""

    text: str
    before: int
    after: int
    done: tuple[str, ...] = ()
    left_out: bool = False


def apply(text: str, rules: Rules, *, count: Count, query: str = "") -> Ruled:
    """A text by the rules, never of more tokens. query: what is asked, of which the most is kept where some must go.

    Applied to what it gave, it changes nothing.
    """
    before = tokens = count(text)
    done: list[str] = []
    spans = protected(text)
    steps: list[tuple[str, Callable[[str, Sequence[Span]], str]]] = [("whitespace", tidied)]
    if rules.repeats:
        steps.append(("repeats", without_repeats))
    if rules.phrases:
        steps.append(("phrases", lambda now, spans: _in_prose(now, spans, WORDY, count)))
    if rules.abbreviations:
        steps.append(("abbreviations", lambda now, spans: _in_prose(now, spans, rules.abbreviations, count)))
    if rules.most_tokens is not None:
        most = rules.most_tokens
        steps.append(("length", lambda now, spans: shortened(now, most, count=count, query=query)))
    start = ""
    while text != start:  # one rule may make room for another; each takes tokens away, so this ends
        start = text
        for name, step in steps:
            shorter = step(text, spans)
            if shorter != text and (after := count(shorter)) < tokens:
                text, tokens, spans = shorter, after, protected(shorter)
                done += [name] * (name not in done)
    return Ruled(text, before, tokens, tuple(done), "length" in done)


# --- white space ------------------------------------------------------------------------------------------

_BLANKS = re.compile(r"(?<![ \t])[ \t]+(?=\n)")
_EMPTY = re.compile(r"\n{3,}")
_WIDE = re.compile(r"(?<=[.!?,;:]) {2,}(?=\S)")


def tidied(text: str, spans: Sequence[Span] | None = None) -> str:
    """Without blanks at the ends of lines, with one empty line at most and one blank after a mark. Blanks at the
    beginning of a line, in tables and in code are not touched."""
    spans = protected(text) if spans is None else spans
    return _outside(text, spans, lambda piece: _WIDE.sub(" ", _EMPTY.sub("\n\n", _BLANKS.sub("", piece))))


def _outside(text: str, spans: Sequence[Span], change: Callable[[str], str]) -> str:
    """The text with a change made in what is neither code, markup nor quotation."""
    made: list[str] = []
    after = 0
    for start, end in spans:
        made += (change(text[after:start]), text[start:end])
        after = end
    made.append(change(text[after:]))
    return "".join(made)


# --- what is said twice -----------------------------------------------------------------------------------

_WORD = re.compile(r"\w+")
_NUMBERED = re.compile(r"[ \t]*\w{1,3}[.)]\s")
_LEAST_WORDS = 5


def without_repeats(text: str, spans: Sequence[Span] | None = None) -> str:
    """Without instructions that were given before in the same words: sentences, and items of lists without numbers."""
    seen: set[tuple[str, ...]] = set()
    spans = protected(text) if spans is None else spans
    made: list[str] = []
    start = 0
    for part in parts(text):
        if part.kind == "item" and not _NUMBERED.match(part.text):
            made.append("" if _again(part.text, start, spans, seen) else part.text)
        elif part.kind == "paragraph":
            at = start
            for sentence in sentences(part.text):
                again = _again(sentence, at, spans, seen)
                at += len(sentence)
                made.append(("\n" if sentence.endswith("\n") and _open(made) else "") if again else sentence)
        else:
            made.append(part.text)
        start += len(part.text)
    return "".join(made)


def _open(made: Sequence[str]) -> bool:
    """Whether the line that is being written has something on it."""
    last = next((piece for piece in reversed(made) if piece), "\n")
    return not last.endswith("\n")


def _again(piece: str, start: int, spans: Sequence[Span], seen: set[tuple[str, ...]]) -> bool:
    """Whether it is an instruction, was given before, and holds nothing that must stay."""
    key = tuple(_WORD.findall(piece.casefold()))
    if len(key) < _LEAST_WORDS:
        return False
    if key not in seen:
        seen.add(key)
        return False
    at = bisect_left(spans, (start + len(piece),)) - 1  # the last one that begins before the piece's end
    if at >= 0 and spans[at][1] > start:
        return False
    return context_of(piece) == "instructions"


# --- phrases ----------------------------------------------------------------------------------------------


def _in_prose(text: str, spans: Sequence[Span], table: Mapping[str, str], count: Count) -> str:
    lower = text.lower()
    found = {phrase: to for phrase, to in table.items() if phrase in lower}
    if not found:
        return text

    def line(one: str) -> str:
        small = one.lower()
        if not any(phrase in small for phrase in found) or not is_english(one):
            return one
        return replaced(one, found, count)

    return _outside(text, spans, lambda piece: "\n".join(map(line, piece.split("\n"))))


# --- length -----------------------------------------------------------------------------------------------

_WORTH = {"instructions": 0.6, "documents": 0.3, "examples": 0.2, "chatter": 0.0}
_FIRST, _LAST, _ASKED = 0.5, 0.25, 1.0


def shortened(text: str, most_tokens: int, *, count: Count, query: str = "") -> str:
    """What matters most of a text, in its order, in at most so many tokens: blocks whole, or sentences of a paragraph
    that is too long by itself. Tags stay. The text itself where nothing can be left out so.

    Instructions come before documents, these before examples; what is asked comes first of all, then the beginning.
    """
    if count(text) <= most_tokens:
        return text
    pieces = _pieces(text, most_tokens, count)
    texts = [piece for piece, _ in pieces]
    worth = _worth(texts, query)
    always = [at for at, (_, stays) in enumerate(pieces) if stays]
    costs = [count(piece) for piece in texts]
    room = most_tokens
    while room > 0:
        kept = fill(worth, costs, room, always=always)
        if len(kept) <= len(always):
            return text
        made = _joined(texts, kept)
        if (over := count(made) - most_tokens) <= 0:
            return made
        room -= max(over, 1)
    return text


def _pieces(text: str, most_tokens: int, count: Count) -> list[tuple[str, bool]]:
    """What is kept or left out as one, and whether it must stay. A heading goes with what follows it."""
    made: list[tuple[str, bool]] = []
    head = ""
    for part in parts(text):
        if part.kind in ("heading", "blank"):
            if part.kind == "blank" and not head and made:
                made[-1] = (made[-1][0] + part.text, made[-1][1])
            else:
                head += part.text
            continue
        if part.kind == "tag":
            made += [(head, False)] if head.strip() else []
            made.append((part.text, True))
        else:
            made += _split(part, head, most_tokens, count)
        head = ""
    if head:
        made.append((head, False))
    return made


def _split(part: Part, head: str, most_tokens: int, count: Count) -> list[tuple[str, bool]]:
    whole = head + part.text
    if part.kind != "paragraph" or count(whole) <= most_tokens // 2:
        return [(whole, False)]
    first, *rest = sentences(part.text)
    return [(head + first, False), *((one, False) for one in rest)]


def _worth(texts: Sequence[str], query: str) -> list[float]:
    asked = score(texts, query) if query.strip() else [0.0] * len(texts)
    made = [_WORTH[context_of(one)] + _ASKED * found for one, found in zip(texts, asked, strict=True)]
    made[0] += _FIRST
    made[-1] += _LAST
    # Of equals the earlier ones, so that what is kept hangs together.
    return [value - 0.1 * at / len(made) for at, value in enumerate(made)]


def _joined(texts: Sequence[str], kept: Sequence[int]) -> str:
    made: list[str] = []
    after = 0
    for at in (*kept, len(texts)):
        if at != after:
            line = "" if not made or made[-1].endswith("\n") else "\n"
            made.append(f"{line}{GAP}\n")
        if at < len(texts):
            made.append(texts[at])
        after = at + 1
    return "".join(made).rstrip("\n") + ("\n" if texts and texts[-1].endswith("\n") else "")
