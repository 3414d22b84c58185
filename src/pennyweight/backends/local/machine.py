"""The local models of this configuration: what is loaded where, and room made for the one that is asked next.

Servers are asked in the background, so `live` and the calls of loaded models wait for nobody. State lives here and in
the servers alone: after a restart it is asked anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from ...call import Target
from ...errors import Unreachable
from ...protocols import Clock
from ...request import Reply
from ...routing.resources import Key, LocalModel, Plan, ResourceSettings, plan, surplus
from ...routing.virtual import Live
from .books import Place, State
from .figures import learnt
from .process import resident_bytes
from .servers import Measure, Seen, recognise

__all__ = ["Machine"]

log = logging.getLogger(__name__)


class Machine:
    """`live` says how a target is, `room` makes one for a model, `begin` and `end` frame each call.

    sizes: bytes of models as the configuration says them, before anything measured. waiting: how many calls wait for
    a provider. `start` asks for ever; `look` asks once.
    """

    def __init__(
        self,
        places: Iterable[Place],
        settings: ResourceSettings,
        clock: Clock,
        *,
        sizes: Mapping[Key, int] | None = None,
        waiting: Callable[[str], int] = lambda _provider: 0,
        measure: Measure = resident_bytes,
    ) -> None:
        self.places = {place.name: place for place in places}
        self.settings = settings
        self.waiting = waiting
        self._clock = clock
        self._sizes = dict(sizes or {})
        self._measure = measure
        self._states: dict[Key, State] = {}
        self._moving = asyncio.Lock()
        self._ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._called_at = float("-inf")

    def start(self) -> None:
        if self.places:
            self._task = asyncio.create_task(self._run(), name="local models")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for place in self.places.values():
            await place.ask.aclose()

    def kept(self, provider: str) -> frozenset[str]:
        """The models of that provider which are never unloaded, as its server lists them."""
        return frozenset(
            model for place, _, model in (name.partition("/") for name in self.settings.keep) if place == provider
        )

    def states(self) -> list[State]:
        return sorted(self._states.values(), key=lambda state: state.key)

    def model(self, state: State) -> LocalModel:
        """As the plan sees it."""
        return LocalModel(
            state.key,
            state.size_bytes,
            loaded=state.loaded,
            running=max(state.running, state.seen.busy, state.seen.loading),
            used_at=state.used_at,
            kept="/".join(state.key) in self.settings.keep,
            movable=state.seen.movable and self._clock.monotonic() >= state.stuck_until,
        )

    def plan(self, state: State) -> Plan:
        """What it would take for that model to run now."""
        wanted = msgspec.structs.replace(self.model(state), loaded=state.seen.loaded and not state.leaving)
        found = plan(self._models(), wanted, self.settings)
        if found.unload and not self.settings.unload:
            return Plan(False, why=f"{found.why}, which [resources] forbids")
        return found

    # --- how a target is ------------------------------------------------------------------------------------------

    def live(self, target: Target) -> Live:
        """Protocol: `Lookout`. A target that is on none of these machines is as well as any."""
        place = self.places.get(target.provider)
        if place is None:
            return _WELL
        if place.silent:
            return Live(resting=True, fits=False)
        if place.server is None:
            return _WELL
        state = self._states.get((place.name, place.server.name_of(target.model)))
        if state is None:
            return Live(fits=not place.complete, wait_s=self._wait_s(place, None))
        fits = self.plan(state).fits
        return Live(fits=fits, load_s=_load_s(state) if fits else 0.0, wait_s=self._wait_s(place, state))

    def _wait_s(self, place: Place, state: State | None) -> float:
        """Until a slot is free: calls before it, over slots, at the time that an answer takes."""
        slots = place.slots or (state.seen.slots if state else None)
        if not slots:
            return 0.0
        running = max(
            sum(other.running for other in self._states.values() if other.key[0] == place.name),
            state.seen.busy if state else 0,
        )
        before = running + self.waiting(place.name) - slots + 1
        call_s = state.figures.call_s if state and state.figures.call_s is not None else _CALL_S
        return max(before, 0) / slots * call_s

    # --- a call's way through -------------------------------------------------------------------------------------

    def begin(self, target: Target) -> State | None:
        """A call goes to that target; None where nobody keeps books."""
        place = self.places.get(target.provider)
        if place is None or place.server is None:
            return None
        state = self._state((place.name, place.server.name_of(target.model)))
        state.used_at = self._called_at = self._clock.monotonic()
        return state

    def end(self, state: State) -> None:
        state.running -= 1
        state.used_at = self._clock.monotonic()
        self._ended.set()

    def answered(self, state: State, reply: Reply, *, loaded: bool, opened_s: float, ended_s: float) -> None:
        """An answer that was meant as one: the model is loaded now, and has taught something."""
        if not reply.ok:
            return
        state.changed_at = self._clock.monotonic()
        if not state.seen.loaded:
            state.seen = msgspec.structs.replace(state.seen, loaded=True)
            self._wake.set()  # what it takes is told now
        state.figures = learnt(state.figures, reply, loaded=loaded, opened_s=opened_s, ended_s=ended_s)

    def unreachable(self, provider: str) -> None:
        """A call found nobody there."""
        place = self.places.get(provider)
        if place is not None:
            self._fell_silent(place)

    async def room(self, state: State) -> str:
        """Make room for a model whose call has begun, wait for it as long as the settings allow, and take it, until
        `end`. What was done or is amiss; "" when there was nothing to do. A call goes on in any case: its server has
        the last word."""
        if self.settings.memory_mb is None or (state.seen.loaded and not state.leaving):
            state.running += 1
            return ""
        async with self._moving:
            until = self._clock.monotonic() + self.settings.wait_s
            done = ""
            while True:
                self._ended.clear()
                found = self.plan(state)
                if found.unload:  # each is gone then, or cannot go any more: the next plan has fewer
                    done = done or found.why
                    await self._unload(self._states[found.unload[0]])
                    continue
                left_s = until - self._clock.monotonic()
                if not found.waits or left_s <= 0:
                    state.running += 1  # in the same breath as the plan that allows it
                    return done or found.why
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._ended.wait()

    async def _unload(self, state: State) -> None:
        place = self.places[state.key[0]]
        if place.server is None or state.running:
            return
        state.leaving = True
        others = [other for other in self._states.values() if other.key[0] == place.name and other is not state]
        alone = not any(other.loaded for other in others)
        try:
            gone = await place.server.unload(state.key[1], alone=alone, wait_s=_UNLOAD_S)
        except Unreachable:
            gone = False
        finally:
            state.leaving = False
        if gone:
            state.seen = msgspec.structs.replace(state.seen, loaded=False)
            state.changed_at = self._clock.monotonic()
        else:
            state.stuck_until = self._clock.monotonic() + _STUCK_S
        log.info("unloaded a local model" if gone else "a local model was not unloaded", extra={"model": state.key})

    # --- asking the servers ---------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Ask every server that is due, then unload what is too much."""
        now = self._clock.monotonic()
        due = [place for place in self.places.values() if now >= place.ask_at]
        await asyncio.gather(*(self._ask(place) for place in due))
        if self.settings.unload and not self._moving.locked():
            async with self._moving:
                for key in surplus(self._models(), self.settings):
                    await self._unload(self._states[key])

    async def _ask(self, place: Place) -> None:
        asked = self._clock.monotonic()
        try:
            if place.server is None:
                place.server = await recognise(place.ask, ollama=place.ollama, measure=self._measure)
            told = await place.server.tell() if place.server is not None else None
        except Unreachable:
            self._fell_silent(place)
            return
        place.silent, place.asked = False, True
        if told is None:
            place.ask_at = self._clock.monotonic() + _UNKNOWN_S
            return
        place.complete = told.complete
        self._hear(place.name, told.models, asked)

    def _hear(self, provider: str, models: Sequence[Seen], asked: float) -> None:
        """What a server told, into the books. What it did not name is not loaded, and forgotten if nobody uses it.

        asked: when, in monotonic seconds. Whether a model is loaded that came or went since is known better here: the
        server may have told what was so before.
        """
        named = {(provider, seen.name) for seen in models}
        for seen in models:
            state = self._state((provider, seen.name))
            if state.changed_at >= asked:
                seen = msgspec.structs.replace(seen, loaded=state.seen.loaded)
            state.seen = seen
            self._size(state)
        for key, state in list(self._states.items()):
            if key[0] == provider and key not in named and state.changed_at < asked:
                state.seen = msgspec.structs.replace(state.seen, loaded=False, busy=0, loading=False)
                if not state.running and self.places[provider].complete:
                    del self._states[key]

    def _size(self, state: State) -> None:
        """The configured size, else the newest measured one of a loaded model, else what the server knows."""
        seen, set_to = state.seen, self._sizes.get(state.key)
        if set_to is not None:
            state.size_bytes, state.known = set_to, "set"
            return
        size = seen.gpu_bytes if self.settings.count == "gpu" and seen.gpu_bytes is not None else seen.size_bytes
        if size is not None and size > 0 and (seen.loaded or state.size_bytes is None or state.known == "file"):
            state.size_bytes, state.known = size, seen.known or ""

    def _state(self, key: Key) -> State:
        state = self._states.get(key)
        if state is None:
            if len(self._states) >= _MOST_STATES:  # names come from callers
                idle = (other for other in self._states.values() if not other.loaded)
                oldest = min(idle, key=lambda other: other.used_at, default=None)
                if oldest is not None:
                    del self._states[oldest.key]
            state = self._states[key] = State(key, Seen(key[1]))
            self._size(state)
        return state

    def _models(self) -> list[LocalModel]:
        return [self.model(state) for state in self._states.values() if state.loaded]

    def _fell_silent(self, place: Place) -> None:
        if place.asked and not place.silent:
            log.warning("a local server does not answer", extra={"provider": place.name})
        place.silent = place.asked = True
        place.ask_at = self._clock.monotonic() + _SILENT_S
        for state in self._states.values():
            if state.key[0] == place.name:
                state.seen = msgspec.structs.replace(state.seen, loaded=False, busy=0)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever a server says, the next round asks again
                log.warning("a look at local models failed", extra={"error": type(error).__name__})
            idle = self._clock.monotonic() - self._called_at > _IDLE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.every_s * (_IDLE_TIMES if idle else 1)):
                    await self._wake.wait()


def _load_s(state: State) -> float:
    """Until it is loaded: as it was learnt, else its bytes at a middling disk's speed."""
    if state.seen.loaded:
        return 0.0
    if state.figures.load_s is not None:
        return state.figures.load_s
    return (state.size_bytes or 0) / _DISK_BYTES_S


_WELL = Live()
_CALL_S = 10.0  # an answer of a small model, until one was seen
_DISK_BYTES_S = 1e9
_UNLOAD_S = 30.0  # llama-swap gives a process ten seconds to end
_MOST_STATES = 1_000
_STUCK_S = 60.0
_SILENT_S = 5.0  # before a server that did not answer is asked again
_UNKNOWN_S = 60.0
_IDLE_S = 60.0  # without a call, servers are asked less often
_IDLE_TIMES = 5
