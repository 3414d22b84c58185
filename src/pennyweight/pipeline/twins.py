"""Equal calls of one session that are on their way at the same time go out in one form, whoever is consulted on first.

What optimizers make of a call depends on what they know at that moment, so two equal ones could go out in two forms.
Then neither would share the other's answer, and the provider would be paid for both.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..call import GOING, Call
from ..economy import CHOICE, REFERENCE
from ..references import FACT
from ..wire.sameness import origin

__all__ = ["Place", "Twins"]

_FACTS = ("rewritten", REFERENCE, GOING, FACT, CHOICE, "routing", "fallbacks")
"""The keys of `Call.facts` that tell of a form what those who send, bill and learn need to know."""


class _Form:
    """What was made of a call when optimizers had been asked. under_way: how many calls in it have not ended."""

    __slots__ = ("_asked", "_consulted", "_facts", "_origin", "under_way")

    def __init__(self, asked: Call, consulted: Call) -> None:
        self._asked = asked
        self._consulted = consulted
        self._facts = {name: asked.facts[name] for name in _FACTS if name in asked.facts}
        self._origin: bytes | None = None
        self.under_way = 0

    def fits(self, call: Call) -> bool:
        """Whether that call asked the same, in the same words, of the same upstream."""
        ours = self._asked
        if ours.optimize != call.optimize or ours.identity != call.identity or ours.original.raw != call.original.raw:
            return False
        if self._origin is None:
            self._origin = origin(ours, ours.original)
        return self._origin == origin(call, call.original) and _wishes(ours) == _wishes(call)

    def given_to(self, asked: Call, consulted: Call) -> Call:
        """The call in this form; what it cost to ask optimizers about it stays."""
        ours = self._consulted
        if ours.request.raw == consulted.request.raw and ours.target == consulted.target:
            return consulted
        request = asked.original
        if ours.rewritten:
            request = msgspec.structs.replace(ours.request, headers=request.headers)
            request.told(asked.original.fields, asked.original.room)
        facts = asked.facts
        for name in _FACTS:
            facts.pop(name, None)
        facts.update(self._facts)
        spent = {step.optimizer: step.spent for step in consulted.trail}
        return msgspec.structs.replace(
            consulted,
            request=request,
            target=ours.target,
            credential=asked.credential if ours.target.provider == asked.target.provider else None,
            rungs=ours.rungs,
            trail=tuple([msgspec.structs.replace(step, spent=spent.get(step.optimizer, 0)) for step in ours.trail]),
        )


class _Row:
    """The calls of one session whose bodies are of one length. asking: of how many optimizers are being asked."""

    __slots__ = ("asking", "forms")

    def __init__(self) -> None:
        self.asking = 0
        self.forms: list[_Form] = []


class Place:
    """One call's among its equals. Tell it when optimizers were `asked`, and when the call has `ended`."""

    __slots__ = ("_call", "_form", "_key", "_rows")

    def __init__(self, rows: dict[Any, _Row], key: Any, call: Call) -> None:
        self._rows = rows
        self._key = key
        self._call = call
        self._form: _Form | None = None

    def asked(self, consulted: Call | None) -> Call | None:
        """The call as it should go out. None: it does not, for it was answered or has failed."""
        row = self._rows[self._key]
        row.asking -= 1
        if consulted is not None:
            form = next((known for known in row.forms if known.fits(self._call)), None)
            if form is None:
                form = _Form(self._call, consulted)
                row.forms.append(form)
            else:
                consulted = form.given_to(self._call, consulted)
            form.under_way += 1
            self._form = form
        self._tidy(row)
        return consulted

    def ended(self, _reply: object = None) -> None:
        form, self._form = self._form, None
        if form is not None:
            form.under_way -= 1
            self._tidy(self._rows[self._key])

    def _tidy(self, row: _Row) -> None:
        """Those who were asking when a form ended may still be given it; then nobody needs it."""
        if row.asking:
            return
        row.forms = [form for form in row.forms if form.under_way]
        if not row.forms:
            self._rows.pop(self._key, None)


class Twins:
    """The calls that are on their way."""

    def __init__(self) -> None:
        self._rows: dict[Any, _Row] = {}

    def enter(self, call: Call) -> Place:
        """To be told before optimizers are asked."""
        key = call.identity.tenant, call.identity.session, len(call.original.raw)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row()
        row.asking += 1
        return Place(self._rows, key, call)


def _wishes(call: Call) -> list[tuple[str, str]]:
    """What its headers ask of us."""
    return [header for header in call.original.headers if header[0].startswith("x-pennyweight-")]
