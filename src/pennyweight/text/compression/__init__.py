"""Shorter forms of what tools give back: told by kind, one codec a kind, nothing invented. Pure: no I/O, no clock."""

from .compress import Compressed, compress
from .detect import detect
from .shape import KINDS, Ask, Kind

__all__ = ["KINDS", "Ask", "Compressed", "Kind", "compress", "detect"]
