"""Drops the white space at the ends of lines of a Chat Completions system prompt, the same way on every turn."""

import msgspec

from pennyweight.call import Call, Outcome, Proposal, Rewrite
from pennyweight.request import Charge, Edit, Usage, Wire


class Settings(msgspec.Struct, frozen=True):
    risk: float = 0.001  # a prompt may show code in which such white space means something


class Trim:
    name = "trim"

    def __init__(self, settings, parts):
        self._settings, self._parts = settings, parts

    async def propose(self, call: Call) -> Proposal | None:
        messages = call.request.body.get("messages") if call.request.wire is Wire.OPENAI_CHAT else None
        first = messages[0] if isinstance(messages, list) and messages else None
        if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
            return None
        old = first.get("content")
        if not isinstance(old, str) or (new := "\n".join(map(str.rstrip, old.split("\n")))) == old:
            return None
        tokens = self._parts.tokenizer.count(old) - self._parts.tokenizer.count(new)
        saved = Usage(input_tokens=max(tokens, 0))
        saving = self._parts.book.cost(Charge(call.target.provider, call.target.model, saved, call.at)) or 0
        edit = Edit(("messages", 0, "content"), new)
        why = f"{len(old) - len(new)} characters of white space"
        return Proposal(Rewrite((edit,)), saving, risk=self._settings.risk, why=why, tokens=saved.input_tokens)

    async def settle(self, outcome: Outcome) -> None:
        """It learns nothing."""

    def wants_response(self, call: Call) -> bool:
        return False


def build(settings: Settings, parts) -> Trim:
    return Trim(settings, parts)
