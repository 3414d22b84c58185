"""Which words of English prose matter, and texts without those that do not. Importing this loads no optional library.

`thin` leaves words out; who scores them is a `Scorer`: `open_scorer()` gives the learned one, `SelfInformation` makes
one of a language model's probabilities, `Both` one of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....errors import ConfigError
from .guards import Word, is_english, protected, words
from .scorers import Both, LogProbs, Scorer, SelfInformation
from .thin import LEAST, Context, context_of, thin

if TYPE_CHECKING:
    from .model import Learned

__all__ = [
    "LEAST",
    "Both",
    "Context",
    "LogProbs",
    "Scorer",
    "SelfInformation",
    "Word",
    "context_of",
    "is_english",
    "open_scorer",
    "protected",
    "thin",
    "words",
]


def open_scorer() -> Learned:
    """The learned scorer that comes with the package. Raises ConfigError for a missing library, StoreError."""
    try:
        from .model import Learned
    except ImportError as error:
        raise ConfigError(f"The word scorer needs {error.name}: install pennyweight[semantic].") from None
    return Learned.open()
