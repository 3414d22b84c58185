"""Pennyweight: the token economy of AI agents. `open`, `AsyncClient`, `Client` and `wrap` are the ways in.

`cached` keeps what a function returned, `compress` shortens a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client, open, wrap
    from .functions import Cache, cached, days, hours, minutes
    from .optimizers.context import Compacted, compact
    from .text.compression.library import Compressed, compress

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "Cache",
    "Client",
    "Compacted",
    "Compressed",
    "__version__",
    "cached",
    "compact",
    "compress",
    "days",
    "hours",
    "minutes",
    "open",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """The public names, imported at first use: `import pennyweight` itself loads nothing."""
    if name in ("AsyncClient", "Client", "open", "wrap"):
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
