"""`compact`: a list of messages under a budget of tokens, for programs that send them themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...errors import BadRequest
from ...references import reference_id
from ...request import Request, Wire
from ...text.context import LEVELS, Level
from ...text.messages import Classifier
from ...text.tokenizers import BpeTokenizer
from ...wire.blocks import Reader
from .forms import is_json
from .history import read
from .rewriting import Rules, compaction

__all__ = ["Compacted", "compact"]

_ITEMS = frozenset(
    ("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning", "message")
)
_BLOCKS = frozenset(("tool_use", "tool_result", "thinking", "redacted_thinking"))


class Compacted(msgspec.Struct, frozen=True):
    """`messages`: to be sent; those that were not changed are the very objects given. `levels`: what became of each
    message given. `references`: the whole texts of what is missing, by the names that stand in their places.

    `tokens_after` may be above the budget: instructions, the first and the newest human message, the last turns,
    intents and decisions stay whatever it says.
    """

    messages: list[Any]
    tokens_before: int
    tokens_after: int
    levels: tuple[Level, ...]
    references: dict[str, str]


def compact(
    messages: Sequence[Mapping[str, Any]],
    budget: int,
    *,
    query: str = "",
    keep_turns: int = 4,
    references: bool = True,
    wire: Wire | str | None = None,
    count: Callable[[str], int] | None = None,
) -> Compacted:
    """The messages with as much of their value as fits into `budget` tokens.

    messages: of Chat Completions, Anthropic Messages, Responses (`input`) or Ollama. query: what the work is about,
    where the newest human message does not say it. keep_turns: the model's last turns that stay as they are.
    references: name what is missing, for a `recall` tool of yours that answers from `Compacted.references`. wire: the
    protocol, where its messages do not show it. count: tokens of a text; by default those of o200k.

    Raises BadRequest for messages that are no JSON objects, ValueError for a protocol that is not known.
    """
    protocol = Wire(wire) if wire is not None else _wire(messages)
    counted = _Counted(count or BpeTokenizer().count)
    reader, classifier = Reader(), Classifier()
    request = _request(messages, protocol)
    places = list(range(len(messages)))  # of the messages that are left, among those given
    levels: list[Level] = ["verbatim"] * len(messages)
    kept: dict[str, str] = {}
    originals: dict[str, str] = {}  # what was JSON stays so through several steps
    before: int | None = None
    drop = "spent"
    while True:
        history = read(request, reader, classifier, keep_turns=keep_turns)
        if query:
            history = msgspec.structs.replace(history, query=query)
        rules = Rules(counted, _name, references, True, drop, originals=originals)
        made = compaction(request, history, budget, rules)
        before = made.tokens_before if before is None else before
        if not made.edits:
            if made.tokens_after <= budget or drop == "any":
                break
            drop = "any"
            continue
        for place, level in zip(places, made.levels, strict=True):
            levels[place] = max(levels[place], level, key=LEVELS.index)
        kept |= made.references
        originals |= {form: source for form, source in made.sources.items() if is_json(source)}
        places = [place for place, level in zip(places, made.levels, strict=True) if level != "dropped"]
        request = request.edit(made.edits)
    sent = request.body[_root(protocol)]
    out = [messages[at] if levels[at] == "verbatim" else sent[number] for number, at in enumerate(places)]
    return Compacted(out, before, made.tokens_after, tuple(levels), kept if references else {})


def _request(messages: Sequence[Mapping[str, Any]], wire: Wire) -> Request:
    try:
        raw = msgspec.json.encode({_root(wire): list(messages)})
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"The messages are no JSON: {error}. Give them as plain dictionaries.") from None
    return Request(wire, raw)


def _root(wire: Wire) -> str:
    return "input" if wire is Wire.OPENAI_RESPONSES else "messages"


def _wire(messages: Sequence[Mapping[str, Any]]) -> Wire:
    """By the shapes that only one protocol has; Chat Completions where there is none."""
    for message in messages:
        if not isinstance(message, Mapping):
            raise BadRequest(f"A message is a {type(message).__name__}, which is no JSON object.")
        if message.get("type") in _ITEMS:
            return Wire.OPENAI_RESPONSES
        if "tool_name" in message:
            return Wire.OLLAMA
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in _BLOCKS:
                return Wire.ANTHROPIC_MESSAGES
            if isinstance(part, dict) and part.get("type") in ("input_text", "output_text", "input_image"):
                return Wire.OPENAI_RESPONSES
    return Wire.OPENAI_CHAT


def _name(text: str) -> str:
    """As `pennyweight.references.reference_id`, of no session."""
    return reference_id("", "", text)


class _Counted:
    """Tokens of texts, each counted once."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._count(text)
        return found
