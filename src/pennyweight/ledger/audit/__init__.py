"""The ledger against a provider's export, line by line, with what explains each difference.

`books` reads the ledger's side, `names` makes models comparable, `lines` puts the two sides beside each other,
`causes` explains what is left over, and `check` does all of it. Money is in whole pico-dollars throughout.
"""

from .causes import Cause
from .check import Audit, Explained, audit
from .lines import Line

__all__ = ["Audit", "Cause", "Explained", "Line", "audit"]
