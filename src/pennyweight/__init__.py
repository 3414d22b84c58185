"""Pennyweight: the token economy of AI agents. `open`, `AsyncClient`, `Client` and `wrap` are the ways in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client, open, wrap

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__", "open", "wrap"]


def __getattr__(name: str) -> Any:
    """The public names, imported at first use: `import pennyweight` itself loads nothing."""
    if name not in ("AsyncClient", "Client", "open", "wrap"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import client

    return getattr(client, name)
