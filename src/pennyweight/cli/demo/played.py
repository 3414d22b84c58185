"""What both acts of the demo have in common: the provider that answers as recorded, and sending a call to a gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ...capture.format import PATHS, Recorded
from ...errors import PennyweightError
from ...gateway.run import Gateway
from ...money import PicoUSD
from ...prices import PriceBook, open_book
from ...request import Charge, Usage, Wire
from ...testing.http import post
from ...testing.provider import ReplayProvider
from ...text.tokenizers import BpeTokenizer

__all__ = ["DemoFailed", "answered", "named", "replay_provider", "sent"]

_PROVIDERS = {Wire.ANTHROPIC_MESSAGES: "anthropic", Wire.OPENAI_CHAT: "openai", Wire.OPENAI_RESPONSES: "openai"}


class DemoFailed(PennyweightError):
    """A recorded call was not answered, or the books do not balance."""


def replay_provider(calls: Sequence[Recorded]) -> ReplayProvider:
    """Answers each call as recorded, and bills at the price book's list prices."""
    recorded = [(call.wire, call.body, call.answer) for call in calls if call.answer is not None]
    return ReplayProvider(recorded, count=BpeTokenizer().count, cost=_list_price(open_book()))


def _list_price(book: PriceBook) -> Callable[[Wire, str, Usage, float], PicoUSD | None]:
    def cost(wire: Wire, model: str, usage: Usage, at: float) -> PicoUSD | None:
        return book.cost(Charge(_PROVIDERS.get(wire, "openai"), model, usage, at))

    return cost


def named(call: Recorded, session: str) -> Recorded:
    return msgspec.structs.replace(call, headers={**call.headers, "x-pennyweight-session": session})


async def sent(
    gateway: Gateway, call: Recorded, session: str, *, model: str | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of the answer. Waits for the receipt: the recording's pauses are longer than that."""
    body: Mapping[str, Any] = call.body if model is None else {**call.body, "model": model}
    path = call.path or PATHS[call.wire]
    status, headers, answer = await post(gateway.url, path, named(call, session).headers, msgspec.json.encode(body))
    await gateway.app.clerk.flush()
    return status, dict(headers), answer


async def answered(gateway: Gateway, call: Recorded, session: str, number: int) -> None:
    """Raises DemoFailed for a call that was not answered."""
    status, _, answer = await sent(gateway, call, session)
    if status != 200:
        told = answer[:300].decode(errors="replace")
        raise DemoFailed(f"Call {number} of {session} was answered {status}: {told}")
