"""Histories made up by a seed, in four protocols: sound ones, and such as clients should not send but do."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from pennyweight.request import Wire

__all__ = ["WIRES", "history"]

WIRES = tuple(Wire)
Rng = random.Random
Messages = list[Any]

_HUMAN = (
    "Yes, please go ahead.",
    "Thanks!",
    "ok",
    "",
    "Fix the bug in src/app.py please.",
    "My order number is W8271.",
    "I'd like to cancel it.",
    "请把端口改成 8080。",
    "Bitte ändere den Port auf 8080.",
    "कृपया पोर्ट को 8080 में बदलें।",
    "What about the tests?",
    "I meant the other file, sorry.",
    "###STOP###",
    '[compacted: 12 tokens; recall("raaaaaaaaaa") gives it back]',
    "👍",
    " ",
    "No, don't do that!",
)
_AGENT = (
    "Let me look at the file.",
    "You're welcome!",
    "Could you please provide your order number?",
    "The port has been changed to 8080.",
    "I'm sorry, but this is not allowed.",
    "Here is what I found:\n\n1. port = 80\n2. host = 0.0.0.0",
    "",
    "好的,我来看看。",
    "Ich sehe mir die Datei an.",
    "```\nopen src/app.py\n```",
    "Shall I proceed?",
)
_TOOLS = ("read_file", "bash", "edit_file", "search", "get_order", "cancel_order", "think", "mcp__fs__list", "")
_WORDS = [
    "port",
    "host",
    "file",
    "error",
    "line",
    "value",
    "order",
    "user",
    "result",
    "status",
    "config",
    "server",
    "test",
    "total",
    "端口",
    "Datei",
    "फ़ाइल",
    "naïve",
]


def history(seed: int, wire: Wire) -> Messages:
    """A conversation with instructions and turns. One in three has faults."""
    rng = random.Random(f"{seed} {wire}")
    make = _MAKERS[wire]
    messages: Messages = []
    if rng.random() < 0.6 and wire is not Wire.ANTHROPIC_MESSAGES:
        messages.append({"role": rng.choice(("system", "developer")), "content": _prose(rng, 30)})
    messages.append(_human(rng, wire, "Where is the port set? Change it to 8080."))
    for number in range(rng.choice((0, 1, 3, 6, 10))):
        messages += make(rng, number)
    if rng.random() < 0.7:
        messages.append(_human(rng, wire, rng.choice(_HUMAN)))
    if rng.random() < 0.34:
        _damage(rng, messages)
    return messages


def _human(rng: Rng, wire: Wire, text: str) -> Any:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    kind = "input_text" if wire is Wire.OPENAI_RESPONSES else "text"
    if rng.random() < 0.2 and wire is not Wire.OLLAMA:
        parts = [{"type": kind, "text": text}]
        return {"role": "user", "content": [*parts, image] if rng.random() < 0.5 else parts}
    return {"role": "user", "content": text}


# --- what stands in them ------------------------------------------------------------------------------------


def _prose(rng: Rng, words: int) -> str:
    found = [rng.choice(_WORDS) for _ in range(words)]
    return "".join(f"{word}{rng.choice((' ', ' ', ' ', '. ', chr(10)))}" for word in found)


def _result(rng: Rng) -> str:
    size = rng.choice((0, 1, 5, 20, 60))
    return rng.choice(_RESULTS)(rng, size)


def _json(rng: Rng, size: int) -> str:
    rows = [
        {"id": f"o{rng.randint(0, 9)}", "total": rng.random() * 99, "note": _prose(rng, 2)} for _ in range(size // 4)
    ]
    value: Any = rng.choice((rows, {"order_id": "W1", "rows": rows, "ok": True, "none": None}))
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 2)))


def _log(rng: Rng, size: int) -> str:
    level = ("INFO", "WARN", "ERROR")
    return "\n".join(
        f"2026-01-01 10:00:{n % 60:02d} {rng.choice(level)} {_prose(rng, 4).strip()} id={n}" for n in range(size)
    )


def _code(rng: Rng, size: int) -> str:
    lines = [f"def f{n}(x):\n    return x + {rng.randint(0, 99)}\n" for n in range(size // 3)]
    numbered = "\n".join(f"{n}:{line}" for n, line in enumerate("".join(lines).split("\n"), 1))
    return rng.choice(("".join(lines), f"[File: /src/app.py ({size} lines total)]\n{numbered}"))


_RESULTS: tuple[Callable[[Rng, int], str], ...] = (
    _json,
    _log,
    _code,
    _prose,
    lambda rng, size: "ok",
    lambda rng, size: f"Error: {_prose(rng, size)}",
    lambda rng, size: "x" * size * 8,
    lambda rng, size: "\x1b[31mred\x1b[0m\r\n" * size,
    lambda rng, size: '{"broken": [1, 2, ' + "3, " * size,
)


def _arguments(rng: Rng) -> dict[str, Any]:
    path = f"src/{rng.choice(('app', 'db'))}.py"
    return rng.choice(({"path": path}, {"command": f"cat {path}"}, {"order_id": "W1"}, {}, {"text": _prose(rng, 5)}))


def _id(rng: Rng, number: int, at: int) -> str:
    return rng.choice((f"call_{number}_{at}", f"call_{number}_{at}", f"call_{at}"))  # some clients begin anew each turn


# --- one turn of the model, by protocol -----------------------------------------------------------------------


def _chat(rng: Rng, number: int) -> Messages:
    calls = [(_id(rng, number, at), rng.choice(_TOOLS), json.dumps(_arguments(rng))) for at in range(_calls(rng))]
    calls = list({call[0]: call for call in calls}.values())
    said: dict[str, Any] = {
        "role": "assistant",
        "content": rng.choice((None, *_AGENT)) if calls else rng.choice(_AGENT),
    }
    if calls:
        said["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": args}} for id, name, args in calls
        ]
    if rng.random() < 0.1:
        said["reasoning_content"] = _prose(rng, 8)
    results = [{"role": "tool", "tool_call_id": id, "content": _result(rng)} for id, _, _ in calls]
    rng.shuffle(results)
    return [said, *results, *_reply(rng, Wire.OPENAI_CHAT, bool(calls))]


def _calls(rng: Rng) -> int:
    return rng.choice((0, 1, 1, 1, 2, 3))


def _reply(rng: Rng, wire: Wire, called: bool) -> Messages:
    return [_human(rng, wire, rng.choice(_HUMAN))] if not called or rng.random() < 0.1 else []


def _anthropic(rng: Rng, number: int) -> Messages:
    ids = list(dict.fromkeys(_id(rng, number, at) for at in range(_calls(rng))))
    blocks: list[dict[str, Any]] = [{"type": "text", "text": rng.choice(_AGENT) or "…"}]
    if rng.random() < 0.05:
        blocks.insert(0, {"type": "thinking", "thinking": "hm", "signature": "c2ln"})
    blocks += [{"type": "tool_use", "id": id, "name": rng.choice(_TOOLS), "input": _arguments(rng)} for id in ids]
    results: list[dict[str, Any]] = []
    for id in ids:
        text = _result(rng)
        content: Any = rng.choice((text, [{"type": "text", "text": text}], [{"type": "image", "source": {}}], [], None))
        results.append({"type": "tool_result", "tool_use_id": id, "content": content})
        if rng.random() < 0.2:
            results[-1]["is_error"] = True
        if rng.random() < 0.1:
            results[-1]["cache_control"] = {"type": "ephemeral"}
    if ids and rng.random() < 0.1:
        results.append({"type": "text", "text": rng.choice(_HUMAN) or "go on"})
    answer = [{"role": "user", "content": results}] if ids else []
    return [{"role": "assistant", "content": blocks}, *answer, *_reply(rng, Wire.ANTHROPIC_MESSAGES, bool(ids))]


def _responses(rng: Rng, number: int) -> Messages:
    found: Messages = []
    if rng.random() < 0.3:
        found.append({"type": "reasoning", "id": f"rs_{number}", "summary": []})
        if rng.random() < 0.2:
            found[-1]["encrypted_content"] = "abc"
    ids = list(dict.fromkeys(_id(rng, number, at) for at in range(_calls(rng))))
    if rng.random() < 0.5 or not ids:
        text = {"type": "output_text", "text": rng.choice(_AGENT)}
        found.append({"type": "message", "role": "assistant", "content": [text]})
    custom = {id: rng.random() < 0.2 for id in ids}
    for id in ids:
        if custom[id]:
            found.append({"type": "custom_tool_call", "call_id": id, "name": "apply_patch", "input": _prose(rng, 9)})
        else:
            args = json.dumps(_arguments(rng))
            found.append({"type": "function_call", "call_id": id, "name": rng.choice(_TOOLS), "arguments": args})
    for id in ids:
        kind = "custom_tool_call_output" if custom[id] else "function_call_output"
        found.append({"type": kind, "call_id": id, "output": _result(rng)})
    return [*found, *_reply(rng, Wire.OPENAI_RESPONSES, bool(ids))]


def _ollama(rng: Rng, number: int) -> Messages:
    calls = [(rng.choice(_TOOLS), _arguments(rng)) for _ in range(_calls(rng))]
    said: dict[str, Any] = {"role": "assistant", "content": rng.choice(_AGENT)}
    if calls:
        said["tool_calls"] = [{"function": {"name": name, "arguments": args}} for name, args in calls]
    results = [{"role": "tool", "tool_name": name, "content": _result(rng)} for name, _ in calls]
    return [said, *results, *_reply(rng, Wire.OLLAMA, bool(calls))]


_MAKERS: dict[Wire, Callable[[Rng, int], Messages]] = {
    Wire.OPENAI_CHAT: _chat,
    Wire.ANTHROPIC_MESSAGES: _anthropic,
    Wire.OPENAI_RESPONSES: _responses,
    Wire.OLLAMA: _ollama,
}


# --- faults ---------------------------------------------------------------------------------------------------


def _damage(rng: Rng, messages: Messages) -> None:
    """Once to three times: leave out, repeat, move or spoil a message."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(messages))
        kind = rng.randrange(6)
        if kind == 0 and len(messages) > 1:
            del messages[at]
        elif kind == 1:
            messages.insert(at, messages[at])
        elif kind == 2:
            messages.insert(rng.randrange(len(messages)), messages.pop(at))
        elif kind == 3:
            messages.insert(at, rng.choice(_ODD))
        elif isinstance(messages[at], dict) and messages[at]:
            spoilt = dict(messages[at])
            spoilt[rng.choice(list(spoilt))] = rng.choice((None, 7, "", [], {}, [None, 1], {"a": {}}, "text"))
            messages[at] = spoilt


_ODD: tuple[dict[str, Any], ...] = (
    {},
    {"role": "tool", "content": "without a call", "tool_call_id": "nobody"},
    {"role": "function", "name": "old", "content": "{}"},
    {"role": "assistant"},
    {"role": "user", "content": []},
    {"role": "narrator", "content": "?"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"role": "assistant", "content": [{"type": "server_tool_use", "id": "st_1", "name": "web_search", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result"}]},
    {"role": "assistant", "tool_calls": [{"id": None}, None, {"function": None}]},
)
