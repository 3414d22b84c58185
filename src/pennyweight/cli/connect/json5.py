"""Merges settings into a JSON, JSONC or JSON5 file by editing its text: comments, order and indentation stay.

A parser that remembers where each value stands (https://spec.json5.org), and an edit that splices text at those places.
What the settings do not name keeps its bytes.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

__all__ = ["Node", "load", "merge", "merged"]

_BLANK = re.compile(r"(?:[\s\ufeff]|//[^\n\r]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\n\r]|\\.|\\\r\n)*"|\'(?:[^\'\\\n\r]|\\.|\\\r\n)*\'', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")
_NUMBER = re.compile(
    r"[+-]?(?:Infinity|NaN|0[xX][0-9a-fA-F]+|(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w$.])"
)
_WORD = re.compile(r"(?:true|false|null)(?![\w$])")
_WORDS = {"true": True, "false": False, "null": None}
_CONTROL = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_MAX_DEPTH = 100


class Node(NamedTuple):
    """A value and the place text[start:end] where it stands; children of an object by key, of a list by index."""

    value: Any
    start: int
    end: int
    children: dict[Any, Node]


def load(text: str) -> Node:
    """The document. Raises ValueError with the line of what is wrong."""
    node, at = _value(text, _skip(text, 0), 0)
    if (at := _skip(text, at)) != len(text):
        raise _wrong(text, at, "something follows the end of the document")
    return node


def merged(old: Any, new: Any) -> Any:
    """`old` with `new` put over it: objects member by member, lists of objects by their `id`, the rest whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: merged(old[key], value) if key in old else value for key, value in new.items()}}
    if (places := _by_id(old, new)) is not None:
        result = list(old)
        for item in new:
            if item["id"] in places:
                result[places[item["id"]]] = merged(result[places[item["id"]]], item)
            else:
                result.append(item)
        return result
    return new


def merge(text: str, settings: dict[str, Any]) -> str:
    """The text with `settings` merged in; the same text if it says so already. Raises ValueError if it is no JSON5."""
    if not text.strip("\ufeff \t\r\n"):
        return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    root = load(text)
    if not isinstance(root.value, dict):
        raise _wrong(text, root.start, "the document is not an object")
    edits: list[tuple[int, int, str]] = []
    _plan(text, root, settings, _unit(text, root), edits)
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    if load(text).value != merged(root.value, settings):
        raise ValueError("the edit of this file's layout would not read back as meant")
    return text


# --- editing ----------------------------------------------------------------------------------------------


def _plan(text: str, node: Node, new: Any, unit: str, edits: list[tuple[int, int, str]]) -> None:
    """Append to `edits` (start, end, replacement) what makes `node` say `merged(node.value, new)`."""
    if merged(node.value, new) == node.value:
        return
    added: list[tuple[str, Any]] = []
    if isinstance(node.value, dict) and isinstance(new, dict):
        for key, value in new.items():
            if key in node.children:
                _plan(text, node.children[key], value, unit, edits)
            else:
                added.append((json.dumps(key) + ": ", value))
    elif (places := _by_id(node.value, new)) is not None:
        for item in new:
            if item["id"] in places:
                _plan(text, node.children[places[item["id"]]], item, unit, edits)
            else:
                added.append(("", item))
    else:
        edits.append((node.start, node.end, _dump(new, _indent(text, node.start), unit, text)))
        return
    if added:
        _append(text, node, added, unit, edits)


def _append(text: str, node: Node, added: list[tuple[str, Any]], unit: str, edits: list[tuple[int, int, str]]) -> None:
    """Put members (`"key": ` or "", value) behind the last one of an object or list, in the style that is there."""
    close = node.end - 1
    last = max((child.end for child in node.children.values()), default=None)
    if last is not None and "\n" not in text[node.start : node.end]:
        comma_after = _skip(text, last) < close
        body = ", ".join(label + json.dumps(value, ensure_ascii=False) for label, value in added)
        edits.append((close, close, f" {body}") if comma_after else (last, last, f", {body}"))
        return
    line_end = "\r\n" if "\r\n" in text else "\n"
    outer = _indent(text, node.start)
    inner = outer + unit
    trailing_comma = False
    if last is not None:
        inner = _indent(text, last_start) if (last_start := _last_start(node)) is not None else inner
        trailing_comma = text[_skip(text, last)] == ","
        if not trailing_comma:
            edits.append((last, last, ","))
    body = f",{line_end}".join(inner + label + _dump(value, inner, unit, text) for label, value in added)
    body += "," if trailing_comma else ""
    tail = len(text[:close].rstrip())  # behind comments that follow the last member
    edits.append((tail, close, f"{line_end}{body}{line_end}{outer}"))


