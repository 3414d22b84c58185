"""Of which kind a text is, by what stands in it; names of files and tools are no evidence."""

from __future__ import annotations

from .codecs import CODECS
from .shape import Kind, Sample

__all__ = ["detect", "sample"]

HEAD_CHARS, TAIL_CHARS = 16_384, 2_048
SURE = 0.5


def sample(text: str) -> Sample:
    return Sample(text[:HEAD_CHARS], text[-TAIL_CHARS:], len(text))


def detect(text: str) -> Kind:
    """The kind whose codec is surest; "prose" where none is."""
    if not text:
        return "prose"
    seen = sample(text)
    best: Kind = "prose"
    most = SURE
    for kind, codec in CODECS.items():
        sure = codec.sniff(seen)
        if sure > most:
            best, most = kind, sure
    return best
