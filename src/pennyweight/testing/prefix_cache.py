"""A model of a provider's prompt cache: what of a prompt it would read, and what it would write, in tokens.

Anthropic: explicit `cache_control` breakpoints, at most four; order tools, system, messages; each breakpoint looks
back over at most 20 blocks for an entry; an entry lives 5 minutes or 1 hour and is refreshed by a read; prompts shorter
than a model's minimum are not cached (docs.claude.com, "Prompt caching"). OpenAI: the longest common prefix, in steps
of 128 tokens from 1,024 up, forgotten after some idle minutes (platform.openai.com, "Prompt caching"). OpenAI from
GPT-5.6 on: written at the newest message and at up to three `prompt_cache_breakpoint` marks, found at the latest 80
places where a user's or a tool's message ends or a mark stands, and nowhere else, for half an hour; writes are billed.
What the model leaves out: marks within a message (they count at its end), cache keys, routing between machines,
eviction under load, and prefixes that part in the middle of a block.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ..request import Usage, Wire

__all__ = ["Block", "PrefixCache", "TooManyBreakpoints", "blocks", "minimum_tokens"]

LOOK_BACK_BLOCKS = 20
MAX_BREAKPOINTS = 4
STEP_TOKENS, FIRST_STEP_TOKENS = 128, 1_024
IMAGE_TOKENS = 1_100  # near the middle of what providers charge for a screenshot; recordings seldom keep its size
_TTL_S = {"5m": 300.0, "30m": 1_800.0, "1h": 3_600.0}
LATEST_BREAKPOINTS = 80
_BREAKPOINTS = re.compile(r"gpt-(5\.[6-9]|[6-9])")


class TooManyBreakpoints(ValueError):
    """More than four `cache_control` marks: the provider refuses such a request."""


class Block(msgspec.Struct, frozen=True):
    """One piece of a prompt: `key` tells it from others, `texts` are what is counted, `ttl` marks a breakpoint."""

    key: bytes
    texts: tuple[str, ...]
    ttl: str | None = None
    images: int = 0
    said: bool = False  # by a user or a tool, in a message of its own


class PrefixCache:
    """What one provider remembers. `account` is asked once for each request, in the order they arrive.

    count: tokens of a text. idle_s: after how long unused an automatic (OpenAI) entry is gone.
    """

    def __init__(self, count: Callable[[str], int], *, idle_s: float = 300.0) -> None:
        self._count = count
        self._idle_s = idle_s
        self._expires: dict[bytes, tuple[float, float]] = {}  # hash of a prefix -> (unix seconds, ttl in seconds)
        self._tokens: dict[bytes, int] = {}

    def account(self, wire: Wire, body: Mapping[str, Any], *, at: float, tenant: str = "") -> Usage:
        """The prompt's side of the usage at unix time `at`; output is not its business. Raises TooManyBreakpoints."""
        parts = blocks(wire, body)
        sizes = [self._size(part) for part in parts]
        chain = _chain(parts, f"{tenant}\0{wire.value}\0{body.get('model')}".encode())
        model = str(body.get("model"))
        if wire is Wire.ANTHROPIC_MESSAGES:
            return self._explicit(parts, sizes, chain, model, at)
        if _BREAKPOINTS.search(model):
            options = body.get("prompt_cache_options")
            implicit = not isinstance(options, Mapping) or options.get("mode") != "explicit"
            return self._at_breakpoints(parts, sizes, chain, at, implicit=implicit)
        ttl_s = 86_400.0 if body.get("prompt_cache_retention") == "24h" else self._idle_s
        return self._automatic(sizes, chain, at, ttl_s)

    def _explicit(
        self, parts: Sequence[Block], sizes: Sequence[int], chain: Sequence[bytes], model: str, at: float
    ) -> Usage:
        marks = [index for index, part in enumerate(parts) if part.ttl is not None]
        if len(marks) > MAX_BREAKPOINTS:
            raise TooManyBreakpoints(f"{len(marks)} cache_control breakpoints, at most {MAX_BREAKPOINTS} are allowed")
        upto = [0]
        for size in sizes:
            upto.append(upto[-1] + size)
        marks = [mark for mark in marks if upto[mark + 1] >= minimum_tokens(model)]
        read_to = self._longest(marks, chain, at)
        read = upto[read_to]
        written = {"5m": 0, "1h": 0}
        done = read
        for mark in marks:
            ttl = parts[mark].ttl or "5m"
            if upto[mark + 1] > done:
                written[ttl] += upto[mark + 1] - done
                done = upto[mark + 1]
            self._expires[chain[mark]] = (at + _TTL_S[ttl], _TTL_S[ttl])
        return Usage(
            input_tokens=upto[-1],
            cache_read_tokens=read,
            cache_write_5m_tokens=written["5m"],
            cache_write_1h_tokens=written["1h"],
        )

    def _longest(self, marks: Sequence[int], chain: Sequence[bytes], at: float) -> int:
        """How many blocks of the prompt are read from the cache; refreshes the entry that is read."""
        for mark in reversed(marks):
            for index in range(mark, max(mark - LOOK_BACK_BLOCKS, -1), -1):
                expires, ttl_s = self._expires.get(chain[index], (0.0, 0.0))
                if expires > at:
                    self._expires[chain[index]] = (at + ttl_s, ttl_s)
                    return index + 1
        return 0

    def _automatic(self, sizes: Sequence[int], chain: Sequence[bytes], at: float, ttl_s: float) -> Usage:
        total, read = sum(sizes), 0
        for size, link in zip(sizes, chain, strict=True):
            if self._expires.get(link, (0.0, 0.0))[0] <= at:
                break
            read += size
        read = read // STEP_TOKENS * STEP_TOKENS
        if total >= FIRST_STEP_TOKENS:
            for link in chain:
                self._expires[link] = (at + ttl_s, ttl_s)
        return Usage(input_tokens=total, cache_read_tokens=read if read >= FIRST_STEP_TOKENS else 0)

    def _at_breakpoints(
        self, parts: Sequence[Block], sizes: Sequence[int], chain: Sequence[bytes], at: float, *, implicit: bool
    ) -> Usage:
        upto = [0]
        for size in sizes:
            upto.append(upto[-1] + size)
        said = [index for index, part in enumerate(parts) if part.said]
        marks = [index for index, part in enumerate(parts) if part.ttl is not None]
        read = 0
        for index in sorted({*said, *marks}, reverse=True)[:LATEST_BREAKPOINTS]:
            expires, ttl_s = self._expires.get(chain[index], (0.0, 0.0))
            if expires > at:
                self._expires[chain[index]] = (at + ttl_s, ttl_s)
                read = upto[index + 1]
                break
        places = {*marks[-(MAX_BREAKPOINTS - implicit) :], *(said[-1:] if implicit else ())}
        done = read
        for index in sorted(places):
            if upto[index + 1] >= FIRST_STEP_TOKENS:
                self._expires[chain[index]] = (at + _TTL_S["30m"], _TTL_S["30m"])
                done = max(done, upto[index + 1])
        return Usage(input_tokens=upto[-1], cache_read_tokens=read, cache_write_5m_tokens=done - read)

    def _size(self, part: Block) -> int:
        known = self._tokens.get(part.key)
        if known is None:
            known = sum(self._count(text) for text in part.texts) + part.images * IMAGE_TOKENS
            self._tokens[part.key] = known
        return known


