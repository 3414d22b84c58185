"""Of which kind a text is, by what stands in it; names of files and tools are no evidence."""

from __future__ import annotations

import msgspec

from .codecs import CODECS
from .shape import Codec, Kind, Sample
from .wrappers import numbered, unwrapped

__all__ = ["Found", "detect", "look", "sample"]

HEAD_CHARS, TAIL_CHARS = 16_384, 2_048
SURE = 0.5


class Found(msgspec.Struct, frozen=True):
    """The kind, and how sure that is, in [0, 1]."""

    kind: Kind
    sure: float

    @property
    def mixed(self) -> bool:
        """Whether a text may be of several kinds: no kind is sure, or it is one that holds others."""
        return self.sure < 0.7 or self.kind in ("markdown", "prose", "shell")


def sample(text: str) -> Sample:
    return Sample(text[:HEAD_CHARS], text[-TAIL_CHARS:], len(text))


def detect(text: str) -> Kind:
    """The kind whose codec is surest; "prose" where none is. What clients put around a text does not count, nor do the
    numbers of lines that reading tools print."""
    return look(unwrapped(text).body).kind


def look(body: str) -> Found:
    """The same for a text that stands by itself."""
    if not body:
        return Found("prose", 0.0)
    seen = _without_numbers(sample(body))
    best: Kind = "prose"
    most = SURE
    for kind, codec in CODECS.items():
        sure = _sniffed(codec, seen)
        if sure > most:
            best, most = kind, sure
    return Found(best, most if best != "prose" else 0.0)


def _sniffed(codec: Codec, seen: Sample) -> float:
    """A sniff that raises has found nothing: one codec's fault is not another's."""
    try:
        return codec.sniff(seen)
    except Exception:  # noqa: BLE001 - a text may be anything
        return 0.0


def _without_numbers(seen: Sample) -> Sample:
    lines = seen.lines if len(seen.lines) < 3 or seen.length <= len(seen.head) else seen.lines[:-1]
    plain = numbered(lines)
    if plain is None:
        return seen
    tail = seen.tail.split("\n")[1:]
    after = numbered(tail)
    return Sample("\n".join(plain.lines), "\n".join(after.lines if after is not None else tail), seen.length)
