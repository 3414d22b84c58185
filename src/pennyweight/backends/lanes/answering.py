"""A call as an item of a batch, and a batch's result as the answer to its call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import msgspec

from ...call import Call, Step, Verdict
from ...errors import BadRequest
from ...flow import Flow, Ready
from ...money import BATCH, PicoUSD
from ...request import DELETE, Charge, Done, Edit, Headers, Operation, Reply, Usage, Wire
from ...routing.batches import Group, Item
from ...wire import codec
from ...wire.sameness import origin, semantic_headers

__all__ = ["NAME", "Cost", "answered", "ended", "placed", "share_of"]

NAME = "lanes"
"""In the trail of a call."""

Cost = Callable[[Charge], PicoUSD | None]

_UNTOLD = Usage(suspect="no usage in a batch's answer", counted=True)
_JSON: Headers = (("content-type", "application/json"),)
_PATHS = {
    (Wire.OPENAI_CHAT, Operation.GENERATE): "/v1/chat/completions",
    (Wire.OPENAI_CHAT, Operation.EMBED): "/v1/embeddings",
    (Wire.OPENAI_RESPONSES, Operation.GENERATE): "/v1/responses",
    (Wire.ANTHROPIC_MESSAGES, Operation.GENERATE): "/v1/messages",
}


def placed(call: Call) -> tuple[Group, bytes] | None:
    """Where a call would go, and its body as it would stand there; None for one that no batch takes."""
    request, target = call.request, call.target
    path = _PATHS.get((request.wire, request.operation))
    if path is None or request.wire is not target.wire or request.query:
        return None
    edits = [Edit((name,), DELETE) for name in ("stream", "stream_options") if name in request.body]
    if target.model and request.model != target.model:
        edits.append(Edit(("model",), target.model))
    try:
        body = request.edit(edits).raw if edits else request.raw
    except BadRequest:
        return None
    headers = tuple(header for header in semantic_headers(request.headers) if header[0] != "idempotency-key")
    return Group(target.provider, request.wire, path, target.model or request.model, headers), body


def share_of(call: Call, body: bytes) -> str:
    """What two calls have in common of which one may take the other's answer: whose they are, and every byte."""
    return blake2b(origin(call, call.request) + b"\0" + body, digest_size=16).hexdigest()


def ended(call: Call, item: Item, at: float) -> Done:
    """What the answer of an item comes to, at a batch's prices. at: unix seconds."""
    done = codec(call.target.wire).read(item.answer)
    usage = msgspec.structs.replace(
        done.usage or Usage(suspect="no usage in a batch's answer", counted=True), tier=BATCH
    )
    charge = Charge(call.target.provider, call.target.model, usage, at)
    return Done(usage, done.finish_reason, (charge,), done.complete)


def answered(call: Call, item: Item, at: float, cost: Cost) -> Reply:
    """The answer as its caller asked for it, whole or as a stream; or the provider's refusal. Raises ValueError for
    what is no answer of its protocol."""
    request = call.request
    if item.state == "refused":
        return Reply(item.status, _JSON, wire=request.wire, content=item.answer, done=Done(complete=False))
    done = ended(call, item, at)
    if done.usage is not None and done.usage.suspect == _UNTOLD.suspect and not done.complete:
        raise ValueError("A batch's result is no answer.")
    if item.told:  # its bill was told when nobody waited
        done = msgspec.structs.replace(done, charges=())
    if request.stream and request.operation is Operation.GENERATE:
        wire = codec(request.wire)
        asked = request.envelope.stream_options
        chunks = wire.unfold(item.answer, include_usage=asked is not None and b"true" in bytes(asked))
        headers: Headers = (("content-type", wire.stream_type()), ("cache-control", "no-cache"))
        reply = Reply(200, headers, wire=request.wire, chunks=Flow(Ready(chunks)), done=done)
    else:
        reply = Reply(200, _JSON, wire=request.wire, content=item.answer, done=done)
    step = Step(NAME, Verdict.ACCEPTED, saving=_saving(done.charges, cost), why=f"by batch, as {item.why}")
    reply.notes.append(step)
    return reply


def _saving(charges: Sequence[Charge], cost: Cost) -> PicoUSD:
    """What the same tokens cost when they are asked for at once, less what they cost as a batch."""
    saved = 0
    for charge in charges:
        at_once = msgspec.structs.replace(charge, usage=msgspec.structs.replace(charge.usage, tier="standard"))
        dear, cheap = cost(at_once), cost(charge)
        saved += dear - cheap if dear is not None and cheap is not None else 0
    return saved
