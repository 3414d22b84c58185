"""New tool results in a shorter form, before they are sent for the first time; so they stay for the session's life.

What is repeated of results that stand in the request becomes a note, what a codec knows a shorter form of is sent in
that, and long results are reduced where the model can have the whole by reference. What was once sent as it came stays
so, until nothing of the conversation is in the provider's cache any more: then all of it is done at once.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from xxhash import xxh3_128_digest

from ...call import Call, Outcome, Proposal, Rewrite, Step, Verdict
from ...economy import Economy, Foreseen
from ...economy.rewriting import COLD
from ...economy.whose import agent_of
from ...errors import BadRequest, StoreError
from ...protocols import KV, Clock, Tokenizer
from ...references import References, leave_out, reference_id
from ...request import Edit, Operation
from ...text.compression import Ask, compress
from ...wire.blocks import Conversation, Reader
from ...wire.recall_tool import has_tool, with_tool
from .forms import Form, Rules, form_of
from .recalling import USUAL_TOKENS, Agents
from .results import Result, given_back, results
from .sent_before import NAME, digest, packed, unpacked
from .standing import Shelf, Standing

__all__ = ["Compression", "Settings", "build"]

_Count = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes in tokens. `least`: results below it stay as they are. `repeats`: notes in place of what stands in the
    request already. `examples`: also for what the record of another session, with which some clients begin, shows twice
    of its tools. `codecs`: forms by kind of text. `cold`: older results, too, once the provider has forgotten them.

    `recall`: whether something may be left out that the model can have back by a tool of ours. "always": the tool is
    in the list from a session's first request on; "learned": for agents whose sessions have brought results that are
    long enough; "auto": only from a moment on at which the provider has forgotten the conversation, with what pays for
    it at once. `reduced_from`: results from which something is left out; `summary_from`: from which more is.

    `work_s`: seconds of computing for one call; results that are not done by then are sent as they came.
    """

    least: _Count = 30
    repeats: bool = True
    examples: bool = True
    codecs: bool = True
    cold: bool = True
    recall: Literal["auto", "learned", "always", "never"] = "auto"
    reduced_from: _Count = 500
    summary_from: _Count = 5_000
    work_s: Annotated[float, msgspec.Meta(gt=0.0)] = 0.05


class Parts(Protocol):
    @property
    def economy(self) -> Economy: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def kv(self) -> KV: ...


def build(settings: Settings, parts: Parts) -> Compression:
    return Compression(settings, parts)


