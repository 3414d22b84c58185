"""Which tools, files and skills a conversation has used, and under which keys that is counted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from .names import path_names

__all__ = ["SESSIONS", "usage_key", "usage_name", "usage_prefix", "used_in"]

SESSIONS = "#sessions"
"""The name under which sessions themselves are counted."""

_WORD = re.compile(r"[\w./~-]*[\w]")
_PATH = re.compile(r"/|\.[A-Za-z]\w{0,5}$")
_STRING = re.compile(r'"((?:[^"\\]|\\.){1,400})"')


def used_in(calls: Iterable[tuple[str, str]]) -> frozenset[str]:
    """In lower case: the tools called, those that a dispatcher was told to call, and the files and skills that
    arguments name. calls: names of tools with arguments as JSON or text."""
    found: set[str] = set()
    for name, arguments in calls:
        found.add(name.lower())
        for said in _STRING.findall(arguments):
            plain = said.replace("\\n", " ").replace('\\"', " ")
            words = _WORD.findall(plain)
            if len(words) == 1:
                found.update(path_names(words[0]))
            for word in words:
                if _PATH.search(word):
                    found.update(path_names(word))
    return frozenset(name for name in found if len(name) <= _LONGEST)


_LONGEST = 120


def usage_prefix(tenant: str, agent: str) -> str:
    whose = hashlib.blake2b(f"{tenant}\0{agent}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"prompts:{whose}:"


def usage_key(tenant: str, agent: str, name: str) -> str:
    return usage_prefix(tenant, agent) + name


def usage_name(key: str) -> str:
    return key.split(":", 2)[2]
