"""A turn that goes on with a body that was read is given the session that it would be given read alone."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.prefix import Rereading, SessionIndex
from pennyweight.request import Request, Wire

ROLES = ("user", "assistant", "tool")
PAD = "x" * 9_000

# What becomes of the conversation: items are added, put in place of the last ones, taken from the middle or changed.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "other end", "drop", "change", "anew", "again"]),
        st.integers(1, 4),
        st.integers(0, 30),
        st.sampled_from(["a", "b"]),
    ),
    min_size=1,
    max_size=12,
)


def item(number: int, salt: str) -> dict[str, Any]:
    return {"role": ROLES[number % 3], "content": f"{salt} {number}"}


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES]))
def test_sessions_are_told_alike_with_and_without_what_is_known(steps: list[Any], wire: Wire) -> None:
    rereading, with_known, alone = Rereading(), SessionIndex(), SessionIndex()
    said: dict[str, list[dict[str, Any]]] = {}
    for now, (kind, count, place, salt) in enumerate(steps):
        items = said.setdefault(salt, [{"role": "system", "content": PAD}, {"role": "user", "content": salt}])
        if kind == "anew":
            del items[2:]
        elif kind == "other end":
            del items[max(2, len(items) - count) :]
        elif kind == "drop" and len(items) > 4:
            del items[2 + place % (len(items) - 3)]
        elif kind == "change":
            items[1 + place % (len(items) - 1)] = item(place, f"{kind} {now}")
        if kind not in ("anew", "again", "drop"):
            items += [item(len(items) + number, f"{salt} {now}") for number in range(count)]
        name = "messages" if wire is Wire.OPENAI_CHAT else "input"
        raw = json.dumps({"model": "m", name: items, "tools": []}).encode()
        known = Request(wire, raw)
        rereading.read(known, "t")
        session = with_known.session("t", known, now=float(now))
        assert session == alone.session("t", Request(wire, raw), now=float(now))
        assert session


def test_a_conversation_whose_first_user_speaks_late_is_told_alike() -> None:
    rereading, with_known, alone = Rereading(), SessionIndex(), SessionIndex()
    items = [{"role": "system", "content": PAD}, {"role": "assistant", "content": "hello"}]
    for more in ({"role": "assistant", "content": "anybody?"}, {"role": "user", "content": "yes"}):
        items.append(more)
        raw = json.dumps({"model": "m", "messages": items}).encode()
        known = Request(Wire.OPENAI_CHAT, raw)
        rereading.read(known, "t")
        session = with_known.session("t", known, now=1.0)
        assert session == alone.session("t", Request(Wire.OPENAI_CHAT, raw), now=1.0)
