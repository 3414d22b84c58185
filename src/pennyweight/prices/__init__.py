"""Which price a model has, and when: list prices of many providers, corrected and overridden.

`book` answers, `catalogue` reads the list, `spec` is a price as people write it, and `genai` makes the list (the only
module here that imports more than msgspec, and none of the others imports it).
"""

from .book import LOCAL, PriceBook, Quote, open_book, read_overrides
from .spec import PriceOverride, PriceSpec, compile_price

__all__ = ["LOCAL", "PriceBook", "PriceOverride", "PriceSpec", "Quote", "compile_price", "open_book", "read_overrides"]
