"""Results of tools that only read, kept per tenant: for tool runners to ask before they run one again."""

from __future__ import annotations

from .book import Found, ToolResults

__all__ = ["Found", "ToolResults"]
