"""How many tokens a text has: OpenAI's o200k_base, with counts of earlier blocks remembered.

Other makers' models split text otherwise, so a count for them is an estimate (Usage.counted says so). What providers
add around texts (roles, separators, image tokens) is not known here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Protocol

__all__ = ["BpeTokenizer", "Said"]


class Said(Protocol):
    """Something with texts in it: a `wire.View`."""

    @property
    def texts(self) -> Sequence[str]: ...


REMEMBER_CHARS = 64
"""Blocks shorter than this are counted faster than they are looked up and kept."""

REMEMBERED_BLOCKS = 65_536
"""About 15 MB when full: a hash, a length and a count each, never the text."""

# A count holds the interpreter for about 25 ns a character (measured on 2 cores at 2.5 GHz), so longer texts are
# counted in parts. A cut falls before a space or line feed where there is one: there the pattern of o200k_base cuts
# too, but for runs of white space, so the sum is that of the whole or a token off.
PART_CHARS = 200_000

LONGEST_CHARS = 4_000_000
"""A million tokens: no model reads more at once. Of a longer text a sample is counted, as all of it (7 s for 30 MB)
would hold up every other call."""
_SAMPLES, _SAMPLE_CHARS = 10, 100_000


class BpeTokenizer:
    """A Tokenizer over bpe-openai. Its table (70 MB, 0.15 s) loads at the first count, not before.

    Names of special tokens inside a text ("<|endoftext|>") are counted as the plain text that they are. One thread at
    a time: it belongs to the event loop, or to the one worker that counts.
    """

    def __init__(self, *, remembered: int = REMEMBERED_BLOCKS, count: Callable[[str], int] | None = None) -> None:
        """`count` takes the place of the o200k_base table, for other vocabularies."""
        self._remembered = remembered
        self._count = count
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def count(self, text: str) -> int:
        """Tokens in the text; about so many in one of over LONGEST_CHARS. One of REMEMBER_CHARS or more that was seen
        before costs its hash."""
        if len(text) < REMEMBER_CHARS:
            return self._fresh(text) if text else 0
        # CPython's keyed hash: no copy of the text is made or kept, and callers cannot aim at a collision.
        key = (hash(text), len(text))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        if len(text) > LONGEST_CHARS:
            sample = _sample(text)
            tokens = round(sum(map(self._fresh, sample)) * len(text) / sum(map(len, sample)))
        else:
            tokens = sum(self._fresh(part) for part in _parts(text))
        self._known[key] = tokens
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return tokens

    def count_request(self, view: Said) -> int:
        """Tokens in all texts of a prompt: system, tools and messages; what a provider adds around them is left out."""
        return sum(self.count(text) for text in view.texts)

    def _fresh(self, text: str) -> int:
        if self._count is None:
            self._count = _o200k_base()
        try:
            return self._count(text)
        except UnicodeEncodeError:  # a lone surrogate is no text; JSON parsers other than ours let it in
            return self._count(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _parts(text: str) -> list[str]:
    """The text in parts of at most PART_CHARS."""
    parts, start = [], 0
    while len(text) - start > PART_CHARS:
        end = start + PART_CHARS
        cut = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
        end = cut if cut > 0 else end
        parts.append(text[start:end])
        start = end
    parts.append(text[start:])
    return parts


def _sample(text: str) -> list[str]:
    """Parts at even distances, the first and the last among them."""
    step = (len(text) - _SAMPLE_CHARS) / (_SAMPLES - 1)
    return [text[start : start + _SAMPLE_CHARS] for start in (round(n * step) for n in range(_SAMPLES))]


def _o200k_base() -> Callable[[str], int]:
    # Loads the package's typed bindings, not the package: importing bpe_openai 0.1.4 parses six tables into Python
    # objects (0.7 s and 132 MB against 0.15 s and 69 MB); its encoders make a list of the tokens where a count is
    # wanted (3x slower) and refuse texts over 200,000 tokens.
    package = find_spec("bpe_openai")
    spec = PathFinder.find_spec("_bindings", package.submodule_search_locations) if package is not None else None
    if spec is None or spec.loader is None:
        raise ImportError("bpe-openai has no _bindings: install bpe-openai 0.1.4, which is what counts tokens.")
    bindings = module_from_spec(spec)
    spec.loader.exec_module(bindings)
    count: Callable[[str], int] = bindings.tokenizer_for_encoding("o200k_base").count
    return count
