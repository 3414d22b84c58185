"""What a call will cost before it is sent, now and in the calls that follow, and what a change of it would be worth."""

from .economy import SMALL_BYTES, Economy, Prices, concerns
from .foreseen import Foreseen, Rates, Worth
from .journeys import CHOICE, REFERENCE, Held
from .pricing import baseline
from .scales import Scales
from .stakes import purse, reading, smallest, standing, takes_mark
from .switching import apart, same_tokens

__all__ = [
    "CHOICE",
    "REFERENCE",
    "SMALL_BYTES",
    "Economy",
    "Foreseen",
    "Held",
    "Prices",
    "Rates",
    "Scales",
    "Worth",
    "apart",
    "baseline",
    "concerns",
    "purse",
    "reading",
    "same_tokens",
    "smallest",
    "standing",
    "takes_mark",
]
