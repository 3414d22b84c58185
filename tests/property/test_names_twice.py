"""A name that comes twice in a body: whichever of the two a provider reads, nobody gets another question's answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.backends.coalesce import share_key
from pennyweight.call import Call
from pennyweight.optimizers.exact_cache import NOT_IN_KEY, Settings, build, cache_key
from pennyweight.optimizers.exact_cache.optimizer import ExactCache
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts
from pennyweight.wire.questions import Question, eligible, fingerprint

Members = list[tuple[str, Any]]


class Object:
    """A JSON object as it is written: its members in order, a name as often as it is there."""

    def __init__(self, members: Members) -> None:
        self.members = members

    def __repr__(self) -> str:
        return written(self)


def written(value: Any) -> str:
    match value:
        case Object():
            return "{" + ",".join(f"{json.dumps(name)}:{written(inner)}" for name, inner in value.members) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
        case _:
            return json.dumps(value)


def read(raw: str, *, first: bool) -> Any:
    """As a parser reads it that takes the first of two, or the last."""
    return json.loads(raw, object_pairs_hook=lambda pairs: dict(reversed(pairs)) if first else dict(pairs))


def objects(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    return st.lists(st.tuples(st.sampled_from(names), values), max_size=4).map(Object)


TEXTS = st.sampled_from(["one", "two"])
PARTS = st.builds(
    lambda text, more: Object([*more, ("type", "text"), ("text", text)]),
    TEXTS,
    st.lists(st.tuples(st.sampled_from(["type", "text"]), st.just("text") | TEXTS), max_size=1),
)
CONTENTS = TEXTS | st.lists(PARTS, min_size=1, max_size=1)
MESSAGES = st.builds(
    lambda content, more, end: Object([*more, ("role", "user"), ("content", content)][:: -1 if end else 1]),
    CONTENTS,
    st.lists(st.tuples(st.sampled_from(["role", "content", "name"]), st.just("user") | CONTENTS), max_size=1),
    st.booleans(),
)
LISTS = st.lists(MESSAGES, min_size=1, max_size=2)
FORMS = objects(["type", "a"], TEXTS | objects(["a", "b"], TEXTS))
BODIES = st.builds(
    lambda members, front: Object([*members, ("temperature", 0)] if front else [("temperature", 0), *members]),
    st.lists(
        st.tuples(st.just("messages"), LISTS)
        | st.tuples(st.just("response_format"), FORMS)
        | st.tuples(st.sampled_from(["model", "stop"]), TEXTS)
        | st.tuples(st.just("stream"), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)


def exact(call: Call) -> Any:
    cache: ExactCache = build(Settings(), ContractParts())
    candidate = cache._candidate(call)
    return None if candidate is None else cache_key(call, candidate.fields)


def alike(call: Call) -> Any:
    """What two calls have in common that share answers by the sense of their text, here: by the text itself."""
    found = eligible(call.original, sampled=True, most_chars=99)
    return (fingerprint(call, found), found.text) if isinstance(found, Question) else None


def asked(body: Object, *, first: bool) -> str:
    """What the provider is asked, as it reads it, whichever way the answer travels and members at the top stand."""
    found = read(written(body), first=first)
    return json.dumps(sorted((name, json.dumps(value)) for name, value in found.items() if name not in NOT_IN_KEY))


def known(body: Object, name: Callable[[Call], Any]) -> Any:
    return name(make_call(written(body).encode(), model="m"))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", [exact, alike, share_key], ids=["exact", "alike", "fused"])
def test_calls_that_share_an_answer_ask_the_same(name: Callable[[Call], Any], first: bool) -> None:
    met = 0

    @given(BODIES, BODIES, st.booleans())
    def check(one: Object, other: Object, again: bool) -> None:
        nonlocal met
        if again:  # the same, but for one member that comes once more before it
            other = Object([other.members[0], *one.members])
        key = known(one, name)
        if key is not None and key == known(other, name):
            met += 1
            assert sorted_within(asked(one, first=first)) == sorted_within(asked(other, first=first))

    def sorted_within(text: str) -> str:
        # Members of the newest message may stand in any order: no model sees them.
        return json.dumps([[n, json.loads(v)] for n, v in json.loads(text)], sort_keys=True) if name is alike else text

    check()
    assert met, "nothing was compared"


@pytest.mark.parametrize(
    "raw",
    [
        '{"temperature":0,"messages":[{"role":"user","content":"one"}],"messages":[{"role":"user","content":"two"}]}',
        '{"temperature":0, "temperature": 0, "messages":[{"role":"user","content":"one"}]}',
        r'{"temperature":0,"messages":[{"role":"user","content":"one"}],"mess\u0061ges":[]}',
    ],
)
def test_a_name_twice_at_the_top_is_never_kept(raw: str) -> None:
    call = make_call(raw.encode(), model="m")
    assert exact(call) is None
    assert alike(call) is None


@pytest.mark.parametrize(
    "message",
    [
        '{"role":"user","content":"one","content":"two"}',
        '{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}',
    ],
)
def test_a_text_twice_in_the_newest_message_is_shared_with_its_like_alone(message: str) -> None:
    call = make_call(f'{{"temperature":0,"messages":[{message}]}}'.encode(), model="m")
    assert alike(call) is None
    assert exact(call) is not None  # by its bytes
