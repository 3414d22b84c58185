"""Which parts of a text a question is about. Pure: no I/O, no clock, no model of its own."""

from .score import EMBED_TOKENS, Embed, score
from .select import Selection, fill, select
from .sentences import sentences
from .words import words

__all__ = ["EMBED_TOKENS", "Embed", "Selection", "fill", "score", "select", "sentences", "words"]
