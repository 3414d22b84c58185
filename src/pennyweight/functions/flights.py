"""Results that are being made: who asks for one meanwhile waits for it, in whichever thread or event loop."""

from __future__ import annotations

import copy
import os
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from .values import Entry

__all__ = ["Flight", "Flights", "Left", "copied"]

_NONE: frozenset[str] = frozenset()


class Left(Exception):
    """Who was making the result has left without one: the next in line makes it."""


class Flight:
    """One result in the making. `made`: its entry, or the value itself where it cannot be stored.

    As a context manager around the making: on the way out all who wait hear of a failure, or of nothing made.
    """

    def __init__(self, flights: Flights, key: str) -> None:
        self.made: Future[tuple[Entry | None, Any]] = Future()
        self.leads = True
        self.forgotten = False  # it was invalidated meanwhile: it shall not be stored
        self._flights = flights
        self.key = key

    def land(self, entry: Entry | None, value: Any) -> None:
        self._flights.remove(self)
        self.made.set_result((entry, value))

    def __enter__(self) -> Flight:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.made.done():
            return
        self._flights.remove(self)
        self.made.set_exception(copied(error) if isinstance(error, Exception) else Left())


class _Passenger:
    """The same flight for one who only waits."""

    leads = False

    def __init__(self, flight: Flight) -> None:
        self.made = flight.made


class Flights:
    """By key. Safe in threads."""

    def __init__(self) -> None:
        self._begin()
        self.inside: ContextVar[frozenset[str]] = ContextVar("pennyweight_inside", default=_NONE)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}

    def join(self, key: str) -> Any:
        """The flight: ours to lead, or another's to wait for. None when we are within it: waiting would never end."""
        if key in self.inside.get():
            return None
        if os.getpid() != self._pid:  # a fork: who was making results is not in this process
            self._begin()
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return _Passenger(flight)
            flight = self._flights[key] = Flight(self, key)
            return flight

    def remove(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.key) is flight:
                del self._flights[flight.key]

    def forget(self, prefix: str) -> None:
        """What is being made under such keys shall not be kept; who asks from now on gets a new one."""
        with self._lock:
            for key in [key for key in self._flights if key.startswith(prefix)]:
                self._flights.pop(key).forgotten = True


def copied(error: Exception) -> Exception:
    """For those who wait: each raising of an exception adds to its traceback."""
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001 - one that cannot be made from its arguments
        return error
    return copied.with_traceback(None) if type(copied) is type(error) else error
