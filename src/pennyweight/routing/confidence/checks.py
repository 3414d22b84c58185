"""What can be verified of one answer without asking anybody: limits, forms, calls, code. And early, of half an answer.

A complaint is a reason to ask a stronger model. No complaint means little by itself: most wrong answers look well.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import islice

from .agreement import is_json, json_in, repeats
from .said import Asked, Said, ToolUse
from .schema import wrong

__all__ = ["complaints", "early_complaint", "made_up", "parts_checked"]

_MOST_CODE_CHARS = 20_000  # parsing takes a millisecond for a thousand or two
_COMPOSED_CHARS = 64
_MOST_LEAVES = 100
_CODE = re.compile(r"```(python|py|json)\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_GIVES_UP = re.compile(
    r"\b(?:as an ai\b|i(?:'m| am) (?:sorry|unable)|i can(?:'|no)t (?:help|assist|do)"
    r"|i do(?:n't| not) (?:know|have access))",
    re.IGNORECASE,
)


def complaints(said: Said, asked: Asked) -> list[str]:
    """What is wrong with an answer, each in a few words that quote neither prompt nor answer. [] where nothing is."""
    return list(_complaints(said, asked))


def _complaints(said: Said, asked: Asked) -> Iterator[str]:
    if said.end == "cut":
        yield "it was cut by its limit"
    if said.end == "refused":
        yield "it was refused or filtered"
    if not said.text.strip() and not said.calls:
        yield "it is empty"
    for call in said.calls:
        yield from _call(call, asked)
    if said.calls:
        if repeats(said.calls, asked):
            yield "it makes the same call twice"
        return
    if asked.must_call:
        yield "it calls no tool, and must"
    if asked.form is not None:
        yield from _form(said.text, asked)
    elif asked.may_call and talks_of(said.text, asked):
        yield "it names a tool and does not call it"
    yield from _code(said.text)


def _call(call: ToolUse, asked: Asked) -> Iterator[str]:
    if call.name not in asked.tools:
        yield "it calls a tool that was not offered"
    elif call.arguments is None:
        yield "the arguments of a call are no JSON object"
    elif (schema := asked.tools[call.name]) is not None and (what := next(wrong(call.arguments, schema), None)):
        yield f"the arguments of a call do not fit: {what}"
    elif isinstance(schema, dict) and schema.get("additionalProperties") is not True and _unknown(call, schema):
        yield "a call has an argument that its tool does not know"


def _unknown(call: ToolUse, schema: dict[str, object]) -> bool:
    known = schema.get("properties")
    return isinstance(known, dict) and "patternProperties" not in schema and not set(call.arguments or ()) <= set(known)


def _form(text: str, asked: Asked) -> Iterator[str]:
    if not is_json(text):
        yield "it is no JSON"
    elif isinstance(asked.form, dict) and (what := next(wrong(json_in(text), asked.form), None)):
        yield f"it does not fit its schema: {what}"


def talks_of(text: str, asked: Asked) -> bool:
    """Whether an answer in words names a tool that was offered, as one that explains a call instead of making it."""
    return any(len(name) >= 6 and name in text for name in asked.tools)


def _code(text: str) -> Iterator[str]:
    for language, code in _CODE.findall(text[:_MOST_CODE_CHARS]):
        if language.lower() == "json":
            if not is_json(code) and "..." not in code:
                yield "a block of JSON in it does not parse"
        elif ">>>" not in code and not _parses(code):
            yield "a block of Python in it does not parse"


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def gives_up(text: str) -> bool:
    """Whether an answer says that it cannot be given."""
    return _GIVES_UP.search(text[:400]) is not None


def parts_checked(said: Said, asked: Asked) -> int:
    """How many things of an answer could be checked: calls against schemas, a form, blocks of code."""
    schemas = sum(asked.tools.get(call.name) is not None for call in said.calls)
    return schemas + (asked.form is not None) + len(_CODE.findall(said.text[:_MOST_CODE_CHARS]))


def early_complaint(text: str, names: tuple[str, ...], asked: Asked) -> str:
    """What is wrong already with an answer that is still coming, whatever may follow; "" where nothing is certain.

    text: so far. names: of the calls so far, those that are whole.
    """
    if any(name not in asked.tools for name in names):
        return "it calls a tool that was not offered"
    start = text.lstrip()[:1]
    if asked.form is not None and not names and start and start not in _JSON_STARTS:
        return "it is no JSON"
    return ""


_JSON_STARTS = frozenset('{["-0123456789tfn`')


def made_up(call: ToolUse, asked: Asked) -> float:
    """The share of a call's words and numbers that stand nowhere in the prompt, in [0, 1]: a model that has to fill
    an argument that nobody told it makes one up. Truth values and values that a schema lists do not count."""
    schema = asked.tools.get(call.name)
    prompt = asked.prompt.casefold()
    found, looked_up = 0, 0
    for leaf in islice(_leaves(call.arguments or {}, schema if isinstance(schema, dict) else {}), _MOST_LEAVES):
        looked_up += 1
        found += _stands_in(leaf, prompt)
    return 1.0 - found / looked_up if looked_up else 0.0


def _leaves(value: object, schema: object, depth: int = 0) -> Iterator[object]:
    inner = schema if isinstance(schema, dict) else {}
    if depth > 16 or isinstance(value, bool) or value is None or "enum" in inner:
        return
    if isinstance(value, dict):
        known = inner.get("properties")
        for name, item in value.items():
            yield from _leaves(item, known.get(name, {}) if isinstance(known, dict) else {}, depth + 1)
    elif isinstance(value, list):
        for item in value[:64]:
            yield from _leaves(item, inner.get("items", {}), depth + 1)
    else:
        yield value


def _stands_in(leaf: object, prompt: str) -> bool:
    if isinstance(leaf, str):
        text = leaf.strip().casefold()
        if not text or text in prompt or len(text) > _COMPOSED_CHARS:
            return True  # long ones are written, not looked up
        parts = re.findall(r"[^\W_]+", text)
        return bool(parts) and sum(part in prompt for part in parts) >= 0.75 * len(parts)
    if isinstance(leaf, int | float):
        shown = {f"{leaf:g}", str(leaf), f"{leaf:,}", f"{leaf * 100:g}"}
        return any(re.search(rf"(?<![\d.]){re.escape(form)}(?!\d)", prompt) for form in shown)
    return True
