"""What an agent does in a message: whether a call of a tool, or a command in its text, looks or changes something.

Told by verbs in the names of tools and by the words of shell commands. Unknown ones only look: to take a change for a
look costs a message that is compressed more than it should be, the reverse keeps one for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .shape import Turn

__all__ = ["Deed", "deeds"]


class Deed(msgspec.Struct, frozen=True):
    """`name`: of the tool, or the first word of a command. `subject`: the path or identifier that it is about, "" where
    none is told. `said`: the whole call, spaces aside: equal ones ask for the same."""

    name: str
    subject: str
    said: str
    changes: bool
    call_id: str = ""


_CHANGE = """
add append apply apply_patch approve archive assign block book build buy cancel checkout close commit copy create
delete deploy disable drop edit enable exchange execute_sql insert install issue kill make merge migrate mkdir
modify move mv notify open_pr order patch pay place post publish push put refund register remove rename replace
reserve reset resolve restart return revert rm save schedule send set start stop store str_replace submit sync touch
transfer undo uninstall unset update upgrade upload write
"""
_CHANGING = frozenset(_CHANGE.split())
_LOOK = """
analyze ask browse calculate cat check compute count decompile describe diff disassemble download evaluate examine
explain fetch find get goto grep head inspect list look lookup ls navigate open parse peek preview pwd query read
recall retrieve run scan screenshot scroll search select show stat status summarize tail test think validate verify
view wait watch
"""
_LOOKING = frozenset(_LOOK.split())
_SHELLS = frozenset(("bash", "shell", "sh", "exec", "exec_command", "run_command", "execute_command", "terminal"))
_SHELL_CHANGES = re.compile(
    r"""(?x)
    (?: ^ | [;&|]\s* | \bsudo\s+ )
    (?: rm | mv | cp | mkdir | rmdir | touch | chmod | chown | ln | kill | pkill | patch | apply_patch | tee | truncate
      | (?: pip3? | npm | yarn | pnpm | apt | apt-get | brew | cargo | uv | poetry | gem | go )
        \s+ (?: install | i | add | remove | uninstall | sync | get ) \b
      | git \s+ (?: add | commit | push | pull | merge | rebase | reset | checkout | switch | stash | tag | apply | rm
                  | mv | clone | revert | cherry-pick )
      | sed \s+ (?: -[a-zA-Z]*i | --in-place )
      | docker \s+ (?: run | rm | stop | start | build | compose ) | kubectl \s+ (?: apply | delete | scale | rollout )
      | curl \b [^;&|]* -X \s* (?: POST | PUT | DELETE | PATCH )
      | create | edit | insert | append | submit | str_replace | undo_edit
    ) \b
    | (?<![<>0-9&-]) > \s* (?! /dev/null | &) [\w./~$"']
    """
)
_FENCED = re.compile(r"```[a-z]*[ \t]*\n(.*?)```\s*\Z", re.DOTALL)
_WORD = re.compile(r"[a-z]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SPACE = re.compile(r"\s+")
_SUBJECTS = ("path", "file_path", "filename", "file_name", "file", "filepath", "notebook_path", "url", "uri")
_PATH = re.compile(r"(?<![\w/.-])[~.]?/?[\w.-]+(?:/[\w.-]+)+|(?<![\w/.-])[\w-]+\.[a-z]{1,5}\b")


def deeds(turn: Turn) -> tuple[Deed, ...]:
    """What the message does: its calls, or else the command in the block of code that its text ends with."""
    found = tuple(
        _deed(block.name, block.text, block.call_id) for block in turn.blocks if block.kind == "call" and block.name
    )
    if found or turn.role != "assistant":
        return found
    said = "\n".join(block.text for block in turn.blocks if block.kind == "text")
    command = _FENCED.search(said[-20_000:]) if said.rstrip().endswith("```") else None
    if command is None or not command[1].strip():
        return ()
    line = command[1].strip()
    name = (_WORD.search(line.lower()) or [""])[0]
    return (Deed(name, _subject_of(line), _SPACE.sub(" ", line), bool(_SHELL_CHANGES.search(line))),)


def _deed(name: str, arguments: str, call_id: str) -> Deed:
    said = f"{name} {_SPACE.sub('', arguments)}"
    try:
        values = msgspec.json.decode(arguments) if arguments else {}
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        values = arguments  # of a custom tool: a text
    lower = name.rpartition("__")[2].lower()
    if lower in _SHELLS or lower == "execute":
        command = _command(values)
        word = (_WORD.search(command.lower()) or [lower])[0]
        return Deed(word, _subject_of(command), said, bool(_SHELL_CHANGES.search(command)), call_id)
    return Deed(name, _subject(values), said, _changes(name, values), call_id)


def _command(values: Any) -> str:
    if isinstance(values, str):
        return values
    for key in ("command", "cmd", "script", "code", "input"):
        found = values.get(key) if isinstance(values, dict) else None
        if isinstance(found, str):
            return found
        if isinstance(found, list):
            parts = [part for part in found if isinstance(part, str)]
            return parts[-1] if len(parts) == 3 and parts[1] in ("-c", "-lc") else " ".join(parts)
    return ""


def _changes(name: str, values: Any) -> bool:
    """By the first verb in the tool's name that is known; of a tool with several commands, by that."""
    command = values.get("command") if isinstance(values, dict) else None
    told = f"{command} {name}" if isinstance(command, str) and len(command) < 20 else name
    for word in _WORD.findall(_CAMEL.sub(" ", told).lower().replace("_", " ")):
        if word in _CHANGING:
            return True
        if word in _LOOKING:
            return False
    return False


def _subject(values: Any) -> str:
    """The path or identifier that the arguments name first."""
    if not isinstance(values, dict):
        return _subject_of(values) if isinstance(values, str) else ""
    for key in _SUBJECTS:
        if isinstance(found := values.get(key), str) and found:
            return found
    return next(_identifiers(values), "")


def _identifiers(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if key.lower().endswith("id") and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            yield str(value)


def _subject_of(command: str) -> str:
    found = _PATH.search(command)
    return found[0] if found is not None else ""
