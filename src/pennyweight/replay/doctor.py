"""The cache doctor over recorded calls. Usage that nobody recorded is simulated, as `replay` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..call import Identity, Target
from ..capture.format import Recorded
from ..ledger.doctor import Doctor, Finding, Pricing, Rules, sent
from ..prefix import Blocks
from ..request import Operation, Request, Usage, Wire
from ..testing.prefix_cache import PrefixCache, TooManyBreakpoints

__all__ = ["Diagnosis", "diagnose"]


class Diagnosis(msgspec.Struct, frozen=True):
    """`simulated`: calls whose usage nobody recorded. `prompt_cost`: PicoUSD, of the calls that have a price."""

    findings: tuple[Finding, ...]
    calls: int
    simulated: int
    skipped: int
    prompt_tokens: int
    prompt_cost: int


def diagnose(
    calls: Sequence[Recorded],
    *,
    resolve: Callable[[str, Wire], Target],
    identify: Callable[[Request], Identity],
    pricing: Pricing,
    rules: Rules,
    count: Callable[[str], int],
    since: float = 0.0,
    progress: Callable[[int], None] = lambda _n: None,
) -> Diagnosis:
    """What recorded calls missed in their providers' caches. Calls that failed are left out: nobody billed them.

    count: tokens of a text. since: unix seconds; earlier calls are left out where their time is known.
    """
    doctor = Doctor(rules, pricing)
    blocks = Blocks(count=count)
    caches: dict[str, PrefixCache] = {}
    simulated = skipped = 0
    start = min((call.at for call in calls if call.at), default=1_800_000_000.0)
    # Recordings without a date all begin at nought: each then has a provider of its own, or they would meet there.
    for number, call in enumerate(calls, 1):
        progress(number)
        request = call.request
        if not 200 <= call.status < 300 or request.operation is not Operation.GENERATE or (call.at and call.at < since):
            skipped += 1
            continue
        target = resolve(request.model, request.wire)
        identity = identify(request)
        if not identity.session or identity.session_source == "derived":
            identity = msgspec.structs.replace(identity, session=call.session or identity.session)
        usage, at = call.usage, call.at or start + call.t
        if usage is None:
            cache = caches.setdefault("" if call.at else call.session, PrefixCache(count))
            usage = _simulated(cache, call, at)
            simulated += 1
        doctor.see(
            sent(
                request,
                call_id=str(number),
                at=at,
                identity=identity,
                target=target,
                usage=usage,
                chain=blocks.chain(request),
            )
        )
    return Diagnosis(doctor.findings, doctor.calls, simulated, skipped, doctor.prompt_tokens, doctor.prompt_cost)


def _simulated(cache: PrefixCache, call: Recorded, at: float) -> Usage:
    try:
        return cache.account(call.wire, call.body, at=at)
    except TooManyBreakpoints:
        return Usage()
