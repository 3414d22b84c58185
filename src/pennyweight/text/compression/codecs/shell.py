"""Terminal sessions: what a screen would show of them, without escape sequences and lines that were overwritten."""

from __future__ import annotations

import re

from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "lossless", "shown"]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def shown(text: str) -> str:
    """The text as a terminal leaves it: colours gone, and of a line rewritten with carriage returns what was last."""
    plain = _ESCAPE.sub("", text).replace("\r\n", "\n")
    if "\r" not in plain:
        return plain
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in plain.split("\n"))


def lossless(text: str) -> str | None:
    form = shown(text)
    return form if len(form) < len(text) else None


def _sniff(sample: Sample) -> float:
    seen = len(_ESCAPE.findall(sample.head)) + sample.head.replace("\r\n", "\n").count("\r")
    return 0.9 if seen >= 3 else 0.0


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    return None


CODEC = Codec(
    kind="shell",
    sniff=_sniff,
    lossless=lossless,
    reduced=_reduced,
    guarantees=("Every character that a terminal would still show is there.",),
)
