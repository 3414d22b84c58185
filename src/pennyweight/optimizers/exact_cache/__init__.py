"""The exact response cache: a call asked before, field by field, gets the answer that it got then.

Under `safe` only calls that ask to be repeatable (temperature 0 or a seed) and carry no tools. The key covers every
field of the body but `NOT_IN_KEY`. It does not know how answers are replayed, whole or as a stream: the pipeline does.
"""

from __future__ import annotations

from .entry import Entry, entry_of
from .key import NOT_IN_KEY, cache_key
from .optimizer import STATEFUL, Book, ExactCache, Parts, Settings, build

__all__ = [
    "NOT_IN_KEY",
    "STATEFUL",
    "Book",
    "Entry",
    "ExactCache",
    "Parts",
    "Settings",
    "build",
    "cache_key",
    "entry_of",
]
