"""Generation parameters: where each protocol has them, which a caller left open, and which a model refuses.

Pure. What models refuse, as their makers say: platform.openai.com/docs/guides/reasoning (limitations),
Anthropic's migration guides (one of temperature and top_p from Opus 4.1 on, neither nor top_k from Opus 4.7 on, none
beside thinking), platform.moonshot.ai (fixed sampling from K2.5 on).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..call import Target
from ..request import DELETE, Edit, Request, Wire

__all__ = ["Given", "Wanted", "claude_version", "fitting", "given", "reasons_always", "refused", "setting"]

SAMPLING = frozenset(("temperature", "top_p", "top_k", "repeat_penalty", "presence_penalty", "frequency_penalty"))


class Wanted(msgspec.Struct, frozen=True):
    """Parameters to set where the caller set none; None: leave it. max_tokens: of output."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None


class Given(msgspec.Struct, frozen=True):
    """What a body says of parameters: anything but null in a field is the caller's word, of a wrong type too."""

    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    repeat_penalty: Any = None
    repetition_penalty: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    thinking: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None
    options: Any = msgspec.UNSET
    response_format: Any = None
    text: Any = None
    format: Any = None
    output_format: Any = None
    output_config: Any = None


_given = msgspec.json.Decoder(Given)


def given(request: Request) -> Given | None:
    """None for a body that is none."""
    try:
        return _given.decode(request.raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def setting(body: Given, target: Target, wanted: Wanted, wire: Wire) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """What to write into a body of that protocol so that `wanted` holds at the target, and what that is in words.

    What the caller set stays, and what the target refuses or the protocol has no field for is left out.
    """
    edits: list[Edit] = []
    told: list[str] = []
    fresh: dict[str, Any] = {}
    no = refused(target, body)
    options = body.options if wire is Wire.OLLAMA else None
    if wire is Wire.OLLAMA and options is not msgspec.UNSET and not isinstance(options, dict | None):
        return (), ()  # the server shall say what is wrong with it
    for name, value in _wanted(body, target, wanted, wire):
        place = _place(name, target, wire)
        if place is None or name in no or _is_set(name, body, wire):
            continue
        if len(place) == 2 and not isinstance(options, dict):
            fresh[place[1]] = value
        else:
            edits.append(Edit(place, value))
        told.append(f"{name} {value:g}")
    if fresh:
        edits.append(Edit(("options",), fresh))
    return tuple(edits), tuple(told)


def _wanted(body: Given, target: Target, wanted: Wanted, wire: Wire) -> Iterator[tuple[str, Any]]:
    one_of = claude_version(target.model) >= (4, 1)
    for name in wanted.__struct_fields__:
        value = getattr(wanted, name)
        if value is None:
            continue
        if name == "temperature" and one_of and body.top_p is not None:
            continue
        if name == "top_p" and one_of and (body.temperature is not None or wanted.temperature is not None):
            continue
        if name == "temperature" and (wire is Wire.ANTHROPIC_MESSAGES or "claude" in target.model.lower()):
            value = min(value, 1.0)  # Anthropic's ends there
        yield name, value


def _is_set(name: str, body: Given, wire: Wire) -> bool:
    if wire is Wire.OLLAMA:
        options = body.options if isinstance(body.options, dict) else {}
        return options.get("num_predict" if name == "max_tokens" else name) is not None
    if name == "max_tokens":
        limits = (body.max_tokens, body.max_completion_tokens, body.max_output_tokens)
        return any(limit is not None for limit in limits)
    if name == "repeat_penalty" and body.repetition_penalty is not None:
        return True
    return getattr(body, name) is not None


def _place(name: str, target: Target, wire: Wire) -> tuple[str, ...] | None:
    """Where a parameter stands; None where the protocol, or that provider's form of it, has no such field."""
    if wire is Wire.OLLAMA:
        return "options", "num_predict" if name == "max_tokens" else name
    if name in ("temperature", "top_p"):
        return (name,)
    if name == "max_tokens":
        return _limit_place(target, wire)
    if wire is Wire.ANTHROPIC_MESSAGES:
        return (name,) if name == "top_k" else None
    if wire is not Wire.OPENAI_CHAT or target.wire is not Wire.OPENAI_CHAT or target.provider in _STRICT:
        return None
    if name == "repeat_penalty" and target.provider in _REPETITION:
        return ("repetition_penalty",)
    return (name,)


_STRICT = frozenset(
    ("openai", "mistral", "groq", "xai", "gemini", "deepseek", "moonshot", "dashscope", "minimax", "anthropic")
)
"""Providers whose Chat Completions have neither top_k nor a repeat penalty. Servers of one's own mostly have both
(llama-server, vLLM), and what one refuses is sent again without."""

_REPETITION = frozenset(("openrouter", "together", "fireworks", "vllm"))


def _limit_place(target: Target, wire: Wire) -> tuple[str, ...] | None:
    match wire:
        case Wire.OPENAI_CHAT:
            # OpenAI's reasoning models refuse the old name, other servers may not know the new one.
            return ("max_completion_tokens",) if target.provider == "openai" else ("max_tokens",)
        case Wire.OPENAI_RESPONSES:
            return ("max_output_tokens",)
        case _:
            return None  # Messages demands that the caller sets one


# --- what a model refuses -----------------------------------------------------------------------------------------


def refused(target: Target, body: Given) -> frozenset[str]:
    """The parameters that a call with such a body may not have at that target."""
    model = target.model.lower().rpartition("/")[2]
    if _OPENAI_REASONING.match(model) and not _unreasoned(body):
        return SAMPLING | {"logprobs", "top_logprobs", "logit_bias"}
    if target.provider == "moonshot" and not _OLD_KIMI.match(model):
        return SAMPLING
    if "claude" in model and (claude_version(model) >= (4, 7) or _thinks(body)):
        return frozenset(("temperature", "top_p", "top_k"))
    return frozenset()


_OPENAI_REASONING = re.compile(r"o[1-9](?:-|$)|gpt-(?:[5-9]|\d\d)(?!.*chat)|codex-")
_OLD_KIMI = re.compile(r"kimi-k2-(?:0|turbo|instruct)|moonshot-v1")
_CLAUDE_VERSION = re.compile(r"(?<!\d)(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")


def reasons_always(model: str) -> bool:
    """Whether that model spends tokens of its limit on reasoning, whoever asks."""
    return _OPENAI_REASONING.match(model.lower().rpartition("/")[2]) is not None


def _unreasoned(body: Given) -> bool:
    """Asked not to reason, which newer ones can: then they take sampling parameters again."""
    effort = body.reasoning_effort or (body.reasoning.get("effort") if isinstance(body.reasoning, dict) else None)
    return effort == "none"


def _thinks(body: Given) -> bool:
    return isinstance(body.thinking, dict) and body.thinking.get("type") in ("enabled", "adaptive")


def claude_version(model: str) -> tuple[int, int]:
    """(4, 7) of "claude-opus-4-7" and of "anthropic/claude-4.7-opus"; (0, 0) for another's model, and the highest for
    one without a number: newer ones refuse more."""
    name = model.lower().rpartition("/")[2]
    if "claude" not in name:
        return 0, 0
    found = _CLAUDE_VERSION.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def fitting(request: Request, target: Target) -> tuple[tuple[Edit, ...], tuple[str, ...]]:
    """What to take out of a request, in the target's own protocol, because that model refuses it; and in words.

    For targets that the caller did not name: one that it named tells it so itself.
    """
    body = given(request)
    if body is None:
        return (), ()
    edits: list[Edit] = []
    told: list[str] = []
    for name in sorted(refused(target, body)):
        if hasattr(body, name) and getattr(body, name) is not None and not _harmless(name, getattr(body, name)):
            edits.append(Edit((name,), DELETE))
            told.append(name)
    both = body.temperature is not None and body.top_p is not None and "top_p" not in told
    if both and claude_version(target.model) >= (4, 1):
        edits.append(Edit(("top_p",), DELETE))
        told.append("top_p")
    if request.wire is Wire.OPENAI_CHAT and body.max_tokens is not None and reasons_always(target.model):
        edits.append(Edit(("max_tokens",), DELETE))
        if body.max_completion_tokens is None:
            edits.append(Edit(("max_completion_tokens",), body.max_tokens))
        told.append("max_tokens (as max_completion_tokens)")
    return tuple(edits), tuple(told)


def _harmless(name: str, value: Any) -> bool:
    """The value that such a model has anyway."""
    return name in ("temperature", "top_p") and value == 1 and not isinstance(value, bool)
