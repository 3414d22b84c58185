"""OpenAI Chat Completions, and the embeddings answers beside it: what OpenAI and its many compatible servers speak.

Reference: platform.openai.com/docs/api-reference/chat, "Create chat completion" and "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

from ..errors import BadRequest
from ..request import Done, Request, Usage, Wire
from . import Tap, View, sse
from .taps import StreamTap, loads, shaped, tiered
from .usage import MOST_TOKENS, decode
from .views import Lens, items, json_type, text_parts

__all__ = ["error", "error_event", "error_type", "fold", "read", "stream_type", "tap", "unfold", "view"]

DONE = b"data: [DONE]\n\n"

MOST_CALLS = 4096
"""Tool calls in one answer; an index beyond it is a broken stream, not a list to be made."""


def stream_type() -> str:
    return "text/event-stream"


# --- usage, from the side ---------------------------------------------------------------------------------


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    usage: Any = None  # Moonshot puts it here


class _Groq(msgspec.Struct):
    usage: Any = None


class _Chunk(msgspec.Struct):
    usage: Any = None
    service_tier: Any = None
    error: Any = None
    choices: list[_Choice] | None = None
    x_groq: _Groq | None = None  # Groq's usage where none was asked for


_chunk = msgspec.json.Decoder(_Chunk)


class _Facts:
    """The last usage block, the last finish reason, the end marker and the first error of a stream."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.marked = False
        self.failed = False

    def absorb(self, stream: bytes) -> None:
        stream = sse.normal(stream)
        marker = stream.rfind(b"[DONE]")
        if marker >= 0 and sse.around(stream, marker)[1].strip() == b"[DONE]":
            self.marked = True
        usage, ended, at = None, _Choice(index=1), len(stream)
        while usage is None or ended.index > 0:
            hit = -1 if usage is not None else stream.rfind(b'"usage"', 0, at)
            if ended.index > 0:
                hit = max(hit, *(stream.rfind(key, 0, at) for key in (b'"finish_reason":"', b'"finish_reason": "')))
            if hit < 0:
                break
            at, data = sse.around(stream, hit)
            chunk = _decode(data)
            usage = usage if usage is not None else _usage(chunk)
            ended = _first_end([ended, *(chunk.choices or ())])
        self.usage = usage if usage is not None else self.usage
        self.finish = ended.finish_reason or self.finish
        self.failed = self.failed or _has_error(stream)

    def done(self) -> Done:
        return Done(self.usage, self.finish, complete=self.marked and not self.failed)

    def texts(self, stream: bytes) -> list[str]:
        return [text for event in sse.events(stream) for text in _texts(event.data)]


def tap() -> Tap:
    """Complete when `[DONE]` was seen and no error event; `StreamTap.finished` tells the rest."""
    return StreamTap(_Facts())


def _decode(data: bytes) -> _Chunk:
    try:
        return _chunk.decode(data)
    except msgspec.ValidationError:
        pass  # JSON, perhaps, and not in the shape of its protocol: what can be told of it is told
    except (ValueError, RecursionError):
        return _Chunk()
    try:
        value = loads(data)
    except ValueError:
        return _Chunk()
    return _Chunk(value.get("usage"), value.get("service_tier"), value.get("error"))


def _first_end(choices: Sequence[_Choice]) -> _Choice:
    """Of the choices that came to their end, the one of the lowest index."""
    ended = [choice for choice in choices if choice.finish_reason]
    return min(ended, key=lambda choice: choice.index, default=_Choice(index=1))


def _usage(chunk: _Chunk) -> Usage | None:
    usage = tiered(Wire.OPENAI_CHAT, chunk.usage, chunk.service_tier)
    if usage is None:
        told = next((c.usage for c in chunk.choices or () if c.usage), chunk.x_groq and chunk.x_groq.usage)
        usage = tiered(Wire.OPENAI_CHAT, told, chunk.service_tier)
    return usage


def _has_error(stream: bytes) -> bool:
    at = stream.find(b'"error"')
    while at >= 0:
        if _decode(sse.around(stream, at)[1]).error:
            return True
        at = stream.find(b'"error"', at + 7)
    return False


