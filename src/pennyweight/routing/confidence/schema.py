"""What is wrong with a JSON value by a JSON Schema: the part of it that tools and answer formats use.

Draft 2020-12, less what needs a network or changes scope: remote $ref, $dynamicRef, unevaluated*, if/then/else,
format. What is not known here is not complained of. Also type names that some tool catalogues have ("dict", "float").
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["kind_of", "resolved", "wrong"]

_MOST_STEPS, _MOST_DEPTH = 2_000, 64  # a schema may go in circles
_KINDS = {
    "dict": "object",
    "float": "number",
    "double": "number",
    "int": "integer",
    "long": "integer",
    "tuple": "array",
    "list": "array",
    "str": "string",
    "bool": "boolean",
}


def wrong(value: Any, schema: Any) -> Iterator[str]:
    """Each thing that is wrong, in a few words: where, and by which keyword. Never a value."""
    yield from _Walk(schema).wrong(value, schema, "", 0)


def kind_of(schema: Any) -> str:
    """The one JSON type that a schema names, in JSON Schema's words; "" where it names none or several."""
    named = schema.get("type") if isinstance(schema, Mapping) else None
    if isinstance(named, list):
        others = [kind for kind in named if kind != "null"]
        named = others[0] if len(others) == 1 else None
    return _KINDS.get(named.lower(), named.lower()) if isinstance(named, str) else ""


def resolved(schema: Any, root: Any) -> Any:
    """The schema that a local $ref names, or the schema itself."""
    for _ in range(8):
        place = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(place, str) or not place.startswith("#"):
            return schema
        schema = _at(root, place)
    return {}


class _Walk:
    """One pass over a value."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _MOST_STEPS

    def wrong(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        schema = resolved(schema, self._root)
        self._left -= 1
        if schema is False:
            yield f"{at or 'it'} must not be there"
        if not isinstance(schema, Mapping) or self._left < 0 or depth > _MOST_DEPTH:
            return
        kinds = _kinds(schema.get("type"))
        if kinds and not any(_is(value, kind) for kind in kinds):
            yield f"{at or 'it'} is no {' or '.join(sorted(kinds))}"
            return
        if isinstance(choices := schema.get("enum"), list) and value not in choices:
            yield f"{at or 'it'} is none of the values allowed"
        if "const" in schema and value != schema["const"]:
            yield f"{at or 'it'} is not the value allowed"
        if isinstance(value, dict):
            yield from self._object(value, schema, at, depth + 1)
        elif isinstance(value, list):
            yield from self._array(value, schema, at, depth + 1)
        elif isinstance(value, str):
            yield from _string(value, schema, at)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from _number(value, schema, at)
        yield from self._combined(value, schema, at, depth + 1)

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        known = schema.get("properties")
        known = known if isinstance(known, Mapping) else {}
        required = schema.get("required")
        for name in required if isinstance(required, list) else ():
            if isinstance(name, str) and name not in value:
                yield f"{_under(at, name)} is missing"
        rest = schema.get("additionalProperties", True)
        for name, item in value.items():
            if self._left < 0:
                return
            if name in known:
                yield from self.wrong(item, known[name], _under(at, name), depth)
            elif rest is False and not isinstance(schema.get("patternProperties"), Mapping):
                yield f"{at or 'it'} has a member that is not known"
            elif isinstance(rest, Mapping):
                yield from self.wrong(item, rest, _under(at, "*"), depth)

    def _array(self, value: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        if len(value) < _bound(schema, "minItems", 0) or len(value) > _bound(schema, "maxItems", math.inf):
            yield f"{at or 'it'} has too few or too many items"
        if schema.get("uniqueItems") is True and any(item in value[:index] for index, item in enumerate(value[:256])):
            yield f"{at or 'it'} has an item twice"
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        for index, item in enumerate(value):
            if self._left < 0:
                return
            inner = first[index] if index < len(first) else schema.get("items", {})
            yield from self.wrong(item, inner, f"{at}[]", depth)

    def _combined(self, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        for part in _schemas(schema, "allOf"):
            yield from self.wrong(value, part, at, depth)
        fits: Callable[[Any], bool] = lambda part: next(self.wrong(value, part, at, depth), None) is None  # noqa: E731
        if (some := _schemas(schema, "anyOf")) and not any(map(fits, some)):
            yield f"{at or 'it'} fits none of the forms allowed"
        if (one := _schemas(schema, "oneOf")) and sum(map(fits, one)) != 1:
            yield f"{at or 'it'} does not fit exactly one of the forms allowed"
        if "not" in schema and fits(schema["not"]):
            yield f"{at or 'it'} has a form that is not allowed"


def _string(value: str, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    if len(value) < _bound(schema, "minLength", 0) or len(value) > _bound(schema, "maxLength", math.inf):
        yield f"{at or 'it'} is too short or too long"
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and len(pattern) <= 200 and len(value) <= 1_000 and not _NESTED.search(pattern):
        try:
            if re.search(pattern, value) is None:
                yield f"{at or 'it'} does not match its pattern"
        except re.error:
            return  # written for another dialect


_NESTED = re.compile(r"[*+}]\)?[*+{]|\([^)]*[*+][^)]*\)[*+{]")
"""Patterns that can take for ever on a text made for that: those are not tried."""


def _number(value: float, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    low, high = _bound(schema, "minimum", -math.inf), _bound(schema, "maximum", math.inf)
    under, over = _bound(schema, "exclusiveMinimum", -math.inf), _bound(schema, "exclusiveMaximum", math.inf)
    if value < low or value > high or value <= under or value >= over:
        yield f"{at or 'it'} is out of its range"


def _bound(schema: Mapping[str, Any], name: str, default: float) -> float:
    value = schema.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else default


def _kinds(named: Any) -> set[str]:
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    kinds = {_KINDS.get(name.lower(), name.lower()) for name in names if isinstance(name, str)}
    known = {"object", "array", "string", "number", "integer", "boolean", "null"}
    return kinds if kinds <= known else set()


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            whole = isinstance(value, float) and value.is_integer()
            return (isinstance(value, int) and not isinstance(value, bool)) or whole
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _schemas(schema: Mapping[str, Any], name: str) -> list[Any]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _at(root: Any, place: str) -> Any:
    for step in place.removeprefix("#").strip("/").split("/"):
        if step:
            step = step.replace("~1", "/").replace("~0", "~")
            root = root.get(step, {}) if isinstance(root, Mapping) else {}
    return root


def _under(at: str, name: Any) -> str:
    shown = str(name)[:40]
    return f"{at}.{shown}" if at else shown
