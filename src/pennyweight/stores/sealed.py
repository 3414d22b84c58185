"""Values as they leave the process: compressed, checked, marked with a version, encrypted where there is a key.

What cannot be opened is a miss. An entry that was cut, changed or put under another key is removed. One of another
version or with an encryption key that is not ours is left alone: a replica that runs another release may want it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import zstandard

from ..errors import ConfigError, StoreError
from ..protocols import PromptKeeper, Tier

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["KEY_VARIABLE", "Codec", "Sealed", "read_keys"]

KEY_VARIABLE = "PENNYWEIGHT_CACHE_KEY"

# An entry is: version, flags, then either a checksum or (key id, nonce), then the value. No counter begins so: those
# are digits, and are not sealed, because the store itself adds to them.
_VERSION = 0xF1
_COMPRESSED, _ENCRYPTED = 1, 2
_CHECKSUM_BYTES, _KEY_ID_BYTES, _NONCE_BYTES, _TAG_BYTES = 16, 4, 12, 16

_COMPRESS_FROM = 256  # smaller values hardly shrink
_LEVEL = 3
_IN_A_THREAD = 256 << 10  # bytes; below, a thread's hand-over costs more than the work
_LONGEST_COUNTER = 64


class Codec:
    """Seals values and opens them. `limit_bytes`: the largest value; what says that it is larger once unpacked is not
    unpacked, so that a small entry cannot fill the memory.

    keys: of 32 bytes; the first encrypts and all decrypt, so that a key can be changed without losing what is kept.
    With keys, what is not encrypted is not taken: whoever can write to the store could otherwise put in what they like.
    """

    def __init__(self, keys: Sequence[bytes] = (), *, limit_bytes: int = 64 << 20) -> None:
        self._limit_bytes = limit_bytes
        self._keys = {blake2b(key, digest_size=_KEY_ID_BYTES, person=b"pw-key-id").digest(): key for key in keys}
        self._first = next(iter(self._keys), None)
        self._cipher: Callable[[bytes], AESGCM] | None = _cipher() if keys else None

    def seal(self, key: str, value: bytes) -> bytes:
        """Raises ValueError for a value over the limit."""
        if len(value) > self._limit_bytes:
            raise ValueError(f"The value has {len(value)} bytes; at most {self._limit_bytes} are sealed.")
        flags, body = 0, value
        if len(value) >= _COMPRESS_FROM:
            packed = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True).compress(value)
            if len(packed) < len(value):
                flags, body = _COMPRESSED, packed
        if self._first is None or self._cipher is None:
            head = bytes((_VERSION, flags))
            return head + _checksum(head, key, body) + body
        head = bytes((_VERSION, flags | _ENCRYPTED)) + self._first
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._cipher(self._entry_key(self._first, key))
        return head + nonce + cipher.encrypt(nonce, body, head + _name(key))

    def open(self, key: str, data: bytes) -> bytes | None:
        """The value; None when `data` is no whole entry that was sealed for this key."""
        if len(data) < 2 or data[0] != _VERSION or data[1] & ~(_COMPRESSED | _ENCRYPTED):
            return None
        flags = data[1]
        body = self._decrypted(key, data) if flags & _ENCRYPTED else self._checked(key, data)
        if body is None or not flags & _COMPRESSED:
            return body
        return self._unpacked(body)

    def is_ours(self, data: bytes) -> bool:
        """Whether `data` begins as if we had sealed it, so that what cannot be opened is damaged. Empty is damaged."""
        if len(data) < 2 + _KEY_ID_BYTES:
            return data[:1] in (b"", bytes([_VERSION]))
        if data[0] != _VERSION or data[1] & ~(_COMPRESSED | _ENCRYPTED):
            return False
        encrypted = bool(data[1] & _ENCRYPTED)
        return data[2 : 2 + _KEY_ID_BYTES] in self._keys if encrypted else not self._keys

    def _checked(self, key: str, data: bytes) -> bytes | None:
        if self._keys:
            return None
        head, checksum, body = data[:2], data[2 : 2 + _CHECKSUM_BYTES], data[2 + _CHECKSUM_BYTES :]
        return body if checksum == _checksum(head, key, body) else None

    def _decrypted(self, key: str, data: bytes) -> bytes | None:
        nonce_at = 2 + _KEY_ID_BYTES
        head, key_id = data[:nonce_at], data[2:nonce_at]
        body_at = nonce_at + _NONCE_BYTES
        if self._cipher is None or key_id not in self._keys or len(data) < body_at + _TAG_BYTES:
            return None
        from cryptography.exceptions import InvalidTag

        try:
            cipher = self._cipher(self._entry_key(key_id, key))
            return cipher.decrypt(data[nonce_at:body_at], data[body_at:], head + _name(key))
        except InvalidTag:
            return None

    def _unpacked(self, body: bytes) -> bytes | None:
        try:
            size = zstandard.get_frame_parameters(body).content_size
            if size > self._limit_bytes:  # one that does not say its size says 2**64 - 1
                return None
            value = zstandard.ZstdDecompressor().decompress(body, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError:
            return None
        return value if len(value) == size else None

    def _entry_key(self, key_id: bytes, key: str) -> bytes:
        """A key of the entry's own, so that nonces need only differ among the entries of one name."""
        return blake2b(_name(key), digest_size=32, key=self._keys[key_id], person=b"pw-entry-key").digest()


