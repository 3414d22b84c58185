"""The cache doctor over recordings: ten seeded causes with their remedies, and silence on what is healthy."""

from __future__ import annotations

import copy

import msgspec
import pytest
from tests.unit.replay.doctor_seeds import HEALTHY, MORE, TEN, recording, unmarked

from pennyweight.call import Target
from pennyweight.capture.format import Recorded
from pennyweight.identity import identify
from pennyweight.ledger.doctor import Group, grouped, pricing
from pennyweight.prefix import SessionIndex
from pennyweight.prices import open_book, read_overrides
from pennyweight.prices.caching import CacheBook
from pennyweight.replay.demo import demo_session
from pennyweight.replay.doctor import Diagnosis, diagnose
from pennyweight.request import Wire
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer

COUNT = BpeTokenizer().count
BOOK = open_book(overrides=read_overrides([{"model": "fake-model", "input": 1.25, "cache_read": 0.125, "output": 10}]))


def examine(calls: list[Recorded]) -> Diagnosis:
    def resolve(model: str, wire: Wire) -> Target:
        provider = "deepseek" if "deepseek" in model else "openai"
        return Target("anthropic" if model.startswith("claude") else provider, model, wire)

    index = SessionIndex()
    return diagnose(
        calls,
        resolve=resolve,
        identify=lambda request: identify(request, index=index),
        pricing=pricing(BOOK.price),
        rules=CacheBook().rules,
        count=COUNT,
    )


def found(calls: list[Recorded]) -> tuple[Group, ...]:
    return grouped(examine(calls).findings)


@pytest.mark.parametrize("name", [*TEN, *MORE])
def test_a_seeded_cause_is_found_with_its_remedy_and_nothing_else(name: str) -> None:
    build, code, setting = (TEN | MORE)[name]
    groups = found(build())
    assert [group.code for group in groups] == [code]
    assert setting in f"{groups[0].fix} {groups[0].setting}"
    assert groups[0].setting
    assert groups[0].cost is not None
    assert groups[0].cost > 0


def test_there_are_ten() -> None:
    assert len(TEN) == len({code for _, code, _ in TEN.values()}) == 10


@pytest.mark.parametrize("name", ["demo", *HEALTHY])
def test_nothing_is_said_of_a_healthy_session(name: str) -> None:
    assert found(demo_session() if name == "demo" else recording(name)) == ()


def test_agents_with_other_heads_are_not_held_against_each_other() -> None:
    """Two agents of one client at one provider, a minute apart, each with instructions and tools of its own."""
    first = demo_session()[0]
    other = copy.deepcopy(first.body)
    other["system"][0]["text"] = other["system"][0]["text"].replace("a", "e", 1)
    other["tools"] = other["tools"][1:]
    other["messages"] = [{"role": "user", "content": "Something else."}]
    for session in ("one", "two"):  # two conversations, and two agents that share one
        calls = [
            msgspec.structs.replace(first, headers={"x-pennyweight-session": "one"}, at=1_795_000_000.0),
            msgspec.structs.replace(first, headers={"x-pennyweight-session": session}, body=other, at=1_795_000_060.0),
        ]
        assert found(calls) == ()


def test_recordings_without_a_date_are_not_held_against_each_other() -> None:
    assert found([*demo_session(), *(call for name in HEALTHY for call in recording(name))]) == ()


def test_the_setting_is_the_gateways_where_it_can_do_it_and_the_clients_beside_it() -> None:
    findings = examine(TEN["no markers"][0]()).findings
    (here,) = grouped(findings)
    assert here.setting == '[[optimizers]] use = "prompt_cache"'
    assert here.applicable
    (off,) = grouped(findings, on={"off"})
    assert off.setting == 'optimize = "safe"'
    (elsewhere,) = grouped(findings, on={"prompt_cache"})
    assert elsewhere.setting == "pennyweight connect openclaw --write"
    assert not elsewhere.applicable
    (plugin,) = grouped(findings, known=())
    assert plugin.setting == 'agents.defaults.params.cacheRetention: "short"'
    assert not plugin.applicable


def test_what_the_gateway_cannot_move_is_left_to_the_client() -> None:
    within, between = found(TEN["clock"][0]()), found(MORE["ids of sessions"][0]())
    assert within[0].applicable
    assert "call to call" in within[0].title
    assert not between[0].applicable
    assert "conversation to conversation" in between[0].title


def transcript(calls: list[Recorded]) -> list[Recorded]:
    """The calls as agents write them down: the bill and the conversation, but neither head nor marks."""
    cache = PrefixCache(COUNT)
    kept = []
    for call in calls:
        usage = cache.account(call.wire, call.body, at=call.t)
        body = {"model": call.body["model"], "messages": unmarked(call.body["messages"])}
        kept.append(msgspec.structs.replace(call, body=body, usage=usage))
    return kept


def test_a_transcript_without_marks_is_not_told_to_set_some() -> None:
    assert found(transcript(demo_session())) == ()
    (lapsed,) = found(transcript(TEN["ttl"][0]()))
    assert lapsed.code == "ttl_lapsed"


def test_what_is_missed_is_what_marks_would_have_saved() -> None:
    unmarked_session, marked = examine(TEN["no markers"][0]()), examine(demo_session())
    (group,) = grouped(unmarked_session.findings)
    assert group.cost is not None
    assert unmarked_session.prompt_cost - group.cost == pytest.approx(marked.prompt_cost, rel=0.01)
