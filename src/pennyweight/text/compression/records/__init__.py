"""JSON values with fewer tokens: names of fields said once, every value as it was written. Pure."""

from .naming import named, spelled
from .reading import NotPacked, read
from .values import MAX_CHARS, NotExact, Number, Value, compact, parse, parse_all
from .writing import write

__all__ = [
    "MAX_CHARS",
    "NotExact",
    "NotPacked",
    "Number",
    "Value",
    "compact",
    "named",
    "parse",
    "parse_all",
    "read",
    "spelled",
    "write",
]
