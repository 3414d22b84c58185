"""The whole rule: verifiers, features, acceptor, standing."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.confidence.acceptor import Acceptor, by_hand, train
from pennyweight.routing.confidence.agreement import Agreement
from pennyweight.routing.confidence.checks import complaints, early_complaint, made_up
from pennyweight.routing.confidence.comparisons import Comparison, Kind, standing
from pennyweight.routing.confidence.decision import LEAST_PAIRS, Standing, decide, hopeless
from pennyweight.routing.confidence.entropy import Sureness
from pennyweight.routing.confidence.features import FEATURES, features
from pennyweight.routing.confidence.said import Asked, Said, ToolUse

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "number"}}, "required": ["city"]}
ASKED = Asked("What is the weather in Oslo?", {"get_weather": SCHEMA})
OSLO = Said("", (ToolUse("get_weather", {"city": "Oslo"}),))
BERGEN = Said("", (ToolUse("get_weather", {"city": "Bergen"}),))
WORDS = Said("I need to know more about that before I can say anything of use to you at all.")
KIND = Kind("t", "a", "b", "c")


def learnt(threshold: float | None) -> Standing:
    return Standing(by_hand(), threshold, LEAST_PAIRS)


def test_before_anything_was_learnt_two_have_to_agree() -> None:
    assert decide(OSLO, ASKED, peer=OSLO).keep
    assert not decide(OSLO, ASKED, peer=BERGEN).keep
    assert not decide(OSLO, ASKED).keep
    assert not decide(WORDS, ASKED, peer=WORDS).keep, "of texts it cannot be told"


def test_then_the_score_decides_and_no_peer_is_needed() -> None:
    score = decide(OSLO, ASKED).score
    assert decide(OSLO, ASKED, standing=learnt(score - 0.01)).keep
    assert not decide(OSLO, ASKED, standing=learnt(score)).keep
    assert not decide(OSLO, ASKED, peer=OSLO, standing=learnt(None)).keep


def test_what_a_verifier_refuses_is_kept_by_no_score() -> None:
    wrong = Said("", (ToolUse("get_weather", {}),))
    found = decide(wrong, ASKED, peer=wrong, standing=learnt(-1.0))
    assert (found.keep, found.score) == (False, 0.0)
    assert not decide(wrong, ASKED, mode="verify").keep


def test_a_peer_that_makes_things_up_counts_only_outside_of_a_tool_loop() -> None:
    assert decide(WORDS, ASKED, peer=BERGEN).keep
    assert not decide(WORDS, ASKED, peer=OSLO).keep, "Oslo is what the user said"
    loop = Asked(ASKED.prompt, ASKED.tools, in_loop=True)
    assert not decide(WORDS, loop, peer=BERGEN).keep


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (Asked("How deep is the sea near Oslo?", {"get_weather": SCHEMA}), False),
        (Asked("What is the weather in Oslo?", {"get_weather": SCHEMA}), True),
        (Asked("How deep is the sea near Oslo?", {"get_weather": SCHEMA, "run_code": {}}), True),
        (Asked("How deep is the sea near Oslo?", {"get_weather": SCHEMA}, in_loop=True), True),
        (Asked("奥斯陆附近的海有多深", {"get_weather": SCHEMA}), True),
    ],
)
def test_the_only_tool_there_is_must_have_to_do_with_the_request(asked: Asked, kept: bool) -> None:
    assert decide(OSLO, asked, peer=OSLO).keep is kept


def test_what_is_made_up() -> None:
    assert made_up(OSLO.calls[0], ASKED) == 0.0
    assert made_up(BERGEN.calls[0], ASKED) == 1.0
    assert made_up(ToolUse("get_weather", {"city": "Oslo", "n": 7}), ASKED) == 0.5
    asked = Asked("I pay 1,500 at 5% in New York City", {"get_weather": {"properties": {"k": {"enum": ["zz"]}}}})
    told = ToolUse("get_weather", {"a": 1500, "b": 0.05, "c": "New York", "k": "zz", "t": True, "long": "q" * 80})
    assert made_up(told, asked) == 0.0
    assert made_up(ToolUse("get_weather", {"a": 15}), asked) == 1.0, "15 is part of 1,500 only"


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (Said("Fine.\n```python\nprint(1)\n```"), Asked()),
        (Said("```json\n{...}\n```"), Asked()),
        (Said('{"a": 1}'), Asked(form="json")),
        (OSLO, Asked(tools={"get_weather": None})),
    ],
)
def test_what_nothing_is_wrong_with(said: Said, asked: Asked) -> None:
    assert complaints(said, asked) == []


@pytest.mark.parametrize(
    ("text", "names", "asked", "certain"),
    [
        ("", (), Asked(form="json"), False),
        (' \n{"a', (), Asked(form="json"), False),
        ("```json", (), Asked(form="json"), False),
        ("Sure", (), Asked(form="json"), True),
        ("Sure", (), Asked(), False),
        ("", ("drop",), ASKED, True),
        ("Sure", ("get_weather",), ASKED, False),
    ],
)
def test_what_is_certain_early(text: str, names: tuple[str, ...], asked: Asked, certain: bool) -> None:
    assert bool(early_complaint(text, names, asked)) == certain


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_an_early_complaint_stays_one(head: str, tail: str) -> None:
    asked = Asked(form="json")
    if early_complaint(head, (), asked):
        assert complaints(Said(head + tail), asked)


def test_when_asking_the_cheap_target_is_money_for_nothing() -> None:
    assert hopeless(None, peer=False, mode="bound")
    assert not hopeless(None, peer=True, mode="bound")
    assert not hopeless(learnt(0.5), peer=False, mode="bound")
    assert hopeless(learnt(None), peer=True, mode="bound")
    assert not hopeless(learnt(None), peer=False, mode="verify")


def test_what_keeps_less_than_it_costs_is_not_asked() -> None:
    dear = [Comparison(c.at, c.kind, c.features, c.keepable, c.same, c.id, first=30, last=100) for c in mixed(0.2)]
    cheap = [Comparison(c.at, c.kind, c.features, c.keepable, c.same, c.id, first=10, last=100) for c in mixed(0.2)]
    assert of(dear).price == pytest.approx(0.3)
    assert "asking it first costs 30%" in hopeless(of(dear), peer=True, mode="bound")
    assert not hopeless(of(cheap), peer=True, mode="bound")
    assert not hopeless(of(mixed(0.2)), peer=True, mode="bound"), "nothing is known of what it costs"


def mixed(share: float) -> list[Comparison]:
    """Of 500 the given share tell themselves as good; among the rest every second one is lost."""
    good = int(500 * share)
    rest = 500 - good
    bad = [pairs(1, same=i % 2 == 0, sure=-1.0, first=1_000 + i)[0] for i in range(rest)]
    return pairs(good, same=True) + bad


def test_features_are_as_many_as_their_names_and_small() -> None:
    found = features(OSLO, ASKED, peer=BERGEN, sure=Sureness(0.1, 0.9, 5))
    assert len(found) == len(FEATURES)
    assert all(-1.0 <= value <= 1.0 for value in found)
    told = dict(zip(FEATURES, found, strict=True))
    assert (told["disagrees"], told["agrees"], told["sure_known"]) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("better", "worse"),
    [({"peer": OSLO}, {"peer": BERGEN}), ({"sure": Sureness(0.0, 1.0, 9)}, {"sure": Sureness(1.2, 0.1, 9)})],
)
def test_weights_set_by_hand_point_the_right_way(better: dict[str, Any], worse: dict[str, Any]) -> None:
    assert decide(OSLO, ASKED, **better).score > decide(OSLO, ASKED, **worse).score


# --- training ---------------------------------------------------------------------------------------------


def drawn(count: int, seed: int) -> tuple[list[tuple[float, ...]], list[bool]]:
    """Answers whose being right hangs on `sure` and on nothing else."""
    draw = random.Random(seed)
    at = FEATURES.index("sure")
    rows = [tuple(draw.uniform(-1, 1) if i in (at, 0) else 0.0 for i in range(len(FEATURES))) for _ in range(count)]
    return rows, [draw.random() < 0.5 + 0.45 * row[at] for row in rows]


def test_training_finds_what_matters() -> None:
    acceptor = train(*drawn(600, 1))
    weights = dict(zip(("constant", *FEATURES), acceptor.weights, strict=True))
    assert weights["sure"] > 1.5
    assert abs(weights["agrees"]) < 0.5
    assert weights["calls"] == 0.0, "of what never varied nothing is learnt"
    assert acceptor.rows == 600
    rows, right = drawn(400, 2)
    ranked = sorted(zip(map(acceptor.score, rows), right, strict=True), reverse=True)
    assert sum(good for _, good in ranked[:100]) > sum(good for _, good in ranked[-100:]) + 40


@pytest.mark.parametrize("right", [[], [True] * 5, [False] * 5])
def test_one_class_teaches_nothing(right: list[bool]) -> None:
    with pytest.raises(ValueError, match="two kinds"):
        train([(0.0,) * len(FEATURES)] * len(right), right)


def test_rows_and_outcomes_belong_together() -> None:
    with pytest.raises(ValueError):
        train([(0.0,) * len(FEATURES)], [])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=18, max_size=18), st.booleans())))
def test_training_never_fails_and_gives_numbers(rows: list[tuple[list[float], bool]]) -> None:
    width = len(FEATURES)
    if len({good for _, good in rows}) == 2:
        acceptor = train([tuple(row[:width] + [0.0] * (width - len(row))) for row, _ in rows], [g for _, g in rows])
        assert all(abs(weight) < 1e6 for weight in acceptor.weights)


# --- what comparisons say ---------------------------------------------------------------------------------


def pairs(count: int, *, same: bool, task: str = "", sure: float = 1.0, first: int = 1) -> list[Comparison]:
    signs = tuple(sure if name == "sure" else 0.0 for name in FEATURES)
    kind = Kind("t", "a", "b", "c", task)
    return [Comparison(float(i), kind, signs, keepable=True, same=same, id=first + i) for i in range(count)]


def of(found: list[Comparison], task: str = "", **more: Any) -> Standing:
    return standing(found, task, epsilon=0.02, delta=0.1, **more)


def test_too_few_comparisons_are_no_standing() -> None:
    assert not of(pairs(LEAST_PAIRS - 1, same=True)).learnt
    assert of(pairs(LEAST_PAIRS, same=True)).threshold is not None


def test_losses_raise_the_bar() -> None:
    found = of(pairs(300, same=True) + pairs(50, same=False, sure=-1.0, first=500))
    assert found.threshold is not None
    good, bad = pairs(1, same=True)[0].features, pairs(1, same=True, sure=-1.0)[0].features
    assert by_hand().score(good) > found.threshold >= by_hand().score(bad)


def test_a_task_counts_by_itself_where_it_can() -> None:
    rows = pairs(300, same=True, task="code") + pairs(300, same=False, task="maths", first=400)
    code, maths, other = of(rows, "code"), of(rows, "maths"), of(rows, "summary")
    assert code.threshold is not None
    assert code.threshold < 0.01
    assert (code.pairs, maths.pairs, other.pairs) == (300, 300, 600)
    assert other.threshold == by_hand().score(pairs(1, same=True)[0].features), "all look alike, and half were lost"


def test_what_was_learnt_from_is_not_judged_by() -> None:
    rows = pairs(300, same=True) + pairs(150, same=True, first=301)
    trained = Acceptor(by_hand().weights, 300)
    assert not of(rows, trained=(trained, 300)).learnt
    assert of(rows, trained=(trained, 200)).learnt
    assert of(rows, trained=(Acceptor((1.0,), 9, ("old",)), 300)).pairs == 450, "of another version: as if not trained"


def test_what_no_verifier_passes_is_no_loss() -> None:
    refused = [Comparison(1.0, KIND, (0.0,) * len(FEATURES), keepable=False, same=False, id=i) for i in range(1, 250)]
    assert of(refused).threshold == float("-inf")


def test_agreement_tells_its_share() -> None:
    assert Agreement(None, "text").share == 0.0
