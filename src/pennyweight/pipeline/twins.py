"""Equal calls of one session that are on their way at the same time go out in one form, whoever is consulted on first.

What optimizers make of a call depends on what they know at that moment, so two equal ones could go out in two forms.
Then neither would share the other's answer, and the provider would be paid for both.
"""

from __future__ import annotations

import msgspec

from ..call import GOING, REFUSED, Call
from ..economy import CHOICE, REFERENCE
from ..references import FACT
from ..wire.sameness import origin

__all__ = ["Place", "Twins"]

_FACTS = ("rewritten", REFERENCE, GOING, FACT, CHOICE, "routing", "fallbacks")
"""The keys of `Call.facts` that tell of a form what those who send, bill and learn need to know."""

_Key = tuple[str, str, int]


class Place(msgspec.Struct, eq=False):
    """One call's among those of its session whose bodies are as long. Tell it when optimizers were `asked`, unless they
    gave an answer, and in any case when the call has `ended`."""

    twins: Twins
    key: _Key
    row: list[Place]
    call: Call
    going: Call | None = None  # as it goes out, once optimizers were asked
    over: bool = False

    def asked(self, consulted: Call) -> Call:
        """The call as it should go out."""
        row = self.row
        if len(row) > 1:
            found = next((one for one in row if one.going is not None and one.fits(self.call)), None)
            if found is not None:
                consulted = found.given_to(self.call, consulted)
        self.going = consulted
        if len(row) > 1:
            self._tidy()
        return consulted

    def ended(self, _reply: object = None) -> None:
        if not self.over:
            self.over = True
            self._tidy()

    def _tidy(self) -> None:
        """Who is still being consulted on may be given a form that has ended; then nobody needs it."""
        row = self.row
        for place in row:
            if place.going is None and not place.over:
                return
        row[:] = [place for place in row if not place.over]
        if not row:
            self.twins.rows.pop(self.key, None)

    def fits(self, call: Call) -> bool:
        """Whether that call asked the same, in the same words, of the same upstream."""
        ours = self.call
        if ours.optimize != call.optimize or ours.identity != call.identity or ours.original.raw != call.original.raw:
            return False
        if REFUSED in ours.facts:
            return False
        return origin(ours, ours.original) == origin(call, call.original) and _wishes(ours) == _wishes(call)

    def given_to(self, asked: Call, consulted: Call) -> Call:
        """The call in this one's form; what it cost to ask optimizers about it stays."""
        ours = self.going
        if ours is None or (ours.request.raw == consulted.request.raw and ours.target == consulted.target):
            return consulted
        request = asked.original
        if ours.rewritten:
            request = msgspec.structs.replace(ours.request, headers=request.headers)
            request.told(asked.original.fields, asked.original.room)
        for name in _FACTS:
            asked.facts.pop(name, None)
            if name in ours.facts:
                asked.facts[name] = ours.facts[name]
        spent = {step.optimizer: step.spent for step in consulted.trail}
        return msgspec.structs.replace(
            consulted,
            request=request,
            target=ours.target,
            credential=asked.credential if ours.target.provider == asked.target.provider else None,
            rungs=ours.rungs,
            trail=tuple([msgspec.structs.replace(step, spent=spent.get(step.optimizer, 0)) for step in ours.trail]),
        )


class Twins:
    """The calls that are on their way."""

    def __init__(self) -> None:
        self.rows: dict[_Key, list[Place]] = {}

    def enter(self, call: Call) -> Place:
        """To be told before optimizers are asked."""
        key = call.identity.tenant, call.identity.session, len(call.original.raw)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = []
        place = Place(self, key, row, call)
        row.append(place)
        return place


def _wishes(call: Call) -> list[tuple[str, str]]:
    """What its headers ask of us."""
    return [header for header in call.original.headers if header[0].startswith("x-pennyweight-")]
