"""What to propose for a session, worked out from its last request. Not fast: it runs in a thread, one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ...errors import BadRequest
from ...references import reference_id
from ...request import Request
from ...text.context import window_of
from ...text.messages import Classifier
from ...text.tokenizers import BpeTokenizer
from ...wire.blocks import Message, Reader
from ...wire.recall_tool import has_tool
from .history import History, read
from .rewriting import Compaction, Rules, compaction, leans
from .settings import Settings
from .triggers import Trigger, trigger

__all__ = ["Prepared", "Worker"]


class Prepared(msgspec.Struct, frozen=True):
    """`messages`: with which the history must begin for the edits to be right. reversible: the recall tool stood in the
    request. waiting: the gate has seen it, and said that it waits."""

    messages: tuple[Message, ...]
    made: Compaction
    trigger: Trigger
    reversible: bool
    waiting: bool = False

    @property
    def why(self) -> str:
        counts = ", ".join(f"{number} {level}" for level, number in self.made.counts().items())
        before, after = self.made.tokens_before, self.made.tokens_after
        return f"{before:,} to {after:,} tokens ({self.trigger.reason}): {counts}"


class Worker:
    """Reads histories. Its memories belong to the one thread that it works in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader = Reader()
        self._classifier = Classifier()
        self._count = BpeTokenizer().count

    def read(self, request: Request) -> History | None:
        try:
            return read(request, self._reader, self._classifier, keep_turns=self._settings.keep_turns)
        except BadRequest:
            return None

    def at_once(self, request: Request, original: Request, tenant: str, session: str) -> Prepared | None:
        """What would be prepared after such a call, for whoever has the time to wait for it."""
        history = self.read(request)
        return None if history is None else self.prepared(request, original, history, tenant, session, {})

    def long_texts(self, history: History) -> list[str]:
        """The old results that are worth a summary by a model."""
        found = []
        for part in history.parts:
            if part.firm or part.kind in ("obsolete", "confirmation"):
                continue
            for at in part.messages:
                blocks = history.conversation.messages[at].blocks
                texts = (block.text for block in blocks if block.kind == "result" and block.place is not None)
                found += [text for text in texts if self._count(text) >= self._settings.summary_tokens]
        return found

    def prepared(
        self,
        request: Request,
        original: Request,
        history: History,
        tenant: str,
        session: str,
        summaries: Mapping[str, str],
    ) -> Prepared | None:
        """None: nothing calls for a compaction, or it would save too little. original: as the caller wrote it."""
        found = self._trigger(request, history)
        if found is None:
            return None
        originals = self._originals(history, original)
        if originals is None:
            return None
        reversible = has_tool(request)
        rules = Rules(
            self._count,
            lambda text: reference_id(tenant, session, text),
            reversible,
            reversible or self._settings.lossy or found.forced,
            summaries=summaries,
            originals=originals,
        )
        made = compaction(request, history, found.budget_tokens, rules)
        if made.tokens_before - made.tokens_after < self._settings.least_share * made.tokens_before:
            return None
        touched = max(at for edit in made.edits for at in edit.path[1:2] if isinstance(at, int))
        return Prepared(history.conversation.messages[: touched + 1], made, found, reversible)

    def _originals(self, history: History, original: Request) -> dict[str, str] | None:
        """Of texts that are sent in another form, by that form, as the caller wrote them. None where that cannot be
        told and is needed, for a text that leans on another."""
        sent = history.conversation.messages
        written = self._reader.read(original).messages
        found: dict[str, str] = {}
        if len(sent) == len(written):
            for now, was in zip(sent, written, strict=True):
                if now is not was and len(now.blocks) == len(was.blocks):
                    pairs = zip(now.blocks, was.blocks, strict=True)
                    found.update({a.text: b.text for a, b in pairs if a.text != b.text and a.kind == b.kind})
        leaning = (block.text for message in sent for block in message.blocks if leans(block.text))
        return found if all(text in found for text in leaning) else None

    def _trigger(self, request: Request, history: History) -> Trigger | None:
        messages = history.conversation.messages
        sizes = [sum(self._count(block.text) for block in message.blocks) for message in messages]
        beside = sum(self._count(block.text) for block in history.conversation.system)
        beside += sum(self._count(bytes(tool).decode("utf-8", "replace")) for tool in request.envelope.tools or ())
        return trigger(
            self._settings,
            tokens=sum(sizes),
            beside_tokens=beside,
            turns=history.turns,
            old_results=self._old_results(history),
            window=window_of(request.model, self._settings.windows),
        )

    def _old_results(self, history: History) -> Sequence[int]:
        free = [at for part in history.parts if not part.firm for at in part.messages]
        blocks = (block for at in free for block in history.conversation.messages[at].blocks if block.kind == "result")
        return [self._count(block.text) for block in blocks]
