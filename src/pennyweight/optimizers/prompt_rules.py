"""Shorter system prompts and documents for the models that are named, by rules: for small models, which read less well
what is long. It does nothing for models that no setting names.

System prompts are changed from a session's first call on. Documents in users' messages are never changed in the newest
one; later the gate lets them through when nothing of the conversation is in the provider's cache.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol

import msgspec
from xxhash import xxh3_128_digest

from ..call import Call, Outcome, Proposal, Rewrite, Target
from ..errors import BadRequest
from ..protocols import Tokenizer
from ..request import Edit, Operation
from ..text.compression.phrases import ABBREVIATIONS
from ..text.compression.rules import LENGTHS, Ruled, Rules, Tier, apply
from ..wire.blocks import Conversation, Reader

__all__ = ["PromptRules", "Settings", "build"]

RISK, RISK_LEFT_OUT = 0.002, 0.03
"""That an answer is worse: by other words for the same, and by what is left out."""

MOST_CHARS = 120_000
"""Longer texts are left alone: reading one would hold up every other call."""

_KEPT = 64  # texts whose shorter form is remembered


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """targets: a model as the provider calls it, or "provider/model", `*` standing for any run of characters; to the
    size of its prompts. The first that matches counts. lengths: tokens by size, in place of 500, 1,000 and 2,000.
    shorten: leave out what is over that length. documents: also in users' messages. abbreviations: phrases of your
    own, beside the built-in ones.
    """

    targets: dict[str, Tier] = {}
    lengths: dict[Tier, int] = {}
    shorten: bool = True
    documents: bool = True
    abbreviations: dict[str, str] = {}

    def __post_init__(self) -> None:
        for size, tokens in self.lengths.items():
            if tokens < 50:
                raise ValueError(f"`lengths.{size}` is {tokens}: it must be 50 or more")
        for phrase in self.abbreviations:
            if not phrase or phrase != phrase.lower().strip():
                raise ValueError(
                    f"`abbreviations` has {phrase!r}: phrases must be in small letters, without blanks around"
                )


class Parts(Protocol):
    @property
    def tokenizer(self) -> Tokenizer: ...


def build(settings: Settings, parts: Parts) -> PromptRules:
    return PromptRules(settings, parts)


class PromptRules:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "prompt_rules"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._count: Callable[[str], int] = parts.tokenizer.count
        self._reader = Reader(messages=2_048, text_chars=8_000_000)
        lengths: Mapping[Tier, int] = {**LENGTHS, **settings.lengths}
        table = {**ABBREVIATIONS, **settings.abbreviations}
        self._rules = {
            size: Rules(tokens if settings.shorten else None, abbreviations=table) for size, tokens in lengths.items()
        }
        self._known: OrderedDict[bytes, Ruled] = OrderedDict()

    async def propose(self, call: Call) -> Proposal | None:
        """A Rewrite of what the rules make shorter; None for a model that nobody named."""
        size = self._size(call.target)
        if size is None or call.request.operation is not Operation.GENERATE:
            return None
        try:
            conversation = self._reader.read(call.request)
        except BadRequest:
            return None
        edits: list[Edit] = []
        saved, done, left_out = 0, dict[str, None](), False
        for place, text, query in _texts(conversation, documents=self._settings.documents):
            ruled = self._ruled(text, query, size)
            if ruled.after < ruled.before:
                edits.append(Edit(place, ruled.text))
                saved += ruled.before - ruled.after
                done |= dict.fromkeys(ruled.done)
                left_out = left_out or ruled.left_out
        if not edits:
            return None
        why = f"prompt rules for a {size} model: {', '.join(done)}"
        risk = RISK_LEFT_OUT if left_out else RISK
        return Proposal(Rewrite(tuple(edits)), risk=risk, why=why, level="max", tokens=saved)

    async def settle(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def wants_response(self, call: Call) -> bool:
        return False

    def _size(self, target: Target) -> Tier | None:
        names = (target.model, target.name)
        for pattern, size in self._settings.targets.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return size
        return None

    def _ruled(self, text: str, query: str, size: Tier) -> Ruled:
        key = xxh3_128_digest(f"{size}\0{query}\0{text}".encode("utf-8", "surrogatepass"))
        known = self._known.pop(key, None)
        if known is None:
            known = _applied(text, query, self._rules[size], self._count)
            if len(self._known) >= _KEPT:
                self._known.popitem(last=False)
        self._known[key] = known
        return known


_Places = Iterator[tuple[tuple[str | int, ...], str, str]]


def _texts(conversation: Conversation, *, documents: bool) -> _Places:
    """Place, text and question of each text that may be changed: instructions, and messages with documents in them."""
    for block in conversation.system:
        if block.place is not None and block.kind == "text":
            yield block.place, block.text, ""
    newest = max((at for at, message in enumerate(conversation.messages) if message.role == "user"), default=-1)
    for at, message in enumerate(conversation.messages):
        changed = message.role == "system" or (documents and message.role == "user" and at != newest)
        if not changed:
            continue
        for block in message.blocks:
            if block.kind != "text" or block.place is None:
                continue
            if message.role == "system":
                yield conversation.place(at, block), block.text, ""
            elif inner := _documents(block.text):
                yield conversation.place(at, block), block.text, _around(block.text, inner) or " "


_OPEN = re.compile(r"<(document|documents|context|file|source|attachment|article)(?:\s[^<>]{0,200})?>")


def _documents(text: str) -> list[tuple[int, int]]:
    """Where documents stand between tags, in order."""
    found: list[tuple[int, int]] = []
    at = 0
    while opened := _OPEN.search(text, at):
        end = text.find(f"</{opened[1]}>", opened.end())
        if end < 0:
            break
        found.append((opened.end(), end))
        at = end
    return found


def _around(text: str, inner: Sequence[tuple[int, int]]) -> str:
    """What a message says around its documents."""
    ends = [0, *(end for _, end in inner)]
    starts = [*(start for start, _ in inner), len(text)]
    return _OPEN.sub(" ", " ".join(text[a:b] for a, b in zip(ends, starts, strict=True))).strip()


def _applied(text: str, query: str, rules: Rules, count: Callable[[str], int]) -> Ruled:
    """A system prompt whole; of a message (`query` is not empty) what stands in the tags of each document."""
    before = count(text)
    if len(text) > MOST_CHARS:
        return Ruled(text, before, before)
    if not query:
        return apply(text, rules, count=count)
    made: list[str] = []
    done: dict[str, None] = {}
    left_out, at = False, 0
    for start, end in _documents(text):
        ruled = apply(text[start:end], rules, count=count, query=query)
        made += (text[at:start], ruled.text)
        at = end
        done |= dict.fromkeys(ruled.done)
        left_out = left_out or ruled.left_out
    shorter = "".join((*made, text[at:]))
    after = count(shorter)
    return Ruled(shorter, before, after, tuple(done), left_out) if after < before else Ruled(text, before, before)
