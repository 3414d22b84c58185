"""Arguments of a tool in one spelling: whatever the order of keys, the white space and the escapes.

Nothing is rounded and nothing is folded: 9007199254740993 stays itself, 1 is not 1.0 (a tool may print it), and é is
not e with an accent.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from ..wire.tool_results import exact

__all__ = ["canonical", "spelled"]


def canonical(arguments: bytes | str) -> bytes:
    """Of JSON, or of JSON within a JSON string, as OpenAI writes arguments. Raises ValueError for what is neither."""
    value = exact(arguments)
    if isinstance(value, str):
        value = exact(value) if value.strip() else {}
    return spelled({} if value is None else value)


def spelled(value: Any) -> bytes:
    """Of a value as `exact` gives it. Raises ValueError."""
    try:
        return _spell(value).encode("utf-8", "surrogatepass")
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _spell(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return _fraction(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_spell(value[key])}" for key in sorted(value)) + "}"
        )
    raise ValueError(f"a {type(value).__name__} is no JSON")


def _fraction(value: Decimal) -> str:
    """1.50, 15e-1 and 1.5 are one number; its digits are all kept."""
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0") or "0"
    kept = text.rstrip("0") or "0"
    power = 0 if kept == "0" else int(exponent) + len(text) - len(kept)
    return f"{'-' if sign else ''}{kept}e{power}"
