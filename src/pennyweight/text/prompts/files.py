"""Modules as Markdown files with front matter, and back. Knows texts, not the disk."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...errors import ConfigError
from .module import Module, When
from .split import entries_of

__all__ = ["file_name", "read_module", "written"]

_FRONT = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?\n?", re.DOTALL | re.MULTILINE)


class _Front(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    title: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 50
    volatile: bool = False
    when: When = When()


def read_module(name: str, content: str) -> Module:
    """A module from a file's content; without front matter all of it is text. Raises ConfigError that names the file.

    name: of the file, which is the title where the front matter has none.
    """
    found = _FRONT.match(content)
    if found is None:
        return Module(_titled(name), content, entries=entries_of(content))
    import yaml

    try:
        told: Any = yaml.safe_load(found[1]) or {}
        front = msgspec.convert(told, _Front)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 2}" if mark is not None else ""
        raise ConfigError(
            f"{name}: the front matter is not valid YAML{line}. Quote values with colons in them."
        ) from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: the front matter is not valid: {error}. Known: {', '.join(_KEYS)}.") from None
    if not 0 <= front.priority <= 100:
        raise ConfigError(f"{name}: priority {front.priority} is not between 0 (first to go) and 100 (never left out).")
    text = content[found.end() :]
    title = front.title if front.title is not None else _titled(name)
    return Module(title, text, front.tags, front.when, front.priority, front.volatile, entries_of(text))


_KEYS = _Front.__struct_fields__


def written(module: Module) -> str:
    """The content of the module's file: what `read_module` makes the same module of."""
    import yaml

    front = _Front(module.title, module.tags, module.priority, module.volatile, module.when)
    told = msgspec.to_builtins(front)
    if told.get("when") == {}:
        del told["when"]
    listed = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**16)
    return f"---\n{listed}---\n{module.text}"


def file_name(number: int, module: Module) -> str:
    """`030-tool-call-style.md`; the number keeps the order."""
    last = module.title.rsplit(" / ", 1)[-1].rsplit("/", 1)[-1] or "opening"
    slug = re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:40] or "module"
    return f"{number:03d}-{slug}.md"


def _titled(name: str) -> str:
    stem = name.rsplit("/", 1)[-1].removesuffix(".md")
    return re.sub(r"^\d+[-_ ]", "", stem).replace("-", " ").replace("_", " ").strip() or stem
