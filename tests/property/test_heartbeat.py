"""Whatever a session looks like, a safe repair changes no word but those of a pinned form."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.optimizers.wakes import MARK, STAMP, Session, call, outcome

from pennyweight.call import Call, Proposal
from pennyweight.optimizers.heartbeat import Settings, build
from pennyweight.optimizers.heartbeat.pin import MARKER, first_form, print_of
from pennyweight.prefix import canonical
from pennyweight.request import Wire
from pennyweight.testing.optimizer_contract import ContractParts, flaws

WIRES = [Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES]
words = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20)
turns = st.lists(st.tuples(st.sampled_from(["wake", "woken twice", "speak"]), words, st.booleans()), max_size=8)


def messages(request: Any) -> list[Any]:
    found = request.body.get("messages", request.body.get("input"))
    return found if isinstance(found, list) else []


@settings(max_examples=60, deadline=None)
@given(turns, st.sampled_from(WIRES))
def test_a_session_under_safe(story: list[tuple[str, str, bool]], wire: Wire) -> None:
    optimizer = build(Settings(), ContractParts())
    session = Session(wire)
    sent: dict[str, bytes] = {}  # a user's text to the form in which it went out first
    at = 1_700_000_000.0

    def go(raw: bytes) -> None:
        nonlocal at
        at += 30.0
        made = call(raw, wire, at=at)
        proposal = asyncio.run(optimizer.propose(made))
        check(made, proposal)
        out = made if proposal is None else made.apply(proposal.action)
        for message in messages(out.request):
            sent.setdefault(plain(message), canonical(msgspec.json.encode(message)))
        asyncio.run(optimizer.settle(outcome(out)))

    def check(made: Call, proposal: Proposal | None) -> None:
        assert flaws(made, proposal) == []
        if proposal is None:
            return
        assert proposal.level == "safe"
        after = made.apply(proposal.action).request
        ours, theirs = messages(made.request), messages(after)
        assert len(ours) == len(theirs)
        for before, now in zip(ours, theirs, strict=True):
            a, b = (canonical(msgspec.json.encode(message)) for message in (before, now))
            if a != b:
                assert MARKER.encode() in a
                assert b in sent.values()
        body = {key: value for key, value in made.request.body.items() if key not in ("messages", "input")}
        rest = {key: value for key, value in after.body.items() if key not in ("messages", "input")}
        assert canonical(msgspec.json.encode(_bare(body))) == canonical(msgspec.json.encode(_bare(rest)))

    go(session.ordinary())
    session.answered()
    merging: int | None = None
    for kind, text, merges in story:
        if kind != "speak":
            go(session.wake())
            if kind == "woken twice":
                go(session.wake())
        session.asks(text)
        go(session.ordinary())
        if merging is not None:
            session.merges(merging)
        merging = len(session.messages) - 1 if merges and kind != "speak" else None
        session.answered(text)


def plain(message: Any) -> str:
    return str(message.get("content"))


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key != "cache_control"}
    return value


blocks = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("text"), "text": words}),
        st.fixed_dictionaries({"type": st.just("image"), "source": st.just({"type": "url", "url": "u"})}),
    ),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(words, blocks, st.integers(0, 2), st.booleans())
def test_merging_and_pinning_is_a_round_trip(text: str, behind: list[Any], extra: int, mark: bool) -> None:
    first = {"role": "user", "content": [{"type": "text", "text": f"{STAMP} {text}"}, *behind]}
    marked = {"cache_control": MARK} if mark else {}
    came: list[Any] = [
        {"type": "text", "text": f"{STAMP} {MARKER}"},
        *({"type": "text", "text": MARKER} for _ in range(extra)),
    ]
    came += [{"type": "text", "text": text, **marked}, *behind]
    raw = msgspec.json.encode({"role": "user", "content": came})
    form = first_form(raw, {print_of(msgspec.json.encode(first))})
    assert form is not None
    assert canonical(form) == canonical(msgspec.json.encode(first))
    assert (b'"cache_control"' in form) == mark


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.just(MARKER) | st.just(f"{STAMP} {MARKER}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "role", "content", "cache_control"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_odd_messages_never_raise_and_only_known_forms_come_back(value: Any) -> None:
    raw = msgspec.json.encode(value)
    assert first_form(raw, set()) is None
    known = print_of(raw)
    form = first_form(raw, {known})
    assert form is None or print_of(form) == known