_TEXT_KEYS = ("reasoning_content", "reasoning", "content", "refusal")


def _texts(data: bytes) -> Iterator[str]:
    """The texts in one chunk; nothing for what cannot be read."""
    try:
        choices = loads(data).get("choices")
    except ValueError:
        return
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        yield from (text for key in _TEXT_KEYS if isinstance(text := delta.get(key), str))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            part = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
            if isinstance(part, dict):
                yield from (text for key in ("name", "arguments", "input") if isinstance(text := part.get(key), str))


_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
_No = Literal[0] | None


class _Details(msgspec.Struct):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    reasoning_tokens: _Count = 0


_NO_DETAILS = _Details()


class _Usage(msgspec.Struct):
    """A usage block as OpenAI writes it, and no other server: those are told by the last three."""

    prompt_tokens: Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]
    completion_tokens: _Count
    total_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cached_tokens: _No = None
    prompt_cache_hit_tokens: _No = None
    service_tier: None = None


class _End(msgspec.Struct):
    finish_reason: str


class _Plain(msgspec.Struct):
    """A whole answer of the common shape: one choice, the usage block where it belongs, and nothing to be doubted."""

    usage: _Usage
    choices: tuple[_End]
    service_tier: Literal["default", "auto", "on_demand"] | None = None
    error: None = None


_plain = msgspec.json.Decoder(_Plain)


def _read_plain(body: bytes) -> Done | None:
    """The answer of the common shape in one pass; None for any other."""
    try:
        answer = _plain.decode(body)
    except (ValueError, RecursionError):
        return None
    usage = answer.usage
    read, written = usage.prompt_tokens_details or _NO_DETAILS, usage.completion_tokens_details or _NO_DETAILS
    prompt, cached, wrote = usage.prompt_tokens, read.cached_tokens, read.cache_write_tokens
    output, thought, total = usage.completion_tokens, written.reasoning_tokens, usage.total_tokens
    if cached + wrote > prompt or thought > output or (total is not None and total != prompt + output):
        return None
    return Done(Usage(prompt, cached, wrote, 0, output, thought), answer.choices[0].finish_reason or None)


def read(body: bytes) -> Done:
    """Also reads embeddings answers, which have usage and no finish reason."""
    plain = _read_plain(body)
    if plain is not None:
        return plain
    try:
        chunk = _chunk.decode(body)
    except msgspec.ValidationError:
        try:
            chunk = _decode(msgspec.json.encode(loads(body)))
        except ValueError:
            return Done(complete=False)
    except (ValueError, RecursionError):
        return Done(complete=False)
    return Done(_usage(chunk), _first_end(chunk.choices or ()).finish_reason, complete=not chunk.error)


# --- whole answers and streams ----------------------------------------------------------------------------


def fold(stream: bytes) -> bytes:
    """The chat completion that the chunks amount to. Raises ValueError where a choice has no finish reason, at an
    error event, and for a stream without chunks; a missing `[DONE]` is forgiven."""
    with shaped():
        return _fold(stream)


def _fold(stream: bytes) -> bytes:
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in sse.events(stream):
        if event.data.strip() == b"[DONE]":
            break
        chunk = loads(event.data)
        if chunk.get("error"):
            raise ValueError("The stream ended in an error event.")
        for choice in chunk.pop("choices", None) or ():
            _add_choice(choices.setdefault(choice.get("index", 0), {}), choice)
        for key, value in chunk.items():
            if key not in _CHUNK_ONLY and (key not in whole or value is not None):
                whole[key] = value
    if not choices:
        raise ValueError("The stream holds no answer.")
    for index, choice in choices.items():
        if choice.get("finish_reason") is None:
            raise ValueError(f"The stream was cut: choice {index} has no finish reason.")
    if whole.get("usage", 0) is None:
        del whole["usage"]
    whole["object"] = "chat.completion"
    whole["choices"] = [_whole_choice(choice) for _, choice in sorted(choices.items())]
    return msgspec.json.encode(whole)


_CHUNK_ONLY = frozenset({"obfuscation", "x_groq"})
"""Members that chunks have and whole answers have not."""


