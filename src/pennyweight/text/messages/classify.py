"""The class of each message of a conversation: by rules on what it is and says, then by what comes after it.

Deterministic, and remembered per message: what a message is by itself never changes, only "obsolete" is found anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from .deeds import Deed, deeds
from .obsolete import Seen, obsolete
from .shape import Class, Turn
from .texts import (
    asks,
    asks_generally,
    chooses,
    consents,
    empty_result,
    failed_result,
    informs,
    looks_like_output,
    pleasantry,
    promises,
    refuses,
    reports,
    requests,
)

__all__ = ["Classifier", "classify"]

_HEAD_CHARS, _TAIL_CHARS = 3_000, 1_000
_SHORT_CHARS = 400


def classify(turns: Sequence[Turn]) -> tuple[Class, ...]:
    """The class of each message, in order; instructions (role "system") count as facts."""
    return Classifier().classify(turns)


class Classifier:
    """Classifies conversations, and remembers the messages that were read last."""

    def __init__(self, *, messages: int = 8_192) -> None:
        self._limit = messages
        self._known: OrderedDict[tuple[Turn, str], Seen] = OrderedDict()

    def classify(self, turns: Sequence[Turn]) -> tuple[Class, ...]:
        seen = self.read(turns)
        gone = obsolete(seen)
        return tuple("obsolete" if at in gone else message.kind for at, message in enumerate(seen))

    def read(self, turns: Sequence[Turn]) -> list[Seen]:
        """What each message is by itself and as an answer to the one before."""
        found: list[Seen] = []
        before, started = "", False
        for turn in turns:
            key = (turn, before if started or turn.role != "user" else "first")
            known = self._known.get(key)
            if known is None:
                known = _seen(turn, key[1])
                self._known[key] = known
                if len(self._known) > self._limit:
                    self._known.popitem(last=False)
            else:
                self._known.move_to_end(key)
            found.append(known)
            started = started or turn.role == "user"
            before = known.asked if turn.role == "assistant" else "" if turn.role == "user" else before
        return found


def _seen(turn: Turn, before: str) -> Seen:
    """before: what the agent's last message wants: "first" (there is none yet), "consent", "input", "ran" or ""."""
    said = "\n".join(block.text for block in turn.blocks if block.kind == "text")
    results = [block for block in turn.blocks if block.kind == "result"]
    if turn.role == "user" and not results and before == "ran" and looks_like_output(said):
        return Seen(_result(said), result=said, failed=failed_result(said))
    if turn.role == "tool" or (results and not said.strip()):
        text = "\n".join(block.text for block in results) or said
        failed = any(block.failed for block in results) or failed_result(text)
        ids = tuple(block.call_id for block in results if block.call_id)
        return Seen(_result(text), result=text, failed=failed, answers=ids)
    shown = said if len(said) <= _HEAD_CHARS + _TAIL_CHARS else f"{said[:_HEAD_CHARS]}\n{said[-_TAIL_CHARS:]}"
    if turn.role == "assistant":
        done = deeds(turn)
        return Seen(_agent(shown, done), deeds=done, asked=_wants(shown, done))
    if turn.role == "system":
        return Seen("fact")
    return Seen("user_intent" if before == "first" else _human(shown, before))


def _result(text: str) -> Class:
    return "confirmation" if empty_result(text) else "tool_output"


def _agent(text: str, done: Sequence[Deed]) -> Class:
    if done:
        return "decision" if any(deed.changes for deed in done) else "reasoning"
    if not text.strip():
        return "reasoning"
    refused, asked = refuses(text), asks(text) and not _only_generally(text)
    if reports(text) and not asked:
        return "decision"
    if refused:
        return "action_item" if asked and not asks_generally(text) else "decision"
    if asked:
        return "action_item"
    if len(text) < _SHORT_CHARS and pleasantry(text):
        return "confirmation"
    return "fact"


def _only_generally(text: str) -> bool:
    """Whether all that a text asks for is whether there is more to do."""
    questions = [line for line in _sentences(text) if asks(line)]
    return all(asks_generally(line) for line in questions)


def _sentences(text: str) -> list[str]:
    return [part for line in text.split("\n") for part in line.replace("? ", "?\n").replace(". ", ".\n").split("\n")]


def _wants(text: str, done: Sequence[Deed]) -> str:
    if done:
        return "ran"
    lower = text.lower()
    if any(word in lower for word in _INPUT_ASKED):
        return "consent" if "proceed" in lower and "provide" not in lower else "input"
    return "consent" if any(word in lower for word in _CONSENT_ASKED) else ""


_INPUT_ASKED = ("provide", "specify", "which one", "which option", "what is", "i'll need", "your user id")
_CONSENT_ASKED = ("confirm", "proceed", "would you like", "shall i", "should i", "do you want", "go ahead")


def _human(text: str, before: str) -> Class:
    if len(text) < _SHORT_CHARS and (pleasantry(text) and not requests(_unpleasant(text)) and not consents(text)):
        if promises(text):
            return "action_item"
        return "confirmation" if not informs(text) else "fact"
    consented = consents(text)
    if consented and before != "input":
        return "decision"
    if chooses(text) and not text.rstrip().endswith("?"):
        return "decision"
    if promises(text):
        return "action_item"
    if informs(text) and (before == "input" or not requests(text)):
        return "fact"
    if consented:
        return "decision"
    return "user_intent"


def _unpleasant(text: str) -> str:
    """A text without the sentences that only thank or greet."""
    return " ".join(line for line in _sentences(text) if not (len(line) < 80 and pleasantry(line)))