class Sealed:
    """A Tier whose values are sealed on their way into another. `spoilt` counts what could not be opened."""

    def __init__(self, inner: Tier, codec: Codec) -> None:
        self._inner = inner
        self._codec = codec
        self.spoilt = 0

    async def get(self, key: str) -> bytes | None:
        found = await self.read(key)
        return None if found is None else found[0]

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        found = await self._inner.read(key)
        if found is None:
            return None
        data, left_s = found
        if _is_counter(data):
            return found
        large = len(data) > _IN_A_THREAD // 8
        value = await asyncio.to_thread(self._codec.open, key, data) if large else self._codec.open(key, data)
        if value is None:
            if not self._codec.is_ours(data):
                return None
            self.spoilt += 1
            with contextlib.suppress(StoreError):
                await self._inner.remove(key)
            return None
        return value, left_s

    @property
    def keeps_prompts(self) -> bool:
        return isinstance(self._inner, PromptKeeper) and self._inner.keeps_prompts

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """A value over the codec's limit is not kept, nor is what was there before it."""
        await self.put_answer(key, value, prompt="", ttl_s=ttl_s)

    async def put_answer(self, key: str, value: bytes, *, prompt: str, ttl_s: float | None = None) -> None:
        """The prompt is handed on as it is."""
        large = len(value) > _IN_A_THREAD
        try:
            data = await asyncio.to_thread(self._codec.seal, key, value) if large else self._codec.seal(key, value)
        except ValueError:
            await self._inner.remove(key)
            return
        if prompt and isinstance(self._inner, PromptKeeper):
            await self._inner.put_answer(key, data, prompt=prompt, ttl_s=ttl_s)
        else:
            await self._inner.put(key, data, ttl_s=ttl_s)

    async def remove(self, key: str) -> None:
        await self._inner.remove(key)

    async def delete(self, prefix: str) -> int:
        return await self._inner.delete(prefix)

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        return await self._inner.keys(prefix, limit=limit)

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        return await self._inner.add(key, amount, ttl_s=ttl_s)


def read_keys(text: str) -> tuple[bytes, ...]:
    """The keys in `PENNYWEIGHT_CACHE_KEY`: base64 of 32 bytes each, with commas between; the first one encrypts.

    Raises ConfigError, which does not quote them.
    """
    keys = []
    for number, part in enumerate((part.strip() for part in text.split(",")), start=1):
        try:
            key = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise ConfigError(
                f"Key {number} in {KEY_VARIABLE} is not 32 bytes in base64. Make one: openssl rand -base64 32"
            )
        keys.append(key)
    return tuple(keys)


def _cipher() -> Callable[[bytes], AESGCM]:
    """Raises ConfigError that says what to install."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise ConfigError(
            "Encrypting the cache needs the package cryptography: pip install 'pennyweight[encryption]'"
        ) from None
    return AESGCM


def _checksum(head: bytes, key: str, body: bytes) -> bytes:
    digest = blake2b(head, digest_size=_CHECKSUM_BYTES)
    name = _name(key)
    digest.update(len(name).to_bytes(8, "little") + name)
    digest.update(body)
    return digest.digest()


def _name(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _is_counter(data: bytes) -> bool:
    return len(data) <= _LONGEST_COUNTER and data.removeprefix(b"-").isdigit()
