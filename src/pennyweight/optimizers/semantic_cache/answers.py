"""Which answers are equal: entries are grouped by what they say, and audits compare what was served with what is said.

Equal means equal after trivial differences are taken away: spacing, case, Unicode forms, a closing full stop, the order
of members in a JSON object. Answers that say one thing in two ways are different here, which only costs hits; a `Judge`
may know better.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from ...request import Response
from ...wire import codec

__all__ = ["EqualTexts", "Judge", "group_of", "normal", "said"]

_SPACES = re.compile(r"\s+")
_FENCE = re.compile(r"^```\w*\n(.*)\n?```$", re.DOTALL)
_MOST_JSON = 200_000  # characters; above, an answer is compared as text

_json = msgspec.json.Decoder()


class Judge(Protocol):
    """Says whether one answer may stand for another. Asked off the request path; whatever it raises means no."""

    async def same(self, question: str, served: str, fresh: str) -> bool: ...


class EqualTexts:
    """Protocol: `Judge`. Equal when nothing but trivial differences part them."""

    async def same(self, question: str, served: str, fresh: str) -> bool:
        return normal(served) == normal(fresh)


def normal(answer: str) -> str:
    """The answer without trivial differences. JSON is compared as JSON: its texts keep their case and spacing."""
    text = answer.strip()
    fenced = _FENCE.match(text)
    if fenced:
        text = fenced[1].strip()
    if text[:1] in ("{", "[") and len(text) <= _MOST_JSON:
        try:
            value: Any = _json.decode(text)
            return msgspec.json.encode(value, order="sorted").decode()
        except (msgspec.DecodeError, RecursionError, ValueError):
            pass
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).casefold()
    return text.rstrip(".! ")


def group_of(answer: str) -> str:
    """16 hexadecimal digits that equal answers share."""
    return blake2b(normal(answer).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def said(response: Response) -> str | None:
    """The text of a whole answer; None for one that cannot be read or given again as a stream."""
    wire = codec(response.wire)
    tap = wire.tap()
    try:
        for chunk in wire.unfold(response.raw):
            tap.feed(chunk)
        return tap.output_text().strip()
    except Exception:  # noqa: BLE001 - whatever it trips over, it is no answer to be shared
        return None
