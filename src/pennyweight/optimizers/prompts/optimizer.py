"""The optimizer: at a session's first call, its system prompt as `pennyweight.text.prompts` puts it together.

From the second call on nothing is proposed: what was sent first is sent again by the pipeline, byte for byte. It also
counts which tools, files and skills an agent's sessions use, for the linter.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Annotated, Protocol

import msgspec

from ...call import Call, Outcome, Proposal, Rewrite, abstain
from ...economy import Economy
from ...errors import BadRequest
from ...protocols import KV
from ...request import Edit, Operation, Request
from ...text.prompts import Assembled, Module, Session, assemble, split
from ...text.prompts.usage import SESSIONS, usage_key, used_in
from ...text.tokenizers import BpeTokenizer
from ...wire import codec
from ...wire.blocks import Block, Conversation, Place, Reader

log = logging.getLogger(__name__)

__all__ = ["RISK", "Parts", "Prompts", "Settings", "build"]

RISK = 0.02
"""That a session would have needed what is left out: names stay, so it is the wording of rules that is at stake."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """budget_tokens: for the system prompt of a session; 0: `share` of what it has, and at most `most_tokens`.
    least_tokens: shorter prompts are left alone. usage: count what sessions use, for `pennyweight prompts lint`.
    wait_s: for the parts of a prompt that was not seen before."""

    budget_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    share: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5
    most_tokens: Annotated[int, msgspec.Meta(gt=0)] = 7_800
    least_tokens: Annotated[int, msgspec.Meta(ge=200)] = 2_000
    usage: bool = True
    wait_s: Annotated[float, msgspec.Meta(gt=0.0)] = 0.03


class Parts(Protocol):
    @property
    def economy(self) -> Economy: ...

    @property
    def kv(self) -> KV: ...


def build(settings: Settings, parts: Parts) -> Prompts:
    return Prompts(settings, parts)


class Prompts:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "prompts"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._economy = parts.economy
        self._kv = parts.kv
        self._tokenizer = BpeTokenizer()  # the App's own belongs to the event loop
        self._working = Lock()
        self._reader = Reader(messages=2_048, text_chars=8_000_000)
        self._cut: OrderedDict[bytes, tuple[Module, ...]] = OrderedDict()
        self._seen: OrderedDict[str, set[str]] = OrderedDict()  # names that a session has used

    async def propose(self, call: Call) -> Proposal | None:
        """A rewrite of the system prompt; None where it is short, or the conversation has begun."""
        request, identity = call.request, call.identity
        if request.operation is not Operation.GENERATE or identity.housekeeping is not None or not identity.session:
            return None
        if len(request.raw) < self._settings.least_tokens * _LEAST_CHARS_PER_TOKEN or call.rewritten:
            return None
        try:
            conversation = self._reader.read(request)
            offered = codec(request.wire).view(request).tool_names
        except BadRequest:
            return None
        if conversation.new:
            return None
        query = _first_human(conversation)
        if not query:
            abstain(call, self.name, "nothing is asked yet by which parts could be chosen")
            return None
        session = Session(query, offered, identity.agent, request.model)
        # Tens of milliseconds for a prompt that was not seen before: then this session goes without, and its parts are
        # known for the next.
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(None, self._alone, call, conversation, session)
        done, _ = await asyncio.wait((work,), timeout=self._settings.wait_s)
        if not done:
            work.add_done_callback(_seen)
            abstain(call, self.name, "the parts of this prompt are being read, for the sessions to come")
            return None
        return work.result()

    def _alone(self, call: Call, conversation: Conversation, session: Session) -> Proposal | None:
        with self._working:
            return self._rewritten(call, conversation, session)

    def _rewritten(self, call: Call, conversation: Conversation, session: Session) -> Proposal | None:
        """Long texts of the system prompt give up what the whole has too much; short ones stay as they are."""
        settings = self._settings
        texts = [(place, block.text, self._tokenizer.count(block.text)) for place, block in _instructions(conversation)]
        whole = sum(tokens for _, _, tokens in texts)
        long = sum(tokens for _, _, tokens in texts if tokens >= settings.least_tokens)
        budget = settings.budget_tokens or min(round(settings.share * whole), settings.most_tokens)
        room = max(budget - (whole - long), long // 4)
        edits: list[Edit] = []
        made: list[Assembled] = []
        for place, text, tokens in texts:
            if tokens < settings.least_tokens:
                continue
            form = assemble(
                self._modules(text), session, count=self._tokenizer.count, budget_tokens=round(room * tokens / long)
            )
            if form.tokens_after < tokens:
                edits.append(Edit(place, form.text))
                made.append(form)
        if not edits:
            return None
        saved = sum(form.tokens_before - form.tokens_after for form in made)
        rates = self._economy.rates(call.target, call.at)
        saving = round(rates.of(saved)[0] * saved) if rates is not None else 0
        left = [title.rsplit(" / ", 1)[-1] for form in made for title in form.dropped]
        why = f"system prompt in parts: {saved:,} tokens fewer, {len(left)} parts left out"
        return Proposal(Rewrite(tuple(edits)), saving=saving, why=why, risk=RISK, level="max", tokens=saved)

    def _modules(self, text: str) -> tuple[Module, ...]:
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._cut.get(key)
        if known is None:
            known = self._cut[key] = split(text)
            if len(self._cut) > _PROMPTS:
                self._cut.popitem(last=False)
        else:
            self._cut.move_to_end(key)
        return known

    async def settle(self, outcome: Outcome) -> None:
        """Counts what the session has used, once each."""
        call = outcome.call
        identity = call.identity
        if not self._settings.usage or not identity.session or identity.housekeeping is not None:
            return
        if call.original.operation is not Operation.GENERATE or not 200 <= outcome.status < 300:
            return
        names = _used(self._reader, call.original)
        session = f"{identity.tenant}\0{identity.session}"
        before = self._seen.pop(session, None)
        seen = self._seen[session] = before if before is not None else set()
        if len(self._seen) > _SESSIONS:
            self._seen.popitem(last=False)
        new = [SESSIONS] if before is None else []
        new += [name for name in names if name not in seen][: _NAMES - len(seen)]
        for name in new:
            seen.add(name)
            await self._kv.add(usage_key(identity.tenant, identity.agent, name), 1, ttl_s=_KEEP_S)

    def wants_response(self, call: Call) -> bool:
        return False


_LEAST_CHARS_PER_TOKEN = 2
_PROMPTS, _SESSIONS, _NAMES = 64, 5_000, 400
_KEEP_S = 90 * 86_400.0


def _seen(work: asyncio.Future[Proposal | None]) -> None:
    """Take what came of work that nobody waits for any more."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.warning("a prompt could not be taken apart", extra={"error": type(error).__name__})


def _instructions(conversation: Conversation) -> Sequence[tuple[Place, Block]]:
    """The texts of the system prompt, with their places in the body."""
    found: list[tuple[Place, Block]] = [
        (block.place, block) for block in conversation.system if block.place is not None and block.kind == "text"
    ]
    for index, message in enumerate(conversation.messages):
        if message.role != "system":
            break
        found += [(conversation.place(index, b), b) for b in message.blocks if b.kind == "text" and b.place is not None]
    return found


def _first_human(conversation: Conversation) -> str:
    said = [m.text for m in conversation.messages if m.role == "user" and m.text.strip()]
    return "\n".join(said)[:_QUERY_CHARS]


_QUERY_CHARS = 8_000


def _used(reader: Reader, request: Request) -> Sequence[str]:
    try:
        calls = reader.read(request).calls.values()
    except BadRequest:
        return ()
    return sorted(used_in((call.name, call.text) for _, call in calls))
