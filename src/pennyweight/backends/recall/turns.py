"""The exchanges of sessions: in memory for those that are under way, and in the store for the time after a restart."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

import msgspec

from ...call import Call
from ...errors import StoreError
from ...references import References
from ...wire.legs import Exchange

__all__ = ["Turns"]

log = logging.getLogger(__name__)

_NAME = "turns"
_MOST = 200  # of a session; further ones are not put back, for letting an old one go changes all that follows it

Place = tuple[str, str]
"""Tenant and session."""


class Turns:
    """Those of the sessions not used for longest leave memory first, and are read again when they are needed."""

    def __init__(
        self, references: References, *, within_s: float, sessions: int = 10_000, size_bytes: int = 64 << 20
    ) -> None:
        """within_s: how long a call waits for the store."""
        self._references = references
        self._within_s = within_s
        self._limit = sessions
        self._limit_bytes = size_bytes
        self._sessions: OrderedDict[Place, tuple[tuple[Exchange, ...], int]] = OrderedDict()
        self._bytes = 0

    async def of(self, call: Call) -> tuple[Exchange, ...]:
        """What is to be put back into the session's requests, oldest first; () where that cannot be read."""
        return await self._read((call.identity.tenant, call.identity.session)) or ()

    async def add(self, call: Call, exchange: Exchange) -> None:
        """To be called before the answer's end is told, so that the next request finds it."""
        place = call.identity.tenant, call.identity.session
        known = await self._read(place)
        kept = (*(known or ()), exchange)
        if len(kept) > _MOST:
            log.warning("a session has too many exchanges", extra={"exchanges": len(kept)})
            return
        data = msgspec.json.encode(kept)
        self._hold(place, kept, len(data))
        if known is None:  # what is stored is more than what is known here
            return
        try:
            async with asyncio.timeout(self._within_s):
                await self._references.note(*place, _NAME, data)
        except (StoreError, TimeoutError) as error:  # it is in memory, for as long as that lasts
            log.warning("an exchange cannot be kept", extra={"error": type(error).__name__})

    async def _read(self, place: Place) -> tuple[Exchange, ...] | None:
        """None where the store does not answer."""
        held = self._sessions.get(place)
        if held is not None:
            self._sessions.move_to_end(place)
            return held[0]
        try:
            async with asyncio.timeout(self._within_s):
                data = await self._references.noted(*place, _NAME)
            known = _decoder.decode(data) if data is not None else ()
        except (StoreError, TimeoutError) as error:
            log.warning("exchanges cannot be read", extra={"error": type(error).__name__})
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("exchanges are not readable, and are passed over")
            data, known = None, ()
        self._hold(place, known, len(data or b""))
        return known

    def _hold(self, place: Place, exchanges: tuple[Exchange, ...], size: int) -> None:
        self._bytes += size - self._sessions.pop(place, ((), 0))[1]
        self._sessions[place] = (exchanges, size)
        while len(self._sessions) > 1 and (len(self._sessions) > self._limit or self._bytes > self._limit_bytes):
            self._bytes -= self._sessions.popitem(last=False)[1][1]


_decoder = msgspec.json.Decoder(tuple[Exchange, ...])