def minimum_tokens(model: str) -> int:
    """The shortest prompt that Anthropic caches for a model (docs.claude.com, "Prompt caching", Cache limitations)."""
    name = model.lower()
    for part, tokens in _MINIMUM:
        if part in name:
            return tokens
    return 1_024


_MINIMUM = (
    ("opus-5", 512),
    ("opus-4-7", 2_048),
    ("opus-4-6", 4_096),
    ("opus-4-5", 4_096),
    ("haiku-4-5", 4_096),
    ("3-5-haiku", 2_048),
    ("3-haiku", 2_048),
)


def blocks(wire: Wire, body: Mapping[str, Any]) -> list[Block]:
    """The prompt as the provider lays it out: tools, then system, then the conversation."""
    found = [_tool(tool) for tool in _list(body.get("tools"))]
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            found += [_block("system", part) for part in _parts(body.get("system"))]
            # A change of these invalidates cached messages, but not tools and system.
            turn = msgspec.json.encode([body.get("tool_choice"), body.get("thinking")]).decode()
            for message in _list(body.get("messages")):
                role = f"{message.get('role')}{turn}"
                found += [_block(role, part) for part in _parts(message.get("content"))]
            if isinstance(body.get("cache_control"), Mapping) and found:
                found[-1] = msgspec.structs.replace(found[-1], ttl=_ttl(body))
        case Wire.OPENAI_RESPONSES:
            found += [_block("system", part) for part in _parts(body.get("instructions"))]
            given = body.get("input")
            items = [{"role": "user", "content": given}] if isinstance(given, str) else _list(given)
            found += [_said(str(item.get("role")), item) for item in items]
        case _:
            if wire is Wire.OLLAMA and "prompt" in body:
                found.append(_block("user", {"type": "text", "text": str(body["prompt"])}))
            found += [_said(str(message.get("role")), message) for message in _list(body.get("messages"))]
    return found


