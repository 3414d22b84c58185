"""Ollama's own needs: a context length that is set, and no prompt that it would cut without a word.

Ollama drops the start of a prompt that is longer than `num_ctx` and answers as if nothing were missing. So such a call
is refused here, in the words by which clients know that they must compact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..call import Call
from ..errors import ContextTooLong
from ..protocols import Backend, Tokenizer
from ..request import Edit, Operation, Reply, Request, Wire

__all__ = ["Ollama", "Settings"]


class Settings(msgspec.Struct, frozen=True):
    """num_ctx: tokens of context to ask for; models: the same for single models; keep_alive: how long the model stays
    loaded ("5m", -1). None leaves a setting to the server, whose own context length is `server_num_ctx` (Ollama's
    default, 4096; OLLAMA_CONTEXT_LENGTH changes it)."""

    num_ctx: int | None = None
    models: Mapping[str, int] = {}
    keep_alive: str | int | None = None
    server_num_ctx: int = 4096


class Ollama:
    """A Backend for native Ollama targets. What the caller set is never changed, and under `off` nothing is added."""

    def __init__(self, inner: Backend, settings: Settings, tokenizer: Tokenizer) -> None:
        self._inner = inner
        self._settings = settings
        self._tokenizer = tokenizer

    async def open(self, call: Call) -> Reply:
        """Raises ContextTooLong for a prompt that does not fit."""
        request = call.request
        if call.target.wire is not Wire.OLLAMA or request.wire is not Wire.OLLAMA:
            return await self._inner.open(call)
        if request.operation is not Operation.GENERATE:
            return await self._inner.open(call)
        options = request.body.get("options")
        asked = options.get("num_ctx") if isinstance(options, dict) else None
        untouched = call.optimize == "off" and call.original.wire is Wire.OLLAMA
        wanted = None if untouched else self._settings.models.get(call.target.model, self._settings.num_ctx)
        num_ctx = asked if isinstance(asked, int) and asked > 0 else wanted or self._settings.server_num_ctx
        self._check(call, num_ctx)
        edits = () if untouched else tuple(self._edits(request, wanted))
        if edits:
            call = msgspec.structs.replace(call, request=request.edit(edits))
        return await self._inner.open(call)

    def _edits(self, request: Request, wanted: int | None) -> Iterator[Edit]:
        options = request.body.get("options")
        if wanted is not None and options is None:
            yield Edit(("options",), {"num_ctx": wanted})
        elif wanted is not None and isinstance(options, dict) and "num_ctx" not in options:
            yield Edit(("options", "num_ctx"), wanted)
        if self._settings.keep_alive is not None and "keep_alive" not in request.body:
            yield Edit(("keep_alive",), self._settings.keep_alive)

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
