"""Asks the next target when one fails, and stays there with that session for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from ..call import Call, Step, Target, Verdict
from ..errors import BackendError, ContextTooLong, QuotaSpent
from ..protocols import Backend, Clock
from ..request import Charge, Reply, Request
from .cooldown import Cooldown
from .refusals import BUSY, KEY_REFUSED, add_charges, retry_after_s

__all__ = ["ANSWERED", "Fallback", "aimed"]

_MOST_SESSIONS = 10_000

ANSWERED = "answered"
"""The key of `Call.facts` under which the target stands that took the call in the end."""


class Fallback:
    """A Backend over the targets that `chain` names for a call, after the call's own.

    Moves on when nothing could be opened, or when the refusal is about the upstream and not about the request. A
    session that was moved stays at its new target for `sticky_s` after each answer, because its prompt cache is there
    now. When all fail, the last upstream's own refusal goes back as it came. A caller's own credential goes to no other
    provider than the one it was meant for.
    """

    def __init__(
        self,
        inner: Backend,
        chain: Callable[[Call], Sequence[Target]],
        clock: Clock,
        *,
        cooldown: Cooldown[Target] | None = None,
        sticky_s: float = 300.0,
    ) -> None:
        self._inner = inner
        self._chain = chain
        self._clock = clock
        self._cooldown = cooldown if cooldown is not None else Cooldown(clock)
        self._sticky_s = sticky_s
        self._moved: OrderedDict[tuple[str, str, Target], tuple[Target, float]] = OrderedDict()

    async def open(self, call: Call) -> Reply:
        """Raises the last BackendError when no target gave any answer at all."""
        targets = list(dict.fromkeys((call.target, *self._chain(call))))
        if len(targets) == 1 and "fallbacks" not in call.facts:
            return await self._inner.open(call)  # of one that was routed to it is noted how it is
        tries = _Tries()
        try:
            for target in self._order(call, targets):
                if await self._answered(call, target, tries):
                    self._stay(call, target)
                    call.facts[ANSWERED] = target
                    break
            return tries.result()
        finally:
            await tries.aclose()

    async def _answered(self, call: Call, target: Target, tries: _Tries) -> bool:
        """Ask one target; whether what it said is for the caller, be it an answer or the caller's own mistake."""
        self._cooldown.trying(target)
        try:
            reply = await self._inner.open(aimed(call, target))
        except ContextTooLong:
            self._cooldown.left(target)
            raise
        except QuotaSpent as error:  # it is well, and was not asked
            self._cooldown.left(target)
            tries.failed(target, error)
            return False
        except BackendError as error:
            self._cooldown.failed(target, retry_after_s=error.retry_after_s)
            tries.failed(target, error)
            return False
        except BaseException:
            self._cooldown.left(target)
            raise
        own_key = call.credential is not None and target.provider == call.target.provider
        if reply.status in BUSY or reply.status == 504 or (reply.status in KEY_REFUSED and not own_key):
            self._cooldown.failed(target, retry_after_s=retry_after_s(reply.headers, self._clock.now()))
            await tries.refused(target, reply)
            return False
        if reply.ok:
            self._cooldown.answered(target)
        else:
            self._cooldown.left(target)
        await tries.settled(call, target, reply)
        return True

    def _order(self, call: Call, targets: list[Target]) -> list[Target]:
        """The target where this session was moved, then the configured order, with the resting ones last."""
        moved = self._moved.get(_place(call))
        if moved is not None and moved[0] in targets and self._clock.monotonic() < moved[1]:
            targets = list(dict.fromkeys((moved[0], *targets)))
        return self._cooldown.order(targets)

    def _stay(self, call: Call, target: Target) -> None:
        if not call.identity.session:
            return
        place = _place(call)
        self._moved.pop(place, None)
        if target != call.target:
            self._moved[place] = (target, self._clock.monotonic() + self._sticky_s)
            if len(self._moved) > _MOST_SESSIONS:
                self._moved.popitem(last=False)


class _Tries:
    """What the targets said so far. Holds at most one open reply, which `result` hands over."""

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._error: BackendError | None = None
        self._steps: list[Step] = []
        self._charges: list[Charge] = []

    def failed(self, target: Target, error: BackendError) -> None:
        self._error = error
        self._note(target, Verdict.FAILED, type(error).__name__)

    async def refused(self, target: Target, reply: Reply) -> None:
        self._note(target, Verdict.FAILED, f"status {reply.status}")
        if self._reply is not None and reply.status in KEY_REFUSED:
            await self._drop(
                reply
            )  # "your key is wrong" from a fallback would hide why the caller's own target refused
        else:
            await self._keep(reply)

    async def settled(self, call: Call, target: Target, reply: Reply) -> None:
        if target != call.target:
            self._note(target, Verdict.ACCEPTED, "answered instead")
        await self._keep(reply)

    def result(self) -> Reply:
        reply, self._reply = self._reply, None
        if reply is None:
            raise self._error if self._error is not None else BackendError("No target answered.")
        reply.notes[:0] = self._steps
        add_charges(reply, self._charges)
        return reply

    async def aclose(self) -> None:
        if self._reply is not None:
            await self._reply.aclose()

    async def _keep(self, reply: Reply) -> None:
        earlier, self._reply = self._reply, reply
        if earlier is not None:
            await self._drop(earlier)

    async def _drop(self, reply: Reply) -> None:
        await reply.aclose()
        self._charges.extend(reply.done.charges if reply.done else ())

    def _note(self, target: Target, verdict: Verdict, why: str) -> None:
        self._steps.append(Step("fallback", verdict, why=f"{target.provider}/{target.model}: {why}"))


def aimed(call: Call, target: Target) -> Call:
    """The call to another target, without what only its own may see or understands."""
    if target == call.target:
        return call
    credential = call.credential if target.provider == call.target.provider else None
    aimed = msgspec.structs.replace(call, target=target, credential=credential)
    if call.rewritten and call.request.wire is target.wire and _only_there(call.request) - _only_there(call.original):
        return aimed.sending(call.original)  # what was added for one provider's cache, another refuses
    return aimed


def _only_there(request: Request) -> set[str]:
    """The fields in a request that some providers take and others do not know."""
    return {name for name in ("cache_control", "prompt_cache_key") if f'"{name}"'.encode() in request.raw}


def _place(call: Call) -> tuple[str, str, Target]:
    return call.identity.tenant, call.identity.session, call.target
