"""The cache doctor over recorded calls. Usage that nobody recorded is simulated, as `replay` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..call import Identity, Target
from ..capture.format import Recorded
from ..ledger.doctor import Doctor, Finding, Pricing, Rules, gather, is_whole, prompt_cost, sent
from ..prefix import Blocks
from ..request import Request, Usage, Wire
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
    blocks = Blocks(count=count)
    # Recordings without a date all begin at nought: each is a world of its own then, or they would meet there.
    worlds: dict[str, tuple[Doctor, PrefixCache]] = {}
    findings: dict[tuple[str, ...], Finding] = {}
    seen = simulated = tokens = cost = 0
    start = min((call.at for call in calls if call.at), default=1_800_000_000.0)
    for number, call in enumerate(sorted(calls, key=lambda call: call.at), 1):  # those without a date stay in order
        progress(number)
        request = call.request
        if not 200 <= call.status < 300 or (call.at and call.at < since) or not is_whole(request):
            continue
        target = resolve(request.model, request.wire)
        identity = identify(request)
        if not identity.session or identity.session_source == "derived":
            identity = msgspec.structs.replace(identity, session=call.session or identity.session)
        world = "" if call.at else call.session
        if world not in worlds:
            worlds[world] = Doctor(rules, pricing), PrefixCache(count)
        doctor, cache = worlds[world]
        usage, at = call.usage, call.at or start + call.t
        if usage is None:
            usage = _simulated(cache, call, at)
            simulated += 1
        chain = blocks.chain(request)
        one = sent(request, call_id=str(number), at=at, identity=identity, target=target, usage=usage, chain=chain)
        gather(findings, one, doctor.see(one))
        rates = pricing(one)
        seen += 1
        tokens += usage.input_tokens
        cost += prompt_cost(usage, rates) if rates is not None else 0
    return Diagnosis(tuple(findings.values()), seen, simulated, len(calls) - seen, tokens, cost)


def _simulated(cache: PrefixCache, call: Recorded, at: float) -> Usage:
    try:
        return cache.account(call.wire, call.body, at=at)
    except TooManyBreakpoints:
        return Usage()
