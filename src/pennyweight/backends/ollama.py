"""Ollama's own needs: a context length that is set, and no prompt that it would cut without a word.

Ollama drops the start of a prompt that is longer than `num_ctx` and answers as if nothing were missing. So such a call
is refused here, in the words by which clients know that they must compact. Where neither caller nor operator set a
length, the server decides (by its memory, OLLAMA_CONTEXT_LENGTH or the model's own parameters), so it is asked what it
runs the model with; a guess would refuse calls that fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import msgspec

from ..call import Call, Step, Verdict
from ..errors import ContextTooLong, PennyweightError
from ..protocols import Backend, Tokenizer
from ..request import Edit, Operation, Reply, Request, Wire

__all__ = ["Ollama", "Settings"]


class Settings(msgspec.Struct, frozen=True):
    """num_ctx: tokens of context to ask for; models: the same for single models; keep_alive: how long the model stays
    loaded ("5m", -1). None leaves a setting to the server. keep: models that stay for ever, as the server lists them.
    """

    num_ctx: int | None = None
    models: Mapping[str, int] = {}
    keep_alive: str | int | None = None
    keep: frozenset[str] = frozenset()


class Ollama:
    """A Backend for native Ollama targets. What the caller set is never changed, and under `off` nothing is added."""

    def __init__(self, inner: Backend, settings: Settings, tokenizer: Tokenizer) -> None:
        self._inner = inner
        self._settings = settings
        self._tokenizer = tokenizer
        self._loaded: dict[str, int] = {}  # context lengths as the server told them last
        self._told_at = float("-inf")

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises ContextTooLong for a prompt that does not fit."""
        native = call.target.wire is Wire.OLLAMA and call.request.wire is Wire.OLLAMA
        if not native or call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        return self._fitted(call)

    async def _fitted(self, call: Call) -> Reply:
        request = call.request
        options = request.body.get("options")
        asked = options.get("num_ctx") if isinstance(options, dict) else None
        untouched = call.optimize == "off" and call.original.wire is Wire.OLLAMA
        wanted = None if untouched else self._settings.models.get(call.target.model, self._settings.num_ctx)
        num_ctx = asked if isinstance(asked, int) and asked > 0 else wanted
        note = None
        if num_ctx is None and len(request.raw) > _LEAST_NUM_CTX:
            num_ctx = await self._running(call)
            note = _UNKNOWN if num_ctx is None else None
        if num_ctx is not None:
            self._check(call, num_ctx)
        edits = () if untouched else tuple(self._edits(request, call.target.model, wanted))
        if edits:
            call = msgspec.structs.replace(call, request=request.edit(edits))
        reply = await self._inner.open(call)
        if note is not None:
            reply.notes.append(note)
        return reply

    async def _running(self, call: Call) -> int | None:
        """The context length that the server runs this model with; None: it is not loaded, or does not tell."""
        if not 0 <= call.at - self._told_at < _KEEP_S or _tagged(call.target.model) not in self._loaded:
            try:
                async with asyncio.timeout(_ASK_S), await self._inner.open(_ps(call)) as reply:
                    models = msgspec.json.decode(await reply.read(), type=_Running).models if reply.ok else []
            except (PennyweightError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
                models = []
            self._loaded = {model.name: model.context_length for model in models if model.context_length > 0}
            self._told_at = call.at
        return self._loaded.get(_tagged(call.target.model))

    def _edits(self, request: Request, model: str, wanted: int | None) -> Iterator[Edit]:
        options = request.body.get("options")
        if wanted is not None and options is None:
            yield Edit(("options",), {"num_ctx": wanted})
        elif wanted is not None and isinstance(options, dict) and "num_ctx" not in options:
            yield Edit(("options", "num_ctx"), wanted)
        keep_alive = -1 if _tagged(model) in self._settings.keep else self._settings.keep_alive
        if keep_alive is not None and "keep_alive" not in request.body:
            yield Edit(("keep_alive",), keep_alive)

    def _check(self, call: Call, num_ctx: int) -> None:
        if len(call.request.raw) <= num_ctx:
            return  # a token is at least a byte
        tokens = sum(self._tokenizer.count(text) for text in _texts(call.request.body))
        if tokens <= num_ctx:
            return
        raise ContextTooLong(
            f"This model's maximum context length is {num_ctx} tokens. However, your messages resulted in {tokens} "
            f"tokens. Please reduce the length of the messages, or raise num_ctx for {call.target.model!r}: in the "
            "request's options or under [providers.ollama] in pennyweight.toml."
        )


class _Model(msgspec.Struct):
    name: str
    context_length: int = 0


class _Running(msgspec.Struct):
    """Ollama's answer to GET /api/ps (docs.ollama.com/api/ps)."""

    models: list[_Model] = []


_LEAST_NUM_CTX = 2048  # bytes that fit any server's default: a token is at least a byte
_ASK_S = 2.0
_KEEP_S = 30.0
_UNKNOWN = Step("ollama", Verdict.ABSTAINED, why="num_ctx is not known; if the prompt is longer, Ollama cuts its start")


def _tagged(model: str) -> str:
    """The name by which Ollama lists a model."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _ps(call: Call) -> Call:
    """The question, on behalf of that call: with its credential, to its target."""
    request = Request(Wire.OLLAMA, b"", (("accept", "application/json"),), "/api/ps", "", "GET", Operation.OTHER)
    return msgspec.structs.replace(call, original=request, request=request)


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    """Every text of the prompt. Images are not counted: what they take depends on the model."""
    for name in ("system", "prompt", "suffix", "template"):
        if isinstance(body.get(name), str):
            yield body[name]
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        for name in ("content", "thinking"):
            if isinstance(message.get(name), str):
                yield message[name]
        if message.get("tool_calls"):
            yield msgspec.json.encode(message["tool_calls"]).decode()
    if body.get("tools"):
        yield msgspec.json.encode(body["tools"]).decode()
