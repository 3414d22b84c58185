"""`pennyweight.compress`: one text shortened by itself, for programs that have no gateway in front of their model."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

from ..tokenizers import BpeTokenizer
from . import compress as by_kind
from .codecs import CODECS, prose
from .compress import Compressed
from .importance import open_scorer
from .shape import Ask, Kind

__all__ = ["Compressed", "compress"]


def compress(
    text: str,
    *,
    kind: Kind | Literal["auto"] = "auto",
    query: str = "",
    arguments: str = "",
    room_tokens: int | None = None,
    reference: str | None = None,
    count: Callable[[str], int] | None = None,
    words: bool = False,
) -> Compressed:
    """The shortest form of a text, as a tool gave it, that says the same; never a longer one.

    kind: what it is; "auto" looks. query, arguments: what the reader asked and what the tool was called with: what they
    name is kept. room_tokens: where the lossless form is longer than this, parts are left out and a note says what and
    under which name the whole can be had; keep the text under `references` if you set it. None: nothing is left out.
    reference: that name; else one is made from the text. count: tokens of a text, o200k_base unless given; the first
    use loads its table (0.15 s). words: where sentences of English prose that are asked about do not all fit, leave
    their least important words out (docs/token-importance.md). Raises ValueError for a room that is no positive number;
    with words, ConfigError for a missing library.

        made = pennyweight.compress(result, query="which orders are late?", room_tokens=2_000)
        if made.references:
            kept[made.references[0]] = result
    """
    if room_tokens is not None and room_tokens < 1:
        raise ValueError(f"room_tokens={room_tokens} is no room; give at least 1, or None to leave nothing out")
    return by_kind(
        text,
        count=count or BpeTokenizer(remembered=8).count,
        kind=kind,
        ask=Ask(query, arguments),
        room_tokens=room_tokens,
        reference=None if room_tokens is None else reference or _name(text),
        codecs={**CODECS, "prose": prose.codec(open_scorer())} if words else CODECS,
    )


def _name(text: str) -> str:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return "r" + b32encode(digest).decode().lower()[:10]
