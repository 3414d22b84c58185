"""Pennyweight: the token economy of AI agents. `open`, `AsyncClient`, `Client` and `wrap` are the ways in.

`cached` keeps what a function returned, `compress` shortens a text, `select` learns who does a task best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client, feedback, open, select, wrap
    from .functions import Cache, cached, days, hours, minutes
    from .optimizers.context import Compacted, compact
    from .selection import Candidate, Choice
    from .text.compression.library import Compressed, compress

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Cache",
    "Candidate",
    "Choice",
    "Client",
    "Compacted",
    "Compressed",
    "__version__",
    "cached",
    "compact",
    "compress",
    "days",
    "feedback",
    "hours",
    "minutes",
    "open",
    "select",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """The public names, imported at first use: `import pennyweight` itself loads nothing."""
    if name in ("AsyncClient", "Client", "feedback", "open", "select", "wrap"):
        from . import client

        return getattr(client, name)
    if name in ("Cache", "cached", "days", "hours", "minutes"):
        from . import functions

        return getattr(functions, name)
    if name in ("Compacted", "compact"):
        from .optimizers import context

        return getattr(context, name)
    if name in ("Compressed", "compress"):
        from .text.compression import library

        return getattr(library, name)
    if name in ("Candidate", "Choice"):
        from . import selection

        return getattr(selection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
