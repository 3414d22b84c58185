"""The cache doctor over recordings: ten seeded causes with their remedies, and silence on what is healthy."""

from __future__ import annotations

import pytest
from tests.unit.replay.doctor_seeds import HEALTHY, MORE, TEN, recording

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
    assert setting in groups[0].setting
    assert groups[0].fix
    assert groups[0].cost is not None
    assert groups[0].cost > 0


def test_there_are_ten() -> None:
    assert len(TEN) == len({code for _, code, _ in TEN.values()}) == 10


@pytest.mark.parametrize("name", ["demo", *HEALTHY])
def test_nothing_is_said_of_a_healthy_session(name: str) -> None:
    assert found(demo_session() if name == "demo" else recording(name)) == ()
