"""Results of tools by tenant, name and arguments: looked up and stored by tool runners, and learnt from what passes by.

A gateway runs no tools. It sees what a model called and, in the caller's next request, what came of it; a runner that
asks here first may find that another agent of its tenant has run the same thing a moment ago. Only tools that the
operator has declared to be read-only take part.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Literal

import msgspec

from ..call import Call, Outcome
from ..config import ToolRule
from ..errors import BadRequest, Forbidden, StoreError
from ..kept import REST_BYTES, digest_start, tenant_prefix, unwrapped, wrapped
from ..ledger.functions import FunctionDelta
from ..money import PicoUSD
from ..protocols import KV, Clock
from ..request import Operation
from ..wire.tool_results import ToolResult, new_results
from .arguments import canonical, spelled

__all__ = ["Found", "ToolResults"]

log = logging.getLogger(__name__)

_COUNT_S = 1.0  # how long counts wait to be written
_SEEN_S = 7 * 86_400.0  # for which a result that was learnt is known again when a conversation is sent anew

Source = Literal["stored", "learnt"]
Count = Callable[[Sequence[FunctionDelta]], Awaitable[None]]


class _Entry(msgspec.Struct, frozen=True):
    """`content`: JSON as it was given. `made`: unix seconds."""

    content: msgspec.Raw
    made: float
    source: Source
    took_s: float = 0.0
    cost: PicoUSD = 0


class Found(msgspec.Struct, frozen=True):
    """`content`: JSON as it was given. `source`: by a runner, or learnt from a request."""

    content: msgspec.Raw
    age_s: float
    source: Source


_entry = msgspec.json.Decoder(_Entry)


class ToolResults:
    """Protocol: `pennyweight.protocols.Observer`, which learns. It belongs to one event loop.

    count: writes what was saved to the ledger. A store that is down makes misses; nothing here ever fails a call.
    """

    wants_responses = False

    def __init__(self, rules: Sequence[ToolRule], kv: KV, clock: Clock, *, count: Count) -> None:
        self._rules = tuple(rules)
        self._learns = any(rule.read_only and rule.learn for rule in rules)
        self._kv = kv
        self._clock = clock
        self._count = count
        self._deltas: list[FunctionDelta] = []
        self._counted_at = clock.monotonic()

    # --- for tool runners -----------------------------------------------------------------------------------

    async def lookup(
        self, tenant: str, name: str, arguments: bytes, *, session: str = "", max_age_s: float | None = None
    ) -> Found | None:
        """A result that is still good. Raises Forbidden for a tool that is not declared, BadRequest for arguments that
        are no JSON, and where results are kept by session for a call without one."""
        rule = self._rule(name)
        key = self._key(rule, tenant, name, _canonical(arguments), session)
        entry = await self._read(key)
        age_s = 0.0 if entry is None else max(0.0, self._clock.now() - entry.made)
        if entry is None or age_s >= rule.ttl_s or (max_age_s is not None and age_s > max_age_s):
            await self._tell(tenant, name, misses=1)
            return None
        await self._tell(tenant, name, hits=1, saved_s=entry.took_s, saved=entry.cost)
        return Found(entry.content, age_s, entry.source)

    async def store(
        self,
        tenant: str,
        name: str,
        arguments: bytes,
        content: msgspec.Raw,
        *,
        session: str = "",
        took_s: float = 0.0,
        cost: PicoUSD = 0,
    ) -> float:
        """Keep a result; for how many seconds. Raises as `lookup` does, and StoreError."""
        rule = self._rule(name)
        if len(content) > rule.max_bytes:
            raise BadRequest(f"A result of {len(content)} bytes is not kept: tools.max_bytes is {rule.max_bytes}.")
        key = self._key(rule, tenant, name, _canonical(arguments), session)
        await self._write(key, _Entry(content, self._clock.now(), "stored", took_s, cost), rule)
        return rule.ttl_s

    async def purge(self, tenant: str, name: str | None = None) -> int:
        """Forget the tenant's results, of one tool or of all. Raises StoreError."""
        return await self._kv.delete(_prefix(tenant) if name is None else _prefix(tenant, name))

    # --- learning -------------------------------------------------------------------------------------------

    def wants(self, call: Call) -> bool:
        return False  # results are in requests

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes if self._learns else ():
            call = outcome.call
            if call.request.operation is not Operation.GENERATE or not 200 <= outcome.status < 300:
                continue
            if b"tool_use_id" not in call.original.raw and b"call_id" not in call.original.raw:
                continue
            try:
                for result in new_results(call.original):
                    await self._learn(call, result)
            except StoreError as error:
                log.warning("a tool's result cannot be kept", extra={"error": type(error).__name__})
            except Exception as error:  # noqa: BLE001 - who only looks on must not cost a call its receipt
                log.warning("tool results cannot be learnt", extra={"error": type(error).__name__})

    async def _learn(self, call: Call, result: ToolResult) -> None:
        rule = self._match(result.name)
        identity = call.identity
        if rule is None or not rule.learn or (rule.scope == "session" and not identity.session):
            return
        content = msgspec.Raw(msgspec.json.encode(result.text))
        if len(content) > rule.max_bytes:
            return
        # A conversation that is sent again brings the same old result again: it must not look new.
        call_id = blake2b(result.call_id.encode("utf-8", "replace"), digest_size=16).hexdigest()
        seen = f"{tenant_prefix('tools-seen', identity.tenant)}{call_id}"
        if await self._kv.add(seen, 1, ttl_s=_SEEN_S) > 1:
            return
        try:
            key = self._key(rule, identity.tenant, result.name, spelled(result.arguments), identity.session)
        except ValueError:
            return
        await self._write(key, _Entry(content, call.at, "learnt"), rule)

    # --- entries --------------------------------------------------------------------------------------------

    def _match(self, name: str) -> ToolRule | None:
        """The first rule for that name, if it says read-only."""
        rule = next((rule for rule in self._rules if fnmatchcase(name, rule.name)), None)
        return rule if rule is not None and rule.read_only else None

    def _rule(self, name: str) -> ToolRule:
        rule = self._match(name)
        if rule is None:
            raise Forbidden(
                f"Results of the tool {name[:100]!r} are not kept: it is not declared as read-only. "
                "The operator declares it with [[tools]], name = … and read_only = true."
            )
        return rule

    def _key(self, rule: ToolRule, tenant: str, name: str, arguments: bytes, session: str) -> str:
        if rule.scope == "session" and not session:
            raise BadRequest(f"Results of {name[:100]!r} are kept by session: send x-pennyweight-session.")
        within = session.encode("utf-8", "surrogatepass") if rule.scope == "session" else b""
        digest = blake2b(b"%d:%b%b" % (len(within), within, arguments), digest_size=REST_BYTES).hexdigest()
        return f"{_prefix(tenant, name)}{digest}/{name}"

    async def _read(self, key: str) -> _Entry | None:
        try:
            data = await self._kv.get(key)
            found = None if data is None else unwrapped(key, data)
            return None if found is None else _entry.decode(found.payload)
        except StoreError as error:
            log.warning("tool results cannot be read", extra={"error": type(error).__name__})
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("a tool's result was not readable, and is passed over")
        return None

    async def _write(self, key: str, entry: _Entry, rule: ToolRule) -> None:
        await self._kv.put(key, wrapped(key, entry.made, msgspec.json.encode(entry)), ttl_s=rule.ttl_s)

    # --- counts ---------------------------------------------------------------------------------------------

    async def _tell(
        self, tenant: str, name: str, *, hits: int = 0, misses: int = 0, saved_s: float = 0.0, saved: PicoUSD = 0
    ) -> None:
        delta = FunctionDelta(
            self._clock.now(), tenant, f"tool:{name}", hits=hits, misses=misses, saved_s=saved_s, saved=saved
        )
        self._deltas.append(delta)
        if self._clock.monotonic() - self._counted_at >= _COUNT_S:
            await self.aclose()

    async def aclose(self) -> None:
        """Write what was counted."""
        self._counted_at = self._clock.monotonic()
        deltas, self._deltas = self._deltas, []
        if deltas:
            try:
                await self._count(deltas)
            except StoreError as error:
                log.warning("uses of tool results cannot be counted", extra={"error": type(error).__name__})


def _prefix(tenant: str, name: str | None = None) -> str:
    return tenant_prefix("tools", tenant) + ("" if name is None else digest_start(name))


def _canonical(arguments: bytes) -> bytes:
    try:
        return canonical(arguments)
    except (ValueError, UnicodeDecodeError) as error:
        raise BadRequest(f"The arguments cannot be compared: {str(error)[:200]}. Send one JSON object.") from None