def _chain(parts: Sequence[Block], seed: bytes) -> list[bytes]:
    state = hashlib.blake2b(seed, digest_size=16)
    links = []
    for part in parts:
        state.update(part.key)
        links.append(state.copy().digest())
    return links


def _tool(tool: Mapping[str, Any]) -> Block:
    bare = {key: value for key, value in tool.items() if key != "cache_control"}
    text = msgspec.json.encode(bare).decode()
    return Block(_key("tool", text), (text,), _ttl(tool))


def _block(role: str, part: Mapping[str, Any]) -> Block:
    """A content block, a chat message or a Responses item. A text as a string or as a one-block list is the same."""
    texts: list[str] = []
    images = _read(part, texts)
    named = [part.get(key) for key in ("type", "id", "call_id", "tool_use_id", "tool_call_id", "name", "signature")]
    named = [name if name != "message" else None for name in named]
    return Block(_key(role, msgspec.json.encode([named, texts, images]).decode()), tuple(texts), _ttl(part), images)


def _said(role: str, item: Mapping[str, Any]) -> Block:
    """A message of either OpenAI protocol. An implicit breakpoint stands behind a user's or a tool's."""
    said = role in ("user", "tool") or str(item.get("type")).endswith("_output")
    return msgspec.structs.replace(_block(role, item), said=said)


def _read(part: Any, texts: list[str]) -> int:
    """Appends the texts that a model reads; gives the number of images."""
    if isinstance(part, str):
        texts.append(part)
        return 0
    if isinstance(part, list):
        return sum(_read(item, texts) for item in part)
    if not isinstance(part, Mapping):
        return 0
    kind = str(part.get("type", ""))
    if "image" in kind and "call" not in kind:
        return 1
    images = 0
    for key in _READ:
        if key in part:
            images += _read(part[key], texts)
    for call in _list(part.get("tool_calls")):
        images += _read({"type": "_call", **(call.get("function") or call.get("custom") or {})}, texts)
    if isinstance(part.get("name"), str) and kind.endswith(("tool_use", "_call")):
        texts.append(part["name"])
    for key in ("input", "arguments", "action"):
        if key in part:
            given = part[key]
            texts.append(given if isinstance(given, str) else msgspec.json.encode(given).decode())
    return images


_READ = ("text", "thinking", "summary", "content", "output", "reasoning_content", "refusal", "reasoning")


def _ttl(part: Mapping[str, Any]) -> str | None:
    inner = part.get("output" if isinstance(part.get("output"), list) else "content")
    holders = [part, *(item for item in inner if isinstance(item, Mapping))] if isinstance(inner, list) else [part]
    if any(holder.get("prompt_cache_breakpoint") for holder in holders):
        return "30m"
    mark = part.get("cache_control")
    if mark is None and isinstance(part.get("content"), list):  # the mark of a message's last part, as OpenRouter takes
        inner = [item for item in part["content"] if isinstance(item, Mapping) and item.get("cache_control")]
        mark = inner[-1].get("cache_control") if inner else None
    if not isinstance(mark, Mapping):
        return None
    return "1h" if mark.get("ttl") == "1h" else "5m"


def _key(role: str, text: str) -> bytes:
    return hashlib.blake2b(f"{role}\0{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _parts(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part if isinstance(part, Mapping) else {"type": "text", "text": str(part)} for part in content or ()]


def _list(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
