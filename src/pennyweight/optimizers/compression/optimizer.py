"""New tool results in a shorter form, before they are sent for the first time; so they stay for the session's life.

What is repeated of results that stand in the request becomes a note, what a codec knows a shorter form of is sent in
that, and long results are reduced where the model can have the whole by reference. What was once sent as it came stays
so, until nothing of the conversation is in the provider's cache any more: then all of it is done at once.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec
from xxhash import xxh3_128_digest

from ...call import Call, Outcome, Proposal, Rewrite
from ...economy import Economy, Foreseen
from ...economy.rewriting import COLD
from ...errors import BadRequest
from ...protocols import Clock, Tokenizer
from ...request import Edit, Operation
from ...text.compression import Ask, compress
from ...text.compression.repeats import Earlier
from ...wire.blocks import Conversation, Reader
from .forms import Form, Rules, earlier, form_of
from .results import Result, results

__all__ = ["Compression", "Settings", "build"]

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes in tokens. `least`: results below it stay as they are. `repeats`: notes in place of what stands in the
    request already. `cold`: older results, too, once the provider has forgotten them."""

    least: _Count = 60
    repeats: bool = True
    cold: bool = True


class Parts(Protocol):
    @property
    def economy(self) -> Economy: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def clock(self) -> Clock: ...


def build(settings: Settings, parts: Parts) -> Compression:
    return Compression(settings, parts)


class Compression:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "compression"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._economy = parts.economy
        self._count = parts.tokenizer.count
        self._clock = parts.clock
        self._rules = Rules(least=settings.least, repeats=settings.repeats)
        self._reader = Reader()
        self._lossless: OrderedDict[bytes, bool] = OrderedDict()

    async def propose(self, call: Call) -> Proposal | None:
        """A Rewrite with the forms of what is new, or of everything where nothing is warm; None: nothing is shorter."""
        identity = call.identity
        if call.request.operation is not Operation.GENERATE or call.optimize == "off" or not identity.session:
            return None  # without a session, what is sent now could not be sent so again
        if identity.housekeeping == "heartbeat":
            return None  # it ends with the wake, and is kept in no form
        try:
            sent = self._reader.read(call.request)
            asked = self._reader.read(call.original) if call.rewritten else sent
        except BadRequest:
            return None
        old = self._settings.cold and any(block.text for _, block in sent.results()) and self._is_cold(call)
        if not old and not any(True for _ in sent.results(sent.new)):
            return None
        known = list(results(sent, asked))
        if old:
            everything = self._proposal(call, sent, self._forms(sent, known, 0))
            if everything is not None and self._pays(call, everything):
                return everything
        return self._proposal(call, sent, self._forms(sent, known, sent.new))

    # --- forms ------------------------------------------------------------------------------------------------

    def _forms(self, sent: Conversation, known: Sequence[Result], start: int) -> list[tuple[Result, Form]]:
        """The forms of the results from that message on that are sent as they came."""
        found: list[tuple[Result, Form]] = []
        before: list[Earlier] = []
        for result in known:
            made = None
            if result.message >= start and result.untouched and result.block.place is not None:
                ask = Ask(_asked_before(sent, result.message), result.arguments)
                made = form_of(result, before, ask=ask, rules=self._rules, count=self._count)
            if made is not None:
                found.append((result, made))
                self._remember(result, made)
                result = msgspec.structs.replace(result, block=msgspec.structs.replace(result.block, text=made.text))
            before += earlier((result,), self._is_lossless)
        return found

    def _is_lossless(self, result: Result) -> bool:
        """Whether the form in which it is sent is the one from which everything can be read."""
        key = _key(result)
        known = self._lossless.get(key)
        if known is None:
            known = compress(result.original, count=self._count).text == result.sent
            self._keep(key, known)
        return known

    def _remember(self, result: Result, made: Form) -> None:
        block = msgspec.structs.replace(result.block, text=made.text)
        self._keep(_key(msgspec.structs.replace(result, block=block)), made.how == "lossless")

    def _keep(self, key: bytes, lossless: bool) -> None:
        self._lossless[key] = lossless
        if len(self._lossless) > _REMEMBERED:
            self._lossless.popitem(last=False)

    # --- what it is worth ---------------------------------------------------------------------------------------

    def _proposal(self, call: Call, sent: Conversation, made: Sequence[tuple[Result, Form]]) -> Proposal | None:
        if not made:
            return None
        edits = tuple(Edit(sent.place(result.message, result.block), form.text) for result, form in made)
        tokens = sum(form.saved for _, form in made)
        rates = self._economy.rates(call.target, call.at)
        saving = round(tokens * rates.of(len(call.request.raw) // _BYTES_PER_TOKEN)[0]) if rates is not None else 0
        risk = min(sum(_RISK[form.how] for _, form in made), _MOST_RISK)
        return Proposal(Rewrite(edits), saving=saving, risk=risk, why=_why(made), level="max", tokens=tokens)

    def _is_cold(self, call: Call) -> bool:
        """Whether nothing of the conversation is in the provider's cache, although it has been sent before."""
        seen = self._look(call)
        return seen is not None and seen.conversation is not None and not seen.chore and seen.forecast.warm <= COLD

    def _pays(self, call: Call, proposal: Proposal) -> bool:
        worth = self._economy.weigh(call, proposal, at=self._clock.monotonic())
        return worth is None or (not worth.refused and worth.total > 0)

    def _look(self, call: Call) -> Foreseen | None:
        return self._economy.look(call, at=self._clock.monotonic())

    async def settle(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def wants_response(self, call: Call) -> bool:
        return False


def _asked_before(conversation: Conversation, message: int) -> str:
    """The newest human text before a message."""
    for index in range(min(message, len(conversation.messages) - 1), -1, -1):
        if conversation.messages[index].role == "user":
            said = "\n".join(block.text for block in conversation.messages[index].blocks if block.kind == "text")
            if said:
                return said
    return ""


def _why(made: Sequence[tuple[Result, Form]]) -> str:
    """How many results, and what took off how many tokens: "3 results: repeat 5,012, json 300 tokens"."""
    sums: Counter[str] = Counter()
    for _, form in made:
        sums[form.kind] += form.saved
    told = ", ".join(f"{kind} {tokens:,}" for kind, tokens in sums.most_common())
    return f"{len(made)} result{'s' if len(made) > 1 else ''}: {told} tokens"


def _key(result: Result) -> bytes:
    return xxh3_128_digest(f"{len(result.original)} {result.original}{result.sent}".encode("utf-8", "surrogatepass"))


_RISK = {"repeat": 0.002, "lossless": 0.002, "reduced": 0.008}
_MOST_RISK = 0.04
_REMEMBERED = 8_192
_BYTES_PER_TOKEN = 4
