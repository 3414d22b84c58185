"""Merges a few settings into TOML and YAML files line by line, so that every other line keeps its bytes.

The standard library reads TOML but writes neither. The three clients concerned need a few keys, one table or one list
item: a line edit is smaller than two format libraries. A layout that it cannot edit is refused.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

__all__ = ["merge_toml", "merge_yaml_item", "merge_yaml_keys"]

_TABLE = re.compile(r"^\s*\[")
_LIST_ITEM = re.compile(r"^(\s*)-(?=\s|$)")


def merge_toml(text: str, keys: dict[str, str], table: str, members: dict[str, str]) -> str:
    """`text` with top-level `keys` set and `[table]` holding exactly these members over its own others.

    The result is parsed again: raises ValueError when it does not say what was meant, or `text` is not TOML.
    """
    before = tomllib.loads(text)
    lines = text.splitlines(keepends=True)
    for key, value in keys.items():
        head = next((n for n, line in enumerate(lines) if _TABLE.match(line)), len(lines))
        _set(lines, 0, head, key, f"{key} = {json.dumps(value)}", separator="=", first=True)
    header = re.compile(rf"^\s*\[\s*{re.escape(table)}\s*\]\s*(#.*)?$")
    start = next((n for n, line in enumerate(lines) if header.match(line.rstrip("\r\n"))), None)
    if start is None:
        _end_line(lines)
        block = [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in members.items())]
        lines += ([_newline(lines)] if lines else []) + [line + _newline(lines) for line in block]
    else:
        for key, value in members.items():
            end = next((n for n in range(start + 1, len(lines)) if _TABLE.match(lines[n])), len(lines))
            _set(lines, start + 1, end, key, f"{key} = {json.dumps(value)}", separator="=")
    result = "".join(lines)
    if tomllib.loads(result) != _toml_meant(before, keys, table, members):
        raise ValueError("its layout cannot be edited line by line")
    return result


def merge_yaml_keys(text: str, values: dict[str, str], defaults: dict[str, str]) -> str:
    """`text`, a YAML mapping in block style, with top-level `values` set and `defaults` where there is no such key."""
    lines = text.splitlines(keepends=True)
    _refuse_flow(lines)
    if any(_LIST_ITEM.match(line) and not line[0].isspace() for line in lines) and not _keys(lines):
        raise ValueError("it is a list, where a mapping is expected")
    present = _keys(lines)
    for key, value in [*values.items(), *((k, v) for k, v in defaults.items() if k not in present)]:
        _set(lines, 0, len(lines), key, f"{key}: {value}", separator=":")
    return "".join(lines)


def merge_yaml_item(text: str, id_key: str, item: dict[str, str]) -> str:
    """`text`, a YAML list in block style, with `item` in place of the one of the same `id_key`, else at its end."""
    lines = text.splitlines(keepends=True)
    _refuse_flow(lines)
    if _keys(lines):
        raise ValueError("it is a mapping, where a list is expected")
    first = next((found for line in lines if (found := _LIST_ITEM.match(line))), None)
    indent = first[1] if first else ""
    wanted = [f"{key}: {value}" for key, value in item.items()]
    span = _item_span(lines, indent, id_key, item[id_key])
    if span is None:
        _end_line(lines)
        block = [f"{indent}{'- ' if n == 0 else '  '}{line}" for n, line in enumerate(wanted)]
        return "".join(lines + [line + _newline(lines) for line in block])
    start, end = span
    for key, line in zip(item, wanted, strict=True):
        before = len(lines)
        _set(lines, start, end, key, line, separator=":", item_indent=f"{indent}  ")
        end += len(lines) - before
    return "".join(lines)


def _item_span(lines: list[str], indent: str, key: str, value: str) -> tuple[int, int] | None:
    """The lines of the list item in which `key` is `value`, from its dash to before the next one."""
    starts = [n for n, line in enumerate(lines) if re.match(rf"{indent}-(\s|$)", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)] if starts else [], strict=True):
        if any(_says(line.strip().removeprefix("-").strip(), key, value) for line in lines[start:end]):
            return start, end
    return None


def _set(
    lines: list[str],
    start: int,
    end: int,
    key: str,
    line: str,
    *,
    separator: str,
    first: bool = False,
    item_indent: str = "",
) -> None:
    """Replace the line of lines[start:end] that sets `key`, keeping its indentation and comment, or add one there."""
    own = re.compile(
        rf"^(\s*(?:-\s+)?)(['\"]?){re.escape(key)}\2\s*{separator}(?=\s|['\"]|$)([^#\r\n]*?)(\s+#[^\r\n]*)?$"
    )
    for n in range(start, end):
        found = own.match(lines[n].rstrip("\r\n"))
        if found and (item_indent or separator == "=" or not lines[n][0].isspace()):
            lines[n] = found[1] + line + (found[4] or "") + _newline(lines)
            return
    if first and (first_key := next((n for n in range(start, end) if not _blank(lines[n])), None)) is not None:
        lines.insert(first_key, line + _newline(lines))
        return
    while end > start and not lines[end - 1].strip():
        end -= 1
    if end == len(lines):
        _end_line(lines)
    lines.insert(end, item_indent + line + _newline(lines))


def _toml_meant(before: dict[str, Any], keys: dict[str, str], table: str, members: dict[str, str]) -> dict[str, Any]:
    parent, _, name = table.partition(".")
    tables = dict(before.get(parent, {}))
    tables[name] = {**tables.get(name, {}), **members}
    return {**before, **keys, parent: tables}


def _says(line: str, key: str, value: str) -> bool:
    found = re.match(rf"{re.escape(key)}\s*:\s*(['\"]?)(.*?)\1\s*(?:#.*)?$", line)
    return bool(found) and found[2] == value.strip("'\"")  # type: ignore[index]


def _keys(lines: list[str]) -> set[str]:
    found = (re.match(r"^(['\"]?)([\w.-]+)\1\s*:(?=\s|$)", line.rstrip("\r\n")) for line in lines)
    return {match[2] for match in found if match}


def _refuse_flow(lines: list[str]) -> None:
    head = next((line.strip() for line in lines if not _blank(line) and line.strip() != "---"), "")
    documents = sum(line.rstrip() == "---" for line in lines)
    if head.startswith(("{", "[", "&", "!", "%")) or documents > 1:
        raise ValueError("it is not written in plain block style")


def _blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _newline(lines: list[str]) -> str:
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"


def _end_line(lines: list[str]) -> None:
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += _newline(lines)