def _last_start(node: Node) -> int | None:
    return max((child.start for child in node.children.values()), default=None)


def _dump(value: Any, indent: str, unit: str, text: str) -> str:
    lines = json.dumps(value, indent=unit, ensure_ascii=False).split("\n")
    return ("\r\n" if "\r\n" in text else "\n").join([lines[0], *(indent + line for line in lines[1:])])


def _indent(text: str, at: int) -> str:
    """The white space at the head of the line that holds `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str, root: Node) -> str:
    first = min((child.start for child in root.children.values()), default=None)
    return (_indent(text, first) if first is not None else "") or "  "


def _by_id(old: Any, new: Any) -> dict[Any, int] | None:
    """The index of each `id` in `old`, when both are lists of objects that carry one; else None."""
    for items in (old, new):
        if not isinstance(items, list) or not all(isinstance(i, dict) and isinstance(i.get("id"), str) for i in items):
            return None
    return {item["id"]: index for index, item in enumerate(old)}


# --- parsing ----------------------------------------------------------------------------------------------


def _skip(text: str, at: int) -> int:
    """The place behind white space and comments."""
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _value(text: str, at: int, depth: int) -> tuple[Node, int]:
    if depth > _MAX_DEPTH:
        raise _wrong(text, at, f"nesting is deeper than {_MAX_DEPTH}")
    if text.startswith("{", at):
        return _object(text, at, depth)
    if text.startswith("[", at):
        return _list(text, at, depth)
    if found := _STRING.match(text, at):
        return Node(_unquote(found[0]), at, found.end(), {}), found.end()
    if found := _WORD.match(text, at):
        return Node(_WORDS[found[0]], at, found.end(), {}), found.end()
    if found := _NUMBER.match(text, at):
        return Node(_number(found[0]), at, found.end(), {}), found.end()
    raise _wrong(text, at, "a value is expected here")


def _object(text: str, start: int, depth: int) -> tuple[Node, int]:
    children: dict[Any, Node] = {}
    at = _skip(text, start + 1)
    while not text.startswith("}", at):
        found = _STRING.match(text, at) or _NAME.match(text, at)
        if not found:
            raise _wrong(text, at, "a member's name or } is expected here")
        key = _unquote(found[0]) if found[0][0] in "\"'" else found[0]
        at = _skip(text, found.end())
        if not text.startswith(":", at):
            raise _wrong(text, at, "a colon is expected here")
        if key in children:
            raise _wrong(text, found.start(), f"the name {key!r} is there twice")
        children[key], at = _value(text, _skip(text, at + 1), depth + 1)
        at = _comma(text, at, "}")
    return Node({key: child.value for key, child in children.items()}, start, at + 1, children), at + 1


def _list(text: str, start: int, depth: int) -> tuple[Node, int]:
    children: dict[Any, Node] = {}
    at = _skip(text, start + 1)
    while not text.startswith("]", at):
        children[len(children)], at = _value(text, at, depth + 1)
        at = _comma(text, at, "]")
    return Node([child.value for child in children.values()], start, at + 1, children), at + 1


def _comma(text: str, at: int, close: str) -> int:
    """The place of the next item or of the closing bracket."""
    at = _skip(text, at)
    if text.startswith(",", at):
        return _skip(text, at + 1)
    if not text.startswith(close, at):
        raise _wrong(text, at, f"a comma or {close} is expected here")
    return at


def _unquote(literal: str) -> str:
    def plain(found: re.Match[str]) -> str:
        escape = found[1]
        if len(escape) > 1 and escape[0] in "ux":
            return chr(int(escape[1:], 16))
        return "" if escape[0] in "\r\n\u2028\u2029" else _CONTROL.get(escape, escape)

    text = _ESCAPE.sub(plain, literal[1:-1])
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # joins escaped surrogate pairs


def _number(literal: str) -> int | float:
    digits = literal.lstrip("+-")
    if digits[:2] in ("0x", "0X"):
        return int(digits, 16) * (-1 if literal[0] == "-" else 1)
    return int(literal) if digits.isdigit() else float(literal)


def _wrong(text: str, at: int, what: str) -> ValueError:
    return ValueError(f"line {text.count(chr(10), 0, at) + 1}: {what}")
