"""The learned router: chances of candidates from shipped priors, the tenant's own outcomes and texts like this one.

`of` only looks up and reckons. Vectors are made between calls, or within the few milliseconds that `ready` may take;
kernels are fitted in a thread. What is learnt is kept as outcomes, so a restart learns it again from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from ...call import Call, Outcome
from ...classes import class_of
from ...errors import ConfigError, StoreError
from ...protocols import Clock, Embedder
from ..choose import Asked, Chance, Priors
from ..ladder import JUDGED, Judged
from ..reading import TaskType
from ..virtual import Candidate
from .features import features
from .outcomes import Acted, Keeper, Source, Told, task_type
from .priors import Prior, difficulty, prior
from .signs import sign
from .state import Estimate, State
from .texts import shortenings
from .training import digest

__all__ = ["Learned"]

log = logging.getLogger(__name__)

_LOADED = 20_000  # outcomes that are read at the start
_TENANTS = 256
_KERNELS = 16  # tenants whose similar texts are looked at, 10 MB each at most
_VECTORS = 4_096
_CALLS = 10_000  # that feedback may come for without looking into the database
_CHOICES = 4_096
_PENDING = 64
_READY_S = 0.012
_AHEAD = 3  # texts under way after which one more is not waited for: each takes 3 to 7 ms
_SIDE = 0.93  # titles and summaries of what is there are within any model's reach. Assumed
_TOLD_MASS = 20.0  # outcomes that the operator's word on a target is worth
_ORDER_MASS = 8.0  # and what his order of tiers is worth


class Learned:
    """Protocol: `routing.choose.Chances`."""

    def __init__(
        self, keeper: Keeper, clock: Clock, *, embedder: Callable[[], Awaitable[Embedder | None]] | None = None
    ) -> None:
        """embedder: where texts get vectors; None: the table alone learns."""
        self._keeper = keeper
        self._clock = clock
        self._embedder = embedder
        self._priors = Priors()
        self._empty = State()
        self._states: OrderedDict[str, State] = OrderedDict()
        self._vectors: OrderedDict[str, bytes] = OrderedDict()
        self._choices: OrderedDict[tuple[object, ...], tuple[Chance, ...]] = OrderedDict()
        self._acted: OrderedDict[str, Acted] = OrderedDict()
        self._last: OrderedDict[str, tuple[str, str]] = OrderedDict()  # session to its last text and call
        self._pending: tuple[list[Told], list[Acted]] = ([], [])
        self._fitting: dict[str, asyncio.Task[None]] = {}
        self._embedding: dict[str, asyncio.Task[bytes]] = {}  # texts under way
        self._begun = asyncio.Event()

    # --- asked ---------------------------------------------------------------------------------------------------

    def of(self, call: Call, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Chance]:
        identity = call.identity
        state = self._states.get(identity.tenant, self._empty)
        text = digest(asked.text)
        vector = self._vectors.get(text, b"") if state.kernel is not None else b""
        key = (
            identity.tenant,
            identity.agent,
            asked.task,
            asked.complexity,
            identity.task,
            text,
            state.version,
            bool(vector),
            tuple((candidate.target.provider, candidate.target.model, candidate.rank) for candidate in candidates),
        )
        known = self._choices.get(key)
        if known is None:
            known = self._choices[key] = self._chances(call, asked, candidates, state, vector)
            if len(self._choices) > _CHOICES:
                self._choices.popitem(last=False)
        return known

    def _chances(
        self, call: Call, asked: Asked, candidates: Sequence[Candidate], state: State, vector: bytes
    ) -> tuple[Chance, ...]:
        task = task_type(asked.task)
        hard = difficulty(task, asked.text)
        said = state.ask(vector, features(asked.text), call.identity.task) if vector else None
        usual = self._priors.of(call, asked, candidates)
        chances = []
        for candidate, without in zip(candidates, usual, strict=True):
            name = candidate.target.name
            told = _told(task, asked, candidate, hard)
            found = state.estimate(task, name, agent=call.identity.agent, hard=hard, told=told, said=said)
            if found.n < 1.0:  # nothing is known of it: what the operator's order says
                chances.append(without)
                continue
            if told is None:  # a model of no known class: its first outcomes are held against that order
                order = Prior(without.success, _ORDER_MASS)
                found = state.estimate(task, name, agent=call.identity.agent, hard=hard, told=order, said=said)
            chances.append(Chance(found.mean, found.low, found.seen, _why(found)))
        return tuple(chances)

    async def ready(self, call: Call, asked: Asked) -> None:
        """Wait for the text's vector where `of` would use it, up to 12 ms; it goes on being made after that.

        Nobody waits behind others that will not be done by then: the table decides, as where the time is up.
        """
        state = self._states.get(call.identity.tenant)
        if state is None or state.kernel is None or not asked.text or (text := digest(asked.text)) in self._vectors:
            return
        behind = len(self._embedding) >= _AHEAD and text not in self._embedding
        flight = self._vector_of(asked.text)
        if behind:
            return
        with contextlib.suppress(TimeoutError, StoreError):
            await asyncio.wait_for(asyncio.shield(flight), _READY_S)

    def known(self, tenant: str) -> State:
        """What is known of a tenant."""
        return self._states.get(tenant, self._empty)

    # --- learning ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Learn what was kept. A store that is down is told in the log: then the priors stand alone."""
        try:
            await self._start()
        finally:
            self._begun.set()

    async def started(self) -> None:
        """Wait until what was kept is learnt, for those who have the time."""
        await self._begun.wait()

    async def _start(self) -> None:
        try:
            kept = await self._keeper.newest(limit=_LOADED)
        except StoreError as error:
            log.warning("the outcomes of routed calls cannot be read", extra={"detail": error.message})
            return
        by_tenant: dict[str, list[Told]] = {}
        for one in kept:
            by_tenant.setdefault(one.tenant, []).append(one)
        for tenant, told in by_tenant.items():
            self._state(tenant).learn(told)
            self._fit(tenant)

    async def aclose(self) -> None:
        under_way = (*self._fitting.values(), *self._embedding.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._flush(0)

    def wants_response(self, call: Call) -> bool:
        """Tool calls and structured answers can be looked at whether they hold."""
        return b'"tools"' in call.original.raw or _structured(call)

    async def settle(self, outcome: Outcome, asked: Asked) -> None:
        call, charges = outcome.call, outcome.done.charges
        if not charges or outcome.status != 200:
            return
        if len(charges) > 1:  # of a cascade it is not known whose answer others will judge
            await self._compared(call, asked)
            return
        acted = await self._as_acted(call, asked, f"{charges[-1].provider}/{charges[-1].model}")
        self._acted[call.id] = acted
        if len(self._acted) > _CALLS:
            self._acted.popitem(last=False)
        self._pending[1].append(acted)
        said = sign(outcome, structured=_structured(call))
        if said is not None:
            self._learn(acted, *said)
        self._again(call, acted)
        await self._flush(_PENDING)

    async def _compared(self, call: Call, asked: Asked) -> None:
        """A cascade's first target against the strongest one, on a call drawn by chance."""
        judged: Judged | None = call.facts.get(JUDGED)
        if judged is not None and judged.source == "comparison":
            name = judged.target.name
            self._learn(await self._as_acted(call, asked, name), float(judged.good), "judge")
            await self._flush(_PENDING)

    def _again(self, call: Call, acted: Acted) -> None:
        """The same text once more in the same session, outside of a tool loop, speaks against the answer before."""
        session = call.identity.session
        if not session or not acted.text:
            return
        unit = f"{acted.tenant}\0{session}"
        before = self._last.get(unit)
        self._last[unit] = acted.text, call.id
        self._last.move_to_end(unit)
        if len(self._last) > _CALLS:
            self._last.popitem(last=False)
        if before is not None and before[0] == acted.text and acted.task not in ("tools", "side"):
            earlier = self._acted.get(before[1])
            if earlier is not None:
                self._learn(earlier, 0.0, "again")

    async def rated(self, call_id: str, tenant: str, score: float, *, source: Source = "feedback") -> bool:
        """What somebody says of a call's answer, however late: it is told of the model that gave it. Whether it was a
        routed call of that tenant.

        score: -1 to 1; 0 says nothing. Raises StoreError.
        """
        acted = self._acted.get(call_id)
        if acted is None:
            await self._flush(0)
            acted = await self._keeper.acted(call_id)
        if acted is None or acted.tenant != tenant or score == 0:
            return False
        self._learn(acted, (score + 1.0) / 2.0, source)
        await self._flush(0)
        return True

    def _learn(self, acted: Acted, success: float, source: Source) -> None:
        told = acted.told(success, source, at=self._clock.now())
        self._pending[0].append(told)
        state = self._state(acted.tenant)
        state.learn([told])
        if state.since_fit >= max(25, state.texts // 8):
            self._fit(acted.tenant)

    async def _as_acted(self, call: Call, asked: Asked, model: str) -> Acted:
        task, vector = task_type(asked.task), b""
        if asked.text and task != "side":
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                vector = await asyncio.shield(self._vector_of(asked.text))
        return Acted(
            self._clock.now(),
            call.identity.tenant,
            task,
            model,
            call.identity.agent,
            call.id,
            digest(asked.text) if asked.text else "",
            difficulty(task, asked.text),
            features(asked.text) if asked.text else (),
            vector,
            call.identity.task,
        )

    async def _flush(self, least: int) -> None:
        told, acted = self._pending
        if len(told) + len(acted) <= least:
            return
        self._pending = ([], [])
        try:
            await self._keeper.add(told, acted)
        except StoreError as error:  # what was learnt stays learnt until the restart
            log.warning("outcomes of routed calls cannot be kept", extra={"detail": error.message})

    # --- vectors and kernels -------------------------------------------------------------------------------------

    def _vector_of(self, text: str) -> asyncio.Task[bytes]:
        key = digest(text)
        if (flight := self._embedding.get(key)) is not None:
            return flight
        task = self._embedding[key] = asyncio.create_task(self._embedded(text))
        task.add_done_callback(lambda done: self._done(key, done))
        return task

    def _done(self, key: str, task: asyncio.Task[bytes]) -> None:
        self._embedding.pop(key, None)
        if not task.cancelled():
            task.exception()  # those who waited were told

    async def _embedded(self, text: str) -> bytes:
        """b"" where there is no embedder. Raises StoreError."""
        key = digest(text)
        if (known := self._vectors.get(key)) is not None:
            return known
        embedder = await self._embedder() if self._embedder is not None else None
        if embedder is None:
            return b""
        error: StoreError | None = None
        for shortened in shortenings(text):
            try:
                raw = await embedder.embed(shortened)
            except StoreError as failed:
                error = failed
                continue
            self._vectors[key] = _halved(raw)
            if len(self._vectors) > _VECTORS:
                self._vectors.popitem(last=False)
            return self._vectors[key]
        raise error or StoreError("There is nothing to embed.")

    def _state(self, tenant: str) -> State:
        state = self._states.get(tenant)
        if state is None:
            state = self._states[tenant] = State()
            if len(self._states) > _TENANTS:
                self._states.popitem(last=False)
        self._states.move_to_end(tenant)
        return state

    def _fit(self, tenant: str) -> None:
        """Fit the kernel of a tenant in a thread, unless that is under way."""
        if tenant in self._fitting or self._embedder is None:
            return
        state = self._state(tenant)
        kernels = sum(one.kernel is not None for one in self._states.values())
        if not state.fittable or (state.kernel is None and kernels >= _KERNELS):
            return
        task = asyncio.create_task(self._fitted(state), name="fit the router")
        self._fitting[tenant] = task
        task.add_done_callback(lambda _done: self._fitting.pop(tenant, None))

    @staticmethod
    async def _fitted(state: State) -> None:
        try:
            state.take(await asyncio.to_thread(state.snapshot().fitted))
        except ConfigError as error:
            log.info("the router learns without similar texts", extra={"detail": error.message})


def _told(task: TaskType, asked: Asked, candidate: Candidate, hard: float) -> Prior | None:
    """What is taken of a target before outcomes: the operator's word, else its class, a call that looks hard being
    likelier to go wrong. How hard a text looks tells little, so it only ever makes the choice more careful."""
    if (success := candidate.facts.success) is not None:
        known = Prior(success, _TOLD_MASS)
    else:
        known = prior(task, class_of(candidate.target.model), hard=hard)
        if known.mass == 0:
            return None
        if task == "side":
            return Prior(max(known.mean, _SIDE), known.mass)
    careful = max((0.5 + asked.complexity) / 0.9, 1.0)
    return Prior(max(1.0 - (1.0 - known.mean) * careful, 0.02), known.mass)


def _why(found: Estimate) -> str:
    if found.similar >= 1:
        return f"{found.seen:.0f} own outcomes, {found.similar:.0f} of texts like this"
    return f"{found.seen:.0f} own outcomes" if found.seen else "shipped prior"


def _structured(call: Call) -> bool:
    raw = call.original.raw
    return b'"json_schema"' in raw or b'"json_object"' in raw


def _halved(raw: bytes) -> bytes:
    """float32 as float16, without numpy."""
    floats = array("f")
    floats.frombytes(raw)
    return b"".join(map(_half.pack, floats))


_half = struct.Struct("<e")
