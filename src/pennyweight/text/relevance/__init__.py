"""Which parts of a text a question is about. Pure: no I/O, no clock, no model of its own."""

from .score import Shape, prepared, score, score_with
from .select import Selection, fill, select, select_with
from .sentences import sentences
from .vectors import EMBED_TOKENS, Embed
from .words import words

__all__ = [
    "EMBED_TOKENS",
    "Embed",
    "Selection",
    "Shape",
    "fill",
    "prepared",
    "score",
    "score_with",
    "select",
    "select_with",
    "sentences",
    "words",
]
