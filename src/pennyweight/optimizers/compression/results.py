"""The tool results of a conversation: what each is called, as the tool gave it and as it is sent. Pure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from ...wire.blocks import Block, Conversation, Message

__all__ = ["Result", "given_back", "results"]

MOST_NAME_CHARS = 40
_HEAD_CHARS, _TAIL_CHARS = 22, 16
_LONG = 1_000
_UNFIT = re.compile(r"[\[\]\"\\\r\n\s]+")


class Result(msgspec.Struct, frozen=True):
    """One text that a tool gave back. `name`: by which its reader knows it, and no other. `original`: as the tool gave
    it; `sent`: as the request has it now. `message`: the index of its message. `block`: of the request as it is sent.
    `example`: it is none, but the record of another session, which the client shows to the model first.
    """

    name: str
    message: int
    block: Block
    original: str
    tool: str = ""
    arguments: str = ""
    example: bool = False

    @property
    def asked(self) -> tuple[str, str]:
        """What tells its call from those that ask for something else."""
        return self.tool, self.arguments

    @property
    def sent(self) -> str:
        return self.block.text

    @property
    def untouched(self) -> bool:
        return self.sent == self.original


def results(sent: Conversation, asked: Conversation) -> Iterator[Result]:
    """All of a conversation in order. sent: with the forms of earlier calls. asked: as the caller wrote it."""
    alike = len(sent.messages) == len(asked.messages)
    names: Counter[str] = Counter()
    for message, position, block in _examples(asked if alike else sent):
        now = sent.messages[message].blocks[position : position + 1]
        if now and now[0].kind == block.kind:
            yield Result("the example", message, now[0], block.text, example=True)
    for message, position, block in given_back(asked if alike else sent):
        tool, arguments = _asked(sent, message, block)
        name = _named(tool, arguments)
        names[name] += 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        now = sent.messages[message].blocks[position : position + 1]
        if now and now[0].kind == block.kind:
            yield Result(name, message, now[0], block.text, tool, arguments)


def given_back(conversation: Conversation) -> Iterator[tuple[int, int, Block]]:
    """The results: each one's message, which block of that it is, and the block.

    Where an agent has no tools in the protocol but writes what is to be run, what came of it stands in a user's name:
    such a text ends in the prompt of a shell or a closing tag, as another does, and answers a model that wrote a
    command.
    """
    tools = False
    for index, message in enumerate(conversation.messages):
        for position, block in enumerate(message.blocks):
            if block.kind == "result":
                tools = True
                yield index, position, block
    if tools:
        return
    found = list(_observations(conversation))
    ends = Counter(end for *_, end in found)
    for index, position, block, end in found:
        if ends[end] > 1:
            yield index, position, block


def _observations(conversation: Conversation) -> Iterator[tuple[int, int, Block, str]]:
    for index in range(1, len(conversation.messages)):
        message = conversation.messages[index]
        if message.role != "user" or not message.blocks or not _commands(conversation.messages[index - 1]):
            continue
        block = message.blocks[-1]
        end = block.text[-_END_CHARS:].rstrip().rpartition("\n")[2]
        if block.kind == "text" and _PROMPT.search(end):
            yield index, len(message.blocks) - 1, block, end


def _examples(conversation: Conversation) -> Iterator[tuple[int, int, Block]]:
    """Texts in a user's name before the model's first turn and before what the user himself says, which is the last."""
    head = itertools.takewhile(lambda pair: pair[1].role != "assistant", enumerate(conversation.messages))
    for index, message in [(index, message) for index, message in head if message.role == "user"][:-1]:
        for position, block in enumerate(message.blocks):
            if block.kind == "text" and len(shown(block.text)) > 1:
                yield index, position, block


def shown(text: str) -> list[tuple[int, int]]:
    """Where the record of a session shows what came of commands: ranges of lines, first to last but one.

    From the end of a fence or a tag to a prompt. What stands between a prompt and that is what the model said.
    """
    if text.count("\n```") < 4 and text.count("\n</") < 2:
        return []
    lines = text.split("\n")
    prompts = {line for line, times in Counter(filter(_PROMPT.match, lines)).items() if times > 1 and line[:1] != "<"}
    found: list[tuple[int, int]] = []
    opened, start = "", -1
    for at, line in enumerate(lines):
        if line in prompts:
            if start >= 0:
                found.append((start, at + 1))
            opened, start = "", -1
        elif start < 0 and opened and line.strip() == opened:
            start = at + 1
        elif start < 0 and not opened and (fence := _FENCE.match(line)):
            opened = f"</{fence[1]}>" if fence[1] else "```"
    return found


_FENCE = re.compile(r"(?:```\w*|<([\w-]{1,40})>)$")


def _asked(conversation: Conversation, message: int, block: Block) -> tuple[str, str]:
    """The tool that gave a result, and what it was asked for."""
    if block.kind == "text":
        said = conversation.messages[message - 1].text
        command = _COMMAND.findall(said)
        return (command[-1] if command else _tagged(said)).strip(), ""
    call = conversation.call_of(block) if block.call_id else _nameless(conversation, message)
    return (call.name, call.text) if call is not None else (block.name, "")


def _tagged(said: str) -> str:
    """What stands in the tags at the end of a text; "" where there are none."""
    said = said.rstrip()
    name = said.rpartition("</")[2]
    start = said.rfind(f"<{name}") if said.endswith(">") else -1
    return said[start + len(name) + 1 : -len(name) - 2] if start >= 0 else ""


def _commands(message: Message) -> bool:
    """Whether a model wrote something that is to be run."""
    return message.role == "assistant" and ("```" in message.text or "</" in message.text)


_COMMAND = re.compile(r"```[a-z]*\n(.*?)```", re.DOTALL)
_END_CHARS = 200
_PROMPT = re.compile(r"^(?:[^\n]{0,80}[$#>%]|</[\w-]{1,40}>)$")


def _nameless(conversation: Conversation, message: int) -> Block | None:
    """The call that a result without an id answers: results follow their calls in the calls' order."""
    turn = message - 1
    while turn >= 0 and conversation.messages[turn].role == "tool":
        turn -= 1
    calls = [block for block in conversation.messages[turn].blocks if block.kind == "call"] if turn >= 0 else []
    return calls[message - turn - 1] if 0 < message - turn <= len(calls) else None


def _named(tool: str, arguments: str) -> str:
    """A tool's name and what it was asked for, short enough to be said again and again."""
    said = " ".join((_first_line(tool[:_LONG]) or "a tool", *map(_first_line, _values(arguments))))
    said = _UNFIT.sub(" ", said).strip() or "a tool"
    if len(said) <= MOST_NAME_CHARS:
        return said
    return f"{said[:_HEAD_CHARS].rstrip()} … {said[-_TAIL_CHARS:].lstrip()}"


def _first_line(text: str) -> str:
    """Of a command or an argument of several lines the first tells enough."""
    return text.lstrip().partition("\n")[0]


def _values(arguments: str) -> Iterator[str]:
    try:
        value: Any = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        value = arguments
    for given in value.values() if isinstance(value, dict) else (value,):
        if isinstance(given, str):
            yield given
        elif isinstance(given, int | float) and not isinstance(given, bool):
            yield str(given)
