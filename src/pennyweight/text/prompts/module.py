"""A part of a system prompt that can stand or be left out by itself, and what it says of itself."""

from __future__ import annotations

from functools import cached_property

import msgspec

from .names import names_in

__all__ = ["Entry", "Module", "When"]


class When(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Conditions; all that are set must hold. tools: one of these is offered. words: the query has one of these.
    agents, models: patterns (`fnmatch`) of which one fits the caller's."""

    tools: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """One line or block of a list in which things are named and described: a tool, a skill. `text`: all of it; `name`:
    as the list names it; `brief`: the same in one line."""

    name: str
    text: str
    brief: str


class Module(msgspec.Struct, frozen=True, dict=True):
    """`text`: as it stands in the prompt, its last line feed included.

    title: headings from the top, joined by " / ". priority: 0 (first to go) to 100 (never left out). volatile: holds
    dates, ids and the like, and so stands at the end. entries: if it is a list of named things, in their order; then
    `text` is what they say one after another.
    """

    title: str
    text: str
    tags: tuple[str, ...] = ()
    when: When = When()
    priority: int = 50
    volatile: bool = False
    entries: tuple[Entry, ...] = ()

    @cached_property
    def names(self) -> frozenset[str]:
        """The tools, files and skills that it names."""
        return names_in(self.text)
