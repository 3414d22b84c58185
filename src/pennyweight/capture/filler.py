"""Text into filler: as many tokens, nothing of what it said, and the same filler for the same text.

Filler is words of three letters, each one o200k token with its leading space, so its length in tokens is the
number of its words. A text is replaced line by line and each line is keyed by a hash of what it said, so two texts
that begin alike become fillers that begin alike, and a line that is repeated stays repeated. Lines that tell a client's
sessions and housekeeping calls apart stay what they are.
"""

from __future__ import annotations

import hashlib
import random
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..identity import SIGNS

__all__ = ["MARKERS", "Filler"]

MARKERS = re.compile(
    "|".join(
        (
            r"<!-- /?openclaw:attempt:(?:STABLE|DYNAMIC) -->",
            r"<<<(?:BEGIN|END)_OPENCLAW_INTERNAL_CONTEXT>>>",
            r"Runtime: agent=\S+(?: \| session=\S+)?(?: \| sessionId=\S+)?(?: \|)?",
            r"\[OpenClaw heartbeat poll\]",
            r"compacted into the following summary:",
            r"x-anthropic-billing-header: cc_version=[\w.]+; cc_entrypoint=[\w-]+;?",
            r"</?system-reminder>",
            *(re.escape(sign) for sign in SIGNS),
        )
    )
)
"""What identity and housekeeping rules look for (the clients' own constant phrases; none holds a user's text)."""

_STAMP = re.compile(r"\[(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d \d\d:\d\d [A-Z]{1,5}\](?= )")
"""The time that OpenClaw writes before a user's text. When a wake came before, it later stands in a block of its own:
time and text are filled each by itself, so that a redacted session shows the same."""

_ONSETS, _VOWELS, _CODAS = "bdgklmnrstvz", "aeiou", "lnrs"  # few sounds: no combination is a rude word


class Filler:
    """Fillers under one salt. The same salt gives the same filler for the same text; another salt, another one."""

    def __init__(self, salt: bytes = b"") -> None:
        self._encoding: Any = _o200k()
        self._salt = salt
        self._words = tuple(self._vocabulary())
        self.text = lru_cache(maxsize=100_000)(self._text)

    def count(self, text: str) -> int:
        """o200k tokens."""
        return len(self._encoding.encode_ordinary(text))

    def words(self, key: str, count: int) -> list[str]:
        """`count` filler words (one token each) that depend on the salt and `key`; fewer are the head of more."""
        return self._draw(key).choices(self._words, k=count) if count > 0 else []

    def opaque(self, text: str) -> str:
        """Filler of as many characters, for signatures, encrypted content and base64."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        body = text.rstrip("=")
        return "".join(self._draw(text).choices(alphabet, k=len(body))) + "=" * (len(text) - len(body))

    def _text(self, text: str) -> str:
        """Filler of exactly as many tokens; marker lines stay. White space stays white space."""
        if not text.strip():
            return text
        wanted = self.count(text)
        if (stamp := _STAMP.match(text)) is not None:
            said = self.text(text[stamp.end() + 1 :])
            stamped = stamp.group() + (said if said.startswith(" ") else f" {said}")
            if self.count(stamped) == wanted:
                return stamped
        pieces: list[str] = []
        at = 0
        for marker in MARKERS.finditer(text):
            pieces += self._lines(text[at : marker.start()])
            pieces.append(marker.group())
            at = marker.end()
        pieces += self._lines(text[at:])
        return self._fit(pieces, wanted, text)

    def _lines(self, text: str) -> list[str]:
        """The words that stand for a text, a line break kept where the line has two tokens or more."""
        if not text:
            return []
        if not text.strip():
            return [text]
        out: list[str] = []
        for line, tokens in self._split(text):
            broken = line.endswith("\n") and tokens >= 2
            out += self.words(line, tokens - 1 if broken else tokens)
            if broken:
                out.append("\n")
        return out

    def _split(self, text: str) -> Iterator[tuple[str, int]]:
        """Each line with the number of tokens that begin in it, counted in the text as a whole."""
        ids = self._encoding.encode_ordinary(text)
        sizes = [len(self._encoding.decode_single_token_bytes(i)) for i in ids]
        at, end = 0, 0
        token = 0
        for line in text.splitlines(keepends=True):
            end += len(line.encode("utf-8", "surrogatepass"))
            count = 0
            while token < len(sizes) and at < end:
                at += sizes[token]
                token += 1
                count += 1
            if count:
                yield line, count

    def _fit(self, pieces: list[str], wanted: int, text: str) -> str:
        """The pieces with filler words added or taken away near the end, so that the count is exact."""
        extra = iter(self.words(text, 64))
        for _ in range(64):
            filled = "".join(pieces)
            missing = wanted - self.count(filled)
            if missing == 0:
                return filled
            if missing > 0:
                pieces += [next(extra) for _ in range(min(missing, 8))]
                continue
            place = next((i for i in range(len(pieces) - 1, -1, -1) if self._is_word(pieces[i])), None)
            if place is None:
                return filled  # markers only: nothing to take away
            del pieces[place]
        return "".join(pieces)

    def _is_word(self, piece: str) -> bool:
        return piece.startswith(" ") and piece[1:].isalpha() and len(piece) == 4

    def _draw(self, key: str) -> random.Random:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=self._salt[:64], digest_size=16).digest()
        return random.Random(digest)  # keyed by a hash; what must not leak is the text, not the sequence

    def _vocabulary(self) -> Iterator[str]:
        for onset in _ONSETS:
            for vowel in _VOWELS:
                for coda in _CODAS:
                    word = f" {onset}{vowel}{coda}"
                    if self.count(word) == 1:
                        yield word


def _o200k() -> Any:
    """The token table costs 60 MB and half a second: only who redacts pays for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # bpe_openai reads its tables in a way of yesterday
        import bpe_openai

        return bpe_openai.get_encoding("o200k_base")
