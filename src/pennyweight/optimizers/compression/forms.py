"""In which form a result is sent: by what stands before it, what it is, and what it is read for. Pure.

The same conversation gives the same forms, in every process and at any time: what one replica made, another makes
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from ...text.compression import Ask, compress, detect
from ...text.compression.digest import missing
from ...text.compression.repeats import folded, is_note
from .results import Result, shown
from .standing import Standing

__all__ = ["Form", "Rules", "form_of"]

How = Literal["repeat", "lossless", "reduced"]


MOST_CHARS = 2_000_000
"""Longer results would hold up other calls: they are sent as they are."""


class Rules(msgspec.Struct, frozen=True):
    """What may be done. Sizes in tokens: results below `least` stay as they are; from `reduced_from` on something may
    be left out where it can be had by a reference; from `summary_from` on, more of it."""

    least: int = 30
    reduced_from: int = 500
    code_from: int = 3_000
    summary_from: int = 5_000
    repeats: bool = True
    examples: bool = True
    codecs: bool = True


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
    before: Standing,
    *,
    ask: Ask,
    rules: Rules,
    count: Callable[[str], int],
    reference: str | None = None,
    late: Callable[[], bool] | None = None,
) -> Form | None:
    """The shortest form; None: as it is. before: the results that stand before it. reference: the name under which the
    whole can be had; None: nothing may be left out. late: whether the time for this is over."""
    text = result.original
    if not rules.least <= len(text) <= MOST_CHARS or result.block.failed or is_note(text) or (late and late()):
        return None
    tokens = count(text)
    if tokens < rules.least:
        return None
    found: list[Form] = []
    if result.example:
        form = folded(text, (), within=shown(text)) if rules.examples else None
        if form is not None:
            found.append(Form(form.text, "repeat", "example", tokens, count(form.text)))
    elif rules.repeats:
        same = before.whole(text)
        form = folded(text, before.index) if same is None else None
        again = same if same is not None else form.text if form is not None else None
        if again is not None:
            found.append(Form(again, "repeat", "repeat", tokens, count(again)))
    if rules.codecs and not result.example and (not found or found[0].after > _NEARLY_ALL * tokens):
        room = _room(text, tokens, rules) if reference is not None and not _tells_of_errors(text) else None
        known = reference if room else None
        shorter = compress(text, count=count, ask=ask, room_tokens=room, reference=known, late=late)
        if shorter.changed:
            if shorter.references:
                reduced = _with_identifiers(text, shorter.text)
                found.append(Form(reduced, "reduced", shorter.kind, tokens, count(reduced), shorter.references[0]))
            else:
                found.append(Form(shorter.text, "lossless", shorter.kind, tokens, shorter.tokens_after))
                both = folded(shorter.text, before.index) if rules.repeats and shorter.kind in _BY_LINES else None
                if both is not None:
                    found.append(Form(both.text, "repeat", shorter.kind, tokens, count(both.text)))
    best = min(found, key=lambda form: form.after, default=None)
    return best if best is not None and best.saved >= max(_LEAST_SAVED, _LEAST_SHARE * tokens) else None


def _room(text: str, tokens: int, rules: Rules) -> int | None:
    """What a result may take: a long one more than a short one, but not in proportion. None: all of it.

    Code is read to be changed, line by line: a file of usual length is left as it is.
    """
    if tokens < rules.reduced_from:
        return None
    if tokens < rules.code_from and detect(text) == "code":
        return None
    if tokens < rules.summary_from:
        return max(rules.reduced_from // 2, tokens // 3)
    return max(rules.summary_from // 3, tokens // 8)


def _with_identifiers(text: str, form: str) -> str:
    """The form, and a line with what later calls may name of what it leaves out. JSON stays as it is."""
    if form.lstrip()[:1] in ("{", "[", '"'):
        return form
    named = missing(text, form)
    return f"{form.rstrip()}\n[left out: {named}]" if named else form


def _tells_of_errors(text: str) -> bool:
    """Whether a tool ended badly: what it says of that is read line by line."""
    return bool(_ERROR.search(text[:_HEAD]) or _ERROR.search(text[-_HEAD:]))


_ERROR = re.compile(
    r"Traceback \(most recent call last\)|\b(?:exit(?:ed with)?|return)(?: code| status)?:? [1-9]\d*\b"
    r"|^(?:error|fatal|panic)\b|command not found|No such file or directory",
    re.IGNORECASE | re.MULTILINE,
)
_HEAD = 4_000
_BY_LINES = ("log", "shell", "tests", "trace")
"""Kinds whose forms without loss leave most lines as they are, so that notes may stand for them."""
_NEARLY_ALL = 0.5  # of a result: one that is new for more than half may be shorter in a form of its own
_LEAST_SAVED, _LEAST_SHARE = 12, 0.03
