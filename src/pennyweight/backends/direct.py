"""A way past the wrappers that have nothing to do for the plainest calls.

Most calls go out as they came, for one sampled answer, and no limit binds who asks. Ten wrappers hand such a call on,
each after a look whose outcome is the same for all plain calls with one head, one model and one target: so they are
asked once, and the way that is left is kept in the room of the head. See docs/decisions/0049.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from ..call import Call, Target
from ..protocols import Backend
from ..request import Operation, Reply, Request, Wire

__all__ = ["Beneath", "Direct", "beneath"]


class Beneath(Protocol):
    """What a wrapper may have beside `Backend`."""

    def beneath(self, call: Call) -> Backend:
        """What this plain call, and any other with its head, model, target and tenant, may be given to in its place.

        Plain (`Direct`): unchanged by optimizers, neither repeatable nor a stream that does not ask for its usage, of
        nobody whom a limit of budgets binds.
        """
        ...


def beneath(backend: Backend, call: Call) -> Backend:
    found: Callable[[Call], Backend] | None = getattr(backend, "beneath", None)
    return backend if found is None else found(call)


class _Way(NamedTuple):
    """Which plain calls it is for, beside their head, and where it leads."""

    target: Target | None
    model: str
    tenant: str
    backend: Backend | None


_NEVER = _Way(None, "", "", None)  # a head whose calls are not plain
_UNKNOWN = _Way(None, "", "", None)  # none was so far


class Direct:
    """A Backend over `inner`. spares: whether no limit of budgets can bind any call of a tenant; asked each time."""

    def __init__(self, inner: Backend, spares: Callable[[str], bool]) -> None:
        self._inner = inner
        self._spares = spares

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        request = call.request
        room = request.room
        if room is None or request is not call.original:
            return self._inner.open(call)
        way = room.get(self) or self._first(request, room)
        if way is _NEVER:
            return self._inner.open(call)
        asked = request.envelope
        if asked.seed is not None or asked.temperature == 0 or (asked.stream and asked.stream_options is None):
            return self._inner.open(call)
        tenant = call.identity.tenant
        if not self._spares(tenant):
            return self._inner.open(call)
        target, model, whose, backend = way
        if backend is None or target is not call.target or model != request.model or whose != tenant:
            backend = beneath(self._inner, call)
            room[self] = _Way(call.target, request.model, tenant, backend)
        return backend.open(call)

    def _first(self, request: Request, room: dict[Any, Any]) -> _Way:
        plain = request.operation is Operation.GENERATE and request.wire is not Wire.OLLAMA
        found = room[self] = _UNKNOWN if plain else _NEVER
        return found
