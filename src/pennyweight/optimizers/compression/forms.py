"""In which form a result is sent: by what stands before it, what it is, and what it is read for. Pure.

The same conversation gives the same forms, in every process and at any time: what one replica made, another makes
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from ...text.compression import Ask, compress
from ...text.compression.repeats import Earlier, folded, is_note, whole
from .results import Result

__all__ = ["Form", "Rules", "earlier", "form_of"]

How = Literal["repeat", "lossless", "reduced"]


class Rules(msgspec.Struct, frozen=True):
    """What may be done. Sizes in tokens: results below `least` stay as they are; from `reduced_from` on something may
    be left out where it can be had by a reference; from `summary_from` on, more of it."""

    least: int = 60
    reduced_from: int = 500
    summary_from: int = 5_000
    repeats: bool = True


class Form(msgspec.Struct, frozen=True):
    """`tokens`: of the result as it was and in this form. `left_out`: by reference, the texts that must be had."""

    text: str
    how: How
    kind: str
    before: int
    after: int
    reference: str = ""

    @property
    def saved(self) -> int:
        return self.before - self.after


def form_of(
    result: Result,
    before: Sequence[Earlier],
    *,
    ask: Ask,
    rules: Rules,
    count: Callable[[str], int],
    reference: str | None = None,
) -> Form | None:
    """The shortest form; None: as it is. before: the results that stand before it. reference: the name under which the
    whole can be had; None: nothing may be left out."""
    text = result.original
    if len(text) < rules.least or result.block.failed or is_note(text):
        return None
    tokens = count(text)
    if tokens < rules.least:
        return None
    found: list[Form] = []
    if rules.repeats:
        same = whole(text, before)
        again = same if same is not None else _folded(text, before)
        if again is not None:
            found.append(Form(again, "repeat", "repeat", tokens, count(again)))
    if not found or found[0].after > _NEARLY_ALL * tokens:
        room = _room(tokens, rules) if reference is not None and not _tells_of_errors(text) else None
        shorter = compress(text, count=count, ask=ask, room_tokens=room, reference=reference if room else None)
        if shorter.changed:
            how: How = "reduced" if shorter.references else "lossless"
            named = shorter.references[0] if shorter.references else ""
            found.append(Form(shorter.text, how, shorter.kind, tokens, shorter.tokens_after, named))
    best = min(found, key=lambda form: form.after, default=None)
    return best if best is not None and best.saved >= max(_LEAST_SAVED, _LEAST_SHARE * tokens) else None


def earlier(results: Iterable[Result], lossless: Callable[[Result], bool]) -> list[Earlier]:
    """What later results may refer to. lossless: whether what is sent of one lets everything be read."""
    found: list[Earlier] = []
    for result in results:
        if result.untouched:
            found.append(Earlier(result.name, result.original))
        elif is_note(result.sent):
            found.append(Earlier(result.name, result.sent))
        elif lossless(result):
            found.append(Earlier(result.name, result.original, result.original))
    return found


def _folded(text: str, before: Sequence[Earlier]) -> str | None:
    form = folded(text, before)
    return form.text if form is not None else None


def _room(tokens: int, rules: Rules) -> int | None:
    """What a result may take: a long one more than a short one, but not in proportion. None: all of it."""
    if tokens < rules.reduced_from:
        return None
    if tokens < rules.summary_from:
        return max(rules.reduced_from // 2, tokens // 3)
    return max(rules.summary_from // 3, tokens // 8)


def _tells_of_errors(text: str) -> bool:
    """Whether a tool ended badly: what it says of that is read line by line."""
    return bool(_ERROR.search(text[:_HEAD]) or _ERROR.search(text[-_HEAD:]))


_ERROR = re.compile(
    r"Traceback \(most recent call last\)|\b(?:exit(?:ed with)?|return)(?: code| status)?:? [1-9]\d*\b"
    r"|^(?:error|fatal|panic)\b|command not found|No such file or directory",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD = 4_000
_NEARLY_ALL = 0.5  # of a result: one that is new for more than half may be shorter in a form of its own
_LEAST_SAVED, _LEAST_SHARE = 12, 0.03
