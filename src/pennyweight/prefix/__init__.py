"""What a provider's prompt cache would see of a request, and which conversation a request goes on with."""

from .canonical import canonical
from .chain import Blocks, Chain, Segment, shared
from .items import items, role
from .marks import Mark, marks_of, unmarked, with_marks
from .rereading import Rereading
from .sessions import Place, SessionIndex

__all__ = [
    "Blocks",
    "Chain",
    "Mark",
    "Place",
    "Rereading",
    "Segment",
    "SessionIndex",
    "canonical",
    "items",
    "marks_of",
    "role",
    "shared",
    "unmarked",
    "with_marks",
]
