"""Pennyweight: the token economy of AI agents. `open`, `AsyncClient`, `Client` and `wrap` are the ways in."""

from __future__ import annotations

__version__ = "0.1.0"