class Compression:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "compression"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._economy = parts.economy
        self._count = parts.tokenizer.count
        self._clock = parts.clock
        self._rules = Rules(
            least=settings.least,
            repeats=settings.repeats,
            examples=settings.examples,
            codecs=settings.codecs,
            reduced_from=settings.reduced_from,
            summary_from=settings.summary_from,
        )
        self._references = References(parts.kv, parts.clock)
        self._reader = Reader()
        self._lossless: OrderedDict[bytes, bool] = OrderedDict()
        self._in_vain: OrderedDict[tuple[str, bool, int], None] = OrderedDict()
        self._agents = Agents()
        self._shelf = Shelf()

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
        if asked is sent and (again := await self._again(call, sent)) is not None:
            return again
        begins = not any(message.role == "assistant" for message in sent.messages)
        cold = not begins and self._settings.cold and self._is_cold(call)
        if not begins and not cold and not any(index >= asked.new for index, *_ in given_back(asked)):
            return None
        known = list(results(sent, asked))
        able = has_tool(call.request)
        tool = self._tool(call, begins=begins) if (begins or cold) and not able else ()
        if cold:
            made = self._forms(call, sent, known, 0, able=able or bool(tool))
            if not any(form.reference for _, form in made):
                tool = ()  # it would be paid for on every call to come, for nothing yet
            everything = self._proposal(call, sent, made, tool)
            if everything is not None and self._pays(call, everything):
                return everything
            tool = ()
        return self._proposal(call, sent, self._forms(call, sent, known, sent.new, able=able or bool(tool)), tool)

    def _tool(self, call: Call, *, begins: bool) -> tuple[Edit, ...]:
        """The edits that put the tool into the list; none where it has no place or no use."""
        if self._settings.recall == "never":
            return ()
        if begins and self._settings.recall == "auto":
            return ()  # whether this session will bring what pays for it nobody knows, and some are dearer with it
        if begins and self._settings.recall == "learned" and not self._agents.pays(agent_of(call), _READ).yes:
            return ()
        return with_tool(call.request) or ()

    async def _again(self, call: Call, sent: Conversation) -> Proposal | None:
        """The forms in which a session was sent by another process, or by this one before it was restarted."""
        seen = self._look(call)
        if seen is None or not seen.stranger:
            return None
        try:
            data = await self._references.noted(call.identity.tenant, call.identity.session, NAME)
        except StoreError:
            return None
        before = unpacked(data) if data is not None else None
        if before is None:
            return None
        able = has_tool(call.request)
        tool = with_tool(call.request) or () if before.tool and not able else ()
        known = list(results(sent, sent))
        made = self._forms(call, sent, known, 0, able=able or bool(tool), only=before.forms)
        proposal = self._proposal(call, sent, made, tool)
        return msgspec.structs.replace(proposal, restores=True, invests=False) if proposal is not None else None

    # --- forms ------------------------------------------------------------------------------------------------

    def _forms(
        self,
        call: Call,
        sent: Conversation,
        known: Sequence[Result],
        start: int,
        *,
        able: bool,
        only: frozenset[bytes] | None = None,
    ) -> list[tuple[Result, Form]]:
        """The forms of the results from that message on that are sent as they came. able: the model can ask for what is
        left out. only: of what is not new, only forms with these digests."""
        identity = call.identity
        old = [result for result in known if result.message < start]
        session = f"{identity.tenant}\0{identity.session}"
        base = self._shelf.of(session, old, self._is_lossless) if old else None
        before = Standing(base)
        end = time.thread_time() + self._settings.work_s

        def late() -> bool:
            return time.thread_time() > end

        found: list[tuple[Result, Form]] = []
        for result in known[len(old) :]:
            before.say(result)
            made = None
            tried = (session, able, hash(result.original))
            if result.untouched and result.block.place is not None and tried not in self._in_vain:
                ask = Ask(_asked_before(sent, result.message), result.arguments)
                name = None
                if able and not before.is_short(result.asked):
                    name = reference_id(identity.tenant, identity.session, result.original)
                made = form_of(result, before, ask=ask, rules=self._rules, count=self._count, reference=name, late=late)
                if made is None and result.message < sent.new and not late():
                    self._tried(tried)
                if made is not None and only is not None and result.message < sent.new:
                    made = made if digest(result.original, made.text) in only else None
            if made is not None:
                found.append((result, made))
                self._remember(result, made)
                result = msgspec.structs.replace(result, block=msgspec.structs.replace(result.block, text=made.text))
            before.add(result, self._is_lossless)
        return found

    def _tried(self, key: tuple[str, bool, int]) -> None:
        """Remember that an older result has no shorter form, so that it is not looked for at every cold moment."""
        self._in_vain[key] = None
        if len(self._in_vain) > _REMEMBERED:
            self._in_vain.popitem(last=False)

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

    def _proposal(
        self, call: Call, sent: Conversation, made: Sequence[tuple[Result, Form]], tool: tuple[Edit, ...]
    ) -> Proposal | None:
        if not made and not tool:
            return None
        edits = tuple(Edit(sent.place(result.message, result.block), form.text) for result, form in made)
        left = {form.reference: result.original for result, form in made if form.reference}
        if left:
            leave_out(call.facts, left)
        tokens = sum(form.saved for _, form in made)
        risk = min(sum(_RISK[form.how] for _, form in made), _MOST_RISK)
        saving = round(tokens * self._plain(call))
        if tool and not left:  # nothing to be had back yet: what it is for is still to come
            hoped = max(self._agents.pays(agent_of(call), _READ).saved, USUAL_TOKENS)
            why = f"{_why(made)} and " if made else ""
            why += "the tool that gives left-out texts back"
            saving += round(hoped * self._plain(call))
            return Proposal(
                Rewrite((*tool, *edits)), saving=saving, risk=risk, why=why, level="max", tokens=tokens, invests=True
            )
        return Proposal(Rewrite((*tool, *edits)), saving=saving, risk=risk, why=_why(made), level="max", tokens=tokens)

    def _plain(self, call: Call) -> float:
        """What a token of the prompt costs, in pico-dollars; 0.0 where that is not known, or nothing."""
        rates = self._economy.rates(call.target, call.at)
        return rates.of(len(call.request.raw) // _BYTES_PER_TOKEN)[0] if rates is not None else 0.0

    def _is_cold(self, call: Call) -> bool:
        """Whether nothing of the conversation is in the provider's cache, although it has been sent before."""
        seen = self._look(call)
        return seen is not None and seen.conversation is not None and not seen.chore and seen.forecast.warm <= COLD

    def _pays(self, call: Call, proposal: Proposal) -> bool:
        worth = self._economy.weigh(call, proposal, at=self._clock.monotonic())
        return worth is None or (not worth.refused and worth.total > 0)

    def _look(self, call: Call) -> Foreseen | None:
        return self._economy.look(call, at=self._clock.monotonic())

    # --- learning ---------------------------------------------------------------------------------------------

    async def settle(self, outcome: Outcome) -> None:
        """Keep in which forms the session was sent, and how long the results are that this agent's sessions bring."""
        call = outcome.call
        if 200 <= outcome.status < 300 and call.rewritten and any(self._is_news(step) for step in call.trail):
            await self._note(call)
        if self._settings.recall != "learned" or not 200 <= outcome.status < 300 or not call.identity.session:
            return
        if call.request.operation is not Operation.GENERATE or call.identity.housekeeping is not None:
            return
        try:
            asked = self._reader.read(call.original)
            if not call.original.envelope.tools:
                return
        except BadRequest:
            return
        new = [block.text for _, block in asked.results(asked.new) if not block.failed]
        sizes = (self._count(text) for text in new if len(text) > self._settings.reduced_from)
        first = not any(message.role == "assistant" for message in asked.messages)
        reducible = sum(size for size in sizes if size >= self._settings.reduced_from)
        self._agents.saw(agent_of(call), first=first, reducible_tokens=reducible)

    def _is_news(self, step: Step) -> bool:
        """Whether it tells of a change that was made on this call, and not of one that is kept."""
        return step.optimizer == self.name and step.verdict is Verdict.ACCEPTED and step.why.endswith(_MADE)

    async def _note(self, call: Call) -> None:
        identity = call.identity
        try:
            sent, asked = self._reader.read(call.request), self._reader.read(call.original)
            data = packed(results(sent, asked), tool=has_tool(call.request))
            await self._references.note(identity.tenant, identity.session, NAME, data)
        except (BadRequest, StoreError):
            return  # another process will find the session as its client sends it

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


_MADE = (" tokens", "left-out texts back")
_READ = 0.1  # of a token from the cache, relative to a plain one: about, and everywhere
_RISK = {"repeat": 0.002, "lossless": 0.002, "reduced": 0.008}
_MOST_RISK = 0.04
_REMEMBERED = 8_192
_BYTES_PER_TOKEN = 4
