"""An embedder that a provider runs: OpenAI's /v1/embeddings, or Ollama's /api/embed, through the App's own backends.

So it has the provider's address, keys, limits and proxies from the operator's configuration and no others. What it
costs comes with each vector, for the gate to set against what the vector saves.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import math
import sys
from array import array
from collections.abc import Sequence

import msgspec

from ..call import Call, Identity, Target
from ..errors import ConfigError, PennyweightError, StoreError
from ..protocols import Backend, Clock
from ..request import Operation, Reply, Request, Wire
from ..text.embedders import Settings
from ..text.embedders.prepare import prepare
from ..text.embedders.remembered import Embedded

__all__ = ["BackendEmbedder", "embedder"]

_PATHS = {Wire.OPENAI_CHAT: "/v1/embeddings", Wire.OLLAMA: "/api/embed"}
_WIRES: dict[str, Wire] = {"openai": Wire.OPENAI_CHAT, "ollama": Wire.OLLAMA}


class _Item(msgspec.Struct):
    embedding: list[float] | str


class _OpenAI(msgspec.Struct):
    data: list[_Item]


class _Ollama(msgspec.Struct):
    embeddings: list[list[float]]


class BackendEmbedder:
    """An Embedder. Every vector is one call, not retried beyond what the backend does in `timeout_s`."""

    def __init__(
        self, backend: Backend, target: Target, *, dimensions: int, timeout_s: float, clock: Clock, place: str = ""
    ) -> None:
        """place: the address, for the fingerprint: two servers may have different models of one name."""
        at = hashlib.sha256(place.encode()).hexdigest()[:12]
        self.fingerprint = f"{target.provider}/{target.model}/{dimensions}/{at}/single"
        self.dimensions = dimensions
        self._backend = backend
        self._target = target
        self._timeout_s = timeout_s
        self._clock = clock
        self._asked = 0

    async def embed(self, text: str) -> bytes:
        """Raises StoreError."""
        return (await self.ask(text)).vector

    async def ask(self, text: str) -> Embedded:
        """The vector, and what the provider bills for it. Raises StoreError."""
        call = self._call(prepare(text))
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._backend.open(call)
                try:
                    content = await _content(reply)
                finally:
                    await reply.aclose()
        except TimeoutError:
            raise StoreError(f"{self._target.provider} gave no vector within {self._timeout_s:g} s.") from None
        except PennyweightError as error:
            raise StoreError(f"{self._target.provider} gave no vector: {error.message}") from None
        if not reply.ok:
            raise StoreError(f"{self._target.provider} answered {reply.status} when asked for a vector.")
        charges = reply.done.charges if reply.done is not None else ()
        return Embedded(self._vector(content), charges)

    def _call(self, text: str) -> Call:
        wire = self._target.wire
        body: dict[str, object] = {"model": self._target.model, "input": text}
        # An over-long text is an error, never cut: a vector must speak for all of its text.
        body |= {"truncate": False} if wire is Wire.OLLAMA else {"encoding_format": "float"}
        headers = (("content-type", "application/json"),)
        raw = msgspec.json.encode(body)
        request = Request(wire, raw, headers, path=_PATHS[wire], operation=Operation.EMBED)
        self._asked += 1
        # "off": nothing in the backends shall change this call.
        return Call(
            f"embedding-{self._asked}", Identity(), request, request, self._target, self._clock.now(), optimize="off"
        )

    def _vector(self, content: bytes) -> bytes:
        name = self._target.provider
        try:
            if self._target.wire is Wire.OLLAMA:
                rows: Sequence[list[float] | str] = msgspec.json.decode(content, type=_Ollama).embeddings
            else:
                rows = [item.embedding for item in msgspec.json.decode(content, type=_OpenAI).data]
            values = [_floats(row) for row in rows]
        except (msgspec.MsgspecError, ValueError, binascii.Error):
            raise StoreError(f"{name} answered with what is no embedding.") from None
        if len(values) != 1:
            raise StoreError(f"{name} gave {len(values)} vectors for one text.")
        if len(values[0]) != self.dimensions:
            said = f"{name} gave a vector of {len(values[0])} dimensions, not {self.dimensions}"
            raise StoreError(f"{said}: set embeddings.dimensions to what {self._target.model} has.")
        return _unit(values[0], name)


def embedder(
    settings: Settings, backend: Backend, wires: dict[str, dict[Wire, str]], *, clock: Clock
) -> BackendEmbedder:
    """The embedder that `settings` ask a provider for. wires: the configured providers' addresses by protocol.

    Raises ConfigError for a provider that is not there or speaks another protocol.
    """
    name = settings.provider or settings.kind
    wire = _WIRES[settings.kind]
    if name not in wires:
        known = ", ".join(sorted(wires))
        raise ConfigError(f"embeddings.provider {name!r} is not there. There are: {known}.")
    if wire not in wires[name]:
        speaks = ", ".join(wire.value for wire in wires[name])
        raise ConfigError(
            f"embeddings.provider {name!r} does not speak {wire.value} but {speaks}: choose another kind."
        )
    if settings.model is None or settings.dimensions is None:
        raise ConfigError(f'embeddings.kind "{settings.kind}" needs embeddings.model and embeddings.dimensions.')
    return BackendEmbedder(
        backend,
        Target(name, settings.model, wire),
        dimensions=settings.dimensions,
        timeout_s=settings.timeout_s,
        clock=clock,
        place=wires[name][wire],
    )


async def _content(reply: Reply) -> bytes:
    if reply.content is not None:
        return reply.content
    if reply.chunks is None:
        return b""
    return b"".join([chunk async for chunk in reply.chunks])


def _floats(row: list[float] | str) -> list[float]:
    """Some servers pack the numbers in base64 whatever they are asked for. Raises ValueError."""
    if isinstance(row, list):
        return row
    packed = array("f")
    packed.frombytes(base64.b64decode(row, validate=True))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()


def _unit(values: list[float], name: str) -> bytes:
    """As float32, little-endian, of unit length. Raises StoreError for what has no direction."""
    length = math.sqrt(math.fsum(value * value for value in values))
    if not math.isfinite(length) or length == 0.0:
        raise StoreError(f"{name} gave a vector without a direction.")
    packed = array("f", [value / length for value in values])
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
