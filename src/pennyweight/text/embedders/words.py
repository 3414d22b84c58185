"""Tokens of a text by its words: each word's tokens are remembered, so that a text of known words needs no tokenizer.

A tokenizer takes 50 to 90 us for a short text, most of it for offsets that nobody asks for; a look at each word takes a
tenth of that. BERT's tokenizers cut a text at white space and marks before they look at anything, so a word's tokens
are the same in any text. That holds here for printable ASCII alone; any other text is the tokenizer's.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["Words"]

_WORD = re.compile(r"[a-z0-9]+|[^ a-z0-9]")
_LONG = 32  # characters of a word that is not worth remembering
_MOST = 8_192  # words; about 1.5 MB


class Words:
    """The tokens of texts. Threads may share it: they write the same."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[int, ...]] = {}
        self._by_word = _cuts_first(tokenizer)

    def of(self, text: str) -> list[int]:
        """Without the tokens that begin and end every text. text: as `prepare` leaves it."""
        # In brackets stand tokens with a meaning of their own, such as [SEP], which are found before words are.
        if not self._by_word or not text.isascii() or "[" in text or not text.isprintable():
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        words = _WORD.findall(text.lower())
        known = self._known
        ids: list[int] = []
        try:
            for word in words:
                ids += known[word]
        except KeyError:
            return self._learnt(text, words)
        return ids

    def _learnt(self, text: str, words: list[str]) -> list[int]:
        found = self._tokenizer.encode(text, add_special_tokens=False)
        ids: list[int] = list(found.ids)
        pieces: list[list[int]] = [[] for _ in words]
        for id, place in zip(ids, found.word_ids, strict=True):
            if place is None or place >= len(pieces):  # it sees other words than we do
                return ids
            pieces[place].append(id)
        new = {word: tuple(piece) for word, piece in zip(words, pieces, strict=True) if piece and len(word) <= _LONG}
        if len(self._known) + len(new) > _MOST:
            self._known = {}
        if len(new) <= _MOST:
            self._known |= new
        return ids


def _cuts_first(tokenizer: Any) -> bool:
    """Whether it is one of BERT's: lower case, and words cut at white space and marks."""
    normalizer = tokenizer.normalizer
    return (
        type(normalizer).__name__ == "BertNormalizer"
        and bool(normalizer.lowercase)
        and type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
        and type(tokenizer.model).__name__ == "WordPiece"
    )
