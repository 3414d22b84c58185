"""`usage.cost` in answers, for clients that show it: in US dollars, exact, beside the provider's own usage fields."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec

from ..call import EARLIER, GOING, KEPT, Call
from ..errors import BadRequest
from ..ledger.accounts import Accounts
from ..money import format_usd
from ..request import Charge, Done, Reply, Usage, Wire, get_header, splice
from ..wire import codec

__all__ = ["billed", "wants_cost", "with_cost"]

Cost = Callable[[Usage], int | None]

# The last event that carries usage, and where in its data.
_FINAL: dict[Wire, tuple[tuple[bytes, ...], tuple[str, ...]]] = {
    Wire.OPENAI_CHAT: ((b'"usage":{', b'"usage": {'), ("usage", "cost")),
    Wire.ANTHROPIC_MESSAGES: ((b'"message_delta"',), ("usage", "cost")),
    Wire.OPENAI_RESPONSES: ((b'"response.completed"', b'"response.incomplete"'), ("response", "usage", "cost")),
}


def wants_cost(fields: Mapping[str, str], *, native: bool) -> bool:
    """Whether the caller is told the cost: on ClawRouter's routes, to its clients, and to whoever asks by header."""
    if native or "x-clawrouter-client" in fields:
        return True
    return fields.get("x-pennyweight-usage-cost", "").lower() in ("1", "true", "yes")


def with_cost(reply: Reply, call: Call, book: Accounts) -> Reply:
    """The reply, with `cost` beside its usage; untouched when the price is not known or it has no usage."""
    if reply.wire not in _FINAL or (get_header(reply.headers, "content-encoding") or "identity") != "identity":
        return reply

    def cost(usage: Usage) -> int | None:
        if KEPT in call.facts or any(step.optimizer == "coalesce" for step in reply.trail):
            return 0  # nobody was asked for it, or somebody else's call is billed
        target = call.facts.get("answered") or call.facts.get(GOING) or call.target
        return _sum(book, (*call.facts.get(EARLIER, ()), Charge(target.provider, target.model, usage, call.at)))

    if reply.content is not None:
        if reply.done is not None and reply.done.usage is not None:
            pico = _sum(book, billed(call, reply.done))
            if pico is not None:
                with contextlib.suppress(BadRequest):
                    reply.content = splice(reply.content, ("usage", "cost"), _usd(pico))
    elif reply.chunks is not None:
        reply.chunks = _in_stream(reply.chunks, reply.wire, cost)
    return reply


def billed(call: Call, done: Done) -> tuple[Charge, ...]:
    """All that a whole answer has cost, what was asked beside it included; nothing for one that came from a store."""
    return (*call.facts[EARLIER], *done.charges) if EARLIER in call.facts else done.charges


def _sum(book: Accounts, charges: Sequence[Charge]) -> int | None:
    costs = [book.cost(charge) for charge in charges]
    return None if any(cost is None for cost in costs) else sum(cost or 0 for cost in costs)


async def _in_stream(chunks: AsyncIterator[bytes], wire: Wire, cost: Cost) -> AsyncIterator[bytes]:
    """Events leave as they are and as soon as they are whole, but for the one that carries the final usage."""
    tap = codec(wire).tap()
    rest = b""
    async for chunk in chunks:
        tap.feed(chunk)
        data = rest + chunk
        end = max(data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n"))
        if end < 0:
            rest = data
            continue
        end += 4 if data.startswith(b"\r\n\r\n", end) else 2
        whole, rest = data[:end], data[end:]
        if any(needle in whole for needle in _FINAL[wire][0]):
            usage = tap.done().usage
            pico = cost(usage) if usage is not None else None
            if pico is not None:
                whole = _told(whole, wire, pico)
        yield whole
    if rest:
        yield rest


def _told(events: bytes, wire: Wire, pico: int) -> bytes:
    needles, path = _FINAL[wire]
    lines = events.split(b"\n")
    for index, line in enumerate(lines):
        if line.startswith(b"data:") and any(needle in line for needle in needles):
            ending = b"\r" if line.endswith(b"\r") else b""
            try:
                lines[index] = b"data: " + splice(line[5:].strip(), path, _usd(pico)) + ending
            except BadRequest:  # not JSON: it passes as it is
                continue
    return b"\n".join(lines)


def _usd(pico: int) -> msgspec.Raw:
    """As a number of JSON, to the last digit: what people read has signs and commas in it."""
    return msgspec.Raw(format_usd(pico, exact=True).replace("$", "").encode())