def _add_choice(whole: dict[str, Any], choice: dict[str, Any]) -> None:
    message = whole.setdefault("message", {})
    for key, value in (choice.get("delta") or {}).items():
        if key == "tool_calls" and value is not None:
            message[key] = message.get(key) or []
            for call in value:
                _add_call(message[key], call)
        else:
            message[key] = _merge(key, message.get(key), value)
    for key, value in choice.items():
        if key == "logprobs":
            whole[key] = _merge(key, whole.get(key), value)
        elif key != "delta" and (key not in whole or value is not None):
            whole[key] = value


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Put a piece of a tool call where its index says; without an index, an id begins a new call (Gemini's server)."""
    index = piece.get("index")
    if not isinstance(index, int):
        index = len(calls) if piece.get("id") or not calls else len(calls) - 1
    if not 0 <= index < MOST_CALLS:
        raise ValueError(f"A tool call has the index {index}; at most {MOST_CALLS} are read.")
    while index >= len(calls):
        calls.append({})
    for key, value in piece.items():
        if key != "index":
            calls[index][key] = _merge(key, calls[index].get(key), value)


_ONCE = frozenset({"id", "type", "name", "role", "format"})


def _merge(key: str, have: Any, more: Any) -> Any:
    """Texts and lists grow, objects grow by key, names stay what they first were, null changes nothing."""
    if more is None or (key in _ONCE and have):
        return have
    if isinstance(have, str) and isinstance(more, str):
        return more if key in _ONCE else have + more
    if isinstance(have, list) and isinstance(more, list):
        return have + more
    if isinstance(have, dict) and isinstance(more, dict):
        return {**have, **{k: _merge(k, have.get(k), v) for k, v in more.items()}}
    return more


def _whole_choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice["message"]
    message.setdefault("role", "assistant")
    message.setdefault("content", None)
    return choice


def unfold(body: bytes, *, include_usage: bool = True) -> list[bytes]:
    """Chunks that fold to `body`: per choice its role, reasoning, text, calls and end, then usage, then `[DONE]`."""
    with shaped():
        return _unfold(loads(body), include_usage=include_usage)


def _unfold(whole: dict[str, Any], *, include_usage: bool) -> list[bytes]:
    usage = whole.pop("usage", None)
    choices = whole.pop("choices", None) or []
    head = {**whole, "object": "chat.completion.chunk"}
    chunks = []
    for number, choice in enumerate(choices):
        place = {"index": choice.get("index", number)}
        for delta, beside in _pieces(choice):
            chunks.append({**head, "choices": [{**place, "delta": delta, "finish_reason": None, **beside}]})
    if include_usage and isinstance(usage, dict):
        chunks.append({**head, "choices": [], "usage": filled(usage)})
    return [sse.encode(msgspec.json.encode(chunk)) for chunk in chunks] + [DONE]


def _pieces(choice: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Deltas of one choice with what stands beside them."""
    message = dict(choice.get("message") or {})
    logprobs = choice.get("logprobs")
    beside = {"logprobs": None} if "logprobs" in choice else {}
    content, calls = message.pop("content", None), message.get("tool_calls")
    first = {"role": message.pop("role", "assistant"), "content": "" if content is not None else None}
    first |= {key: message.pop(key) for key in [k for k, v in message.items() if v is None]}
    message.pop("tool_calls", None)
    yield first, beside
    for key in ("reasoning_content", "reasoning", "reasoning_details"):
        if key in message:
            yield {key: message.pop(key)}, beside
    if content or logprobs:
        yield ({"content": content} if content else {}), {"logprobs": logprobs} if logprobs else beside
    for key, value in message.items():
        yield {key: value}, beside
    if calls is not None and not calls:
        yield {"tool_calls": calls}, beside
    for index, call in enumerate(calls or ()):
        for piece in _call_pieces(call):
            yield {"tool_calls": [{"index": index, **piece}]}, beside
    rest = {k: v for k, v in choice.items() if k not in ("index", "message", "logprobs")}
    yield {}, {**beside, **rest}


def _call_pieces(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A call's id and name with empty arguments, then its arguments."""
    for kind, key in (("function", "arguments"), ("custom", "input")):
        part = call.get(kind)
        if isinstance(part, dict) and isinstance(part.get(key), str) and part[key]:
            yield {**call, kind: {**part, key: ""}}
            yield {kind: {key: part[key]}}
            return
    yield call


def filled(usage: dict[str, Any]) -> dict[str, Any]:
    """A usage block with every detail that strict clients read; what is missing is 0 or told elsewhere in it."""
    known = decode(Wire.OPENAI_CHAT, usage)
    prompt = {"cached_tokens": known.cache_read_tokens, "audio_tokens": 0}
    completion = {
        "reasoning_tokens": known.reasoning_tokens,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    return {
        "prompt_tokens": known.input_tokens,
        "completion_tokens": known.output_tokens,
        "total_tokens": known.total_tokens,
        **usage,
        "prompt_tokens_details": {**prompt, **(usage.get("prompt_tokens_details") or {})},
        "completion_tokens_details": {**completion, **(usage.get("completion_tokens_details") or {})},
    }


# --- what a request says ----------------------------------------------------------------------------------


def view(request: Request) -> View:
    """A chat, or the texts of an embeddings request (as the user's). Raises BadRequest."""
    body, lens = request.body, Lens()
    for number, tool in enumerate(items(body.get("tools"), "tools")):
        part = tool.get("function") or tool.get("custom") or tool
        if not isinstance(part, dict):
            raise BadRequest(f"tools[{number}].function must be an object, not {json_type(part)}.")
        lens.tool(part.get("name") or tool.get("type"), tool)
    for function in items(body.get("functions"), "functions"):
        lens.tool(function.get("name"), function)
    for number, message in enumerate(items(body.get("messages"), "messages")):
        _look(lens, message, number)
    _look_at_input(lens, body.get("input"))
    return lens.view()


def _look(lens: Lens, message: dict[str, Any], number: int) -> None:
    texts = text_parts(message.get("content"), "messages", number, "content")
    match message.get("role"):
        case "system" | "developer":
            lens.system(texts)
        case "user":
            lens.user(texts)
        case _:
            reasoning = (message.get("reasoning_content"), message.get("reasoning"))
            lens.say(text for text in reasoning if isinstance(text, str))
            lens.say(texts)
            for call in items(message.get("tool_calls"), "messages", number, "tool_calls"):
                part = call.get("function") or call.get("custom")
                part = part if isinstance(part, dict) else {}
                lens.call(part.get("name"), part.get("arguments", part.get("input")))
            legacy = message.get("function_call")
            if isinstance(legacy, dict):
                lens.call(legacy.get("name"), legacy.get("arguments"))


def _look_at_input(lens: Lens, value: Any) -> None:
    """Embeddings: a string, or a list of strings; lists of token ids have no text."""
    if isinstance(value, str):
        lens.user([value])
    elif isinstance(value, list):
        for text in value:
            if isinstance(text, str):
                lens.user([text])
    elif value is not None:
        raise BadRequest(f"input must be a string or a list, not {json_type(value)}.")


# --- errors -----------------------------------------------------------------------------------------------

# A spent limit stays "billing_error": "insufficient_quota" makes OpenClaw disable the key and others retry for minutes.
_TYPES = {
    "api_error": "server_error",
    "overloaded_error": "server_error",
    "request_too_large": "invalid_request_error",
}


def error_type(kind: str, status: int = 0) -> str:
    """OpenAI's name for our kind of error; "server_error" for anything else that is 500 and above."""
    if kind == "timeout_error" and status >= 500:
        return "server_error"
    return _TYPES.get(kind, kind or ("server_error" if status >= 500 else "invalid_request_error"))


def error(status: int, kind: str, message: str, *, code: str | None = None) -> bytes:
    said = {"message": message, "type": error_type(kind, status), "param": None, "code": code}
    return msgspec.json.encode({"error": said})


def error_event(kind: str, message: str, *, code: str | None = None) -> bytes:
    return sse.encode(error(500, kind, message, code=code))
