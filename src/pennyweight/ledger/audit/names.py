"""Models under one name: dated snapshots, aliases and the names that people read. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["alias", "matched"]

_DATE = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d|latest)$")


def alias(model: str) -> str:
    """The name without date and provider: "gpt-4o" of "gpt-4o-2024-08-06", "claude-haiku-4-5" of "Claude Haiku 4.5".

    Anthropic has written the version before and after the family (claude-3-5-haiku, Claude Haiku 3.5): after, here.
    """
    name = re.sub(r"[\s_.]+", "-", model.strip().lower().rpartition("/")[2])
    if not name.startswith("claude"):
        return _DATE.sub("", re.sub(r"[\s_]+", "-", model.strip().lower().rpartition("/")[2]))
    parts = _DATE.sub("", name).split("-")
    words = [part for part in parts if not part.isdigit()]
    return "-".join([*words, *(part for part in parts if part.isdigit())])


def matched(invoiced: Collection[str], ledger: Collection[str]) -> Mapping[str, str]:
    """The name under which each model is compared: its own where both sides use just that, else its alias."""
    both = set(invoiced) & set(ledger)
    return {model: model if model in both else alias(model) for model in {*invoiced, *ledger}}
