"""What stands in a request before a result: what may be referred to. Each text is gone over once in a conversation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from ...text.compression.repeats import Earlier, Index, is_note, whole
from .results import Result

__all__ = ["Shelf", "Standing", "earlier", "written"]

_LEAST_BREAKS = 2
"""Of lines in what a model wrote; what is shorter is said again as it is."""

Lossless = Callable[[Result], bool]
_Key = tuple[str, int, int, int]


class Standing:
    """Results in their order. `base`: what stands before all of them, and is not changed."""

    def __init__(self, base: Standing | None = None) -> None:
        self.index: Index = Index(base=base.index if base is not None else None)
        self.keys: list[_Key] = []
        self._base = base
        self._whole: dict[int, Earlier] = {}
        self._short: set[tuple[str, str]] = set()

    def say(self, result: Result) -> None:
        """Take up what the model wrote in the call that a result answers; before the result itself is."""
        for source in written(result):
            self.index.add(source)

    def add(self, result: Result, lossless: Lossless) -> None:
        """Take up a result; what its call says must have been."""
        self.keys.append(_key(result))
        if result.example:
            return
        source = earlier(result, lossless)
        if source is None:
            self._short.add(result.asked)
            return
        self.index.add(source)
        for text in {source.text, source.whole or source.text}:
            self._whole[hash(text)] = source

    def whole(self, text: str) -> str | None:
        """The note for a text that is an earlier one; the newest of those."""
        known = self._whole.get(hash(text))
        note = whole(text, (known,)) if known is not None else None
        return self._base.whole(text) if note is None and self._base is not None else note

    def is_short(self, asked: tuple[str, str]) -> bool:
        """Whether something was left out of what that call gave before: who asks again wants to see all of it."""
        return asked in self._short or (self._base is not None and self._base.is_short(asked))


class Shelf:
    """What stands in conversations up to their newest turns; of those used last."""

    def __init__(self, *, conversations: int = 256, chars: int = 32_000_000) -> None:
        self._limit, self._limit_chars = conversations, chars
        self._kept: OrderedDict[str, Standing] = OrderedDict()
        self._chars = 0

    def of(self, session: str, results: Sequence[Result], lossless: Lossless) -> Standing:
        """What these results are to one that comes behind them."""
        keys = [_key(result) for result in results]
        known = self._kept.pop(session, None)
        if known is not None:
            self._chars -= known.index.chars
        if known is None or keys[: len(known.keys)] != known.keys:
            known = Standing()
        for result in results[len(known.keys) :]:
            known.say(result)
            known.add(result, lossless)
        self._kept[session] = known
        self._chars += known.index.chars
        while len(self._kept) > 1 and (len(self._kept) > self._limit or self._chars > self._limit_chars):
            self._chars -= self._kept.popitem(last=False)[1].index.chars
        return known


def earlier(result: Result, lossless: Lossless) -> Earlier | None:
    """A result as what later ones may refer to; None: something of it is not there. lossless: whether the form in which
    it is sent lets everything be read."""
    if result.untouched:
        return Earlier(result.name, result.original)
    if is_note(result.sent):
        return Earlier(result.name, result.sent)
    return Earlier(result.name, result.original, result.original) if lossless(result) else None


def written(result: Result) -> list[Earlier]:
    """The texts of several lines that the model wrote in the call: a file's new content, an edit, a script."""
    name = f"your call {result.name}"
    if result.block.kind == "text":
        return [Earlier(name, result.tool)] if _long(result.tool) else []
    if "\\n" not in result.arguments:
        return []
    try:
        given = msgspec.json.decode(result.arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return []
    if not isinstance(given, dict):
        return []
    return [Earlier(f"{name}, {key}", text) for key, text in given.items() if isinstance(text, str) and _long(text)]


def _long(text: str) -> bool:
    return text.count("\n") >= _LEAST_BREAKS


def _key(result: Result) -> _Key:
    return result.name, hash(result.original), hash(result.sent), hash((result.tool, result.arguments))
