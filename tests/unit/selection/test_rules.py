"""The rules: what each learns, what all have in common, and what they refuse."""

from __future__ import annotations

from random import Random

import pytest

from pennyweight.errors import BadRequest
from pennyweight.selection import NAMES, Candidate, Choice, Posterior, Rule, Selector, Utility, selector
from pennyweight.selection.breaker import Breaker
from pennyweight.selection.thompson import Thompson

AGENTS = [Candidate(name) for name in ("a", "b", "c", "d")]


def made(rule: str, seed: int = 0) -> Selector:
    return selector(Rule(rule), Random(seed))  # type: ignore[arg-type]


def play(chooser: Selector, rates: dict[str, float], tasks: int, *, seed: int = 1, kind: str = "code") -> list[str]:
    """Who was chosen, task by task."""
    dice, chosen = Random(seed), []
    for _ in range(tasks):
        choice = chooser.select(kind, [Candidate(name) for name in rates])
        chooser.feedback(choice, 1.0 if dice.random() < rates[choice.name] else 0.0)
        chosen.append(choice.name)
    return chosen


@pytest.mark.parametrize("rule", NAMES)
def test_the_best_is_chosen_most(rule: str) -> None:
    chosen = play(made(rule), {"a": 0.3, "b": 0.5, "c": 0.95, "d": 0.4}, 600)
    assert chosen[300:].count("c") > 150


@pytest.mark.parametrize("rule", NAMES)
def test_the_same_seed_and_the_same_outcomes_make_the_same_choices(rule: str) -> None:
    rates = {"a": 0.6, "b": 0.7, "c": 0.65}
    assert play(made(rule, 5), rates, 200) == play(made(rule, 5), rates, 200)


@pytest.mark.parametrize("rule", NAMES)
def test_what_was_learnt_can_be_dumped_and_taken_up(rule: str) -> None:
    first = made(rule)
    play(first, {"a": 0.2, "b": 0.9, "c": 0.5}, 150)
    second = made(rule)
    second.restore(first.dumped())
    assert second.standings() == first.standings()
    assert play(first, {"a": 0.2, "b": 0.9}, 1)[0] in "ab"
    rest = [Choice("code", "a"), Choice("code", "b"), Choice("code", "new", "b")]
    for choice in rest:
        second.feedback(choice, 1.0)
    assert {one.name for one in second.standings()} == {"a", "b", "c", "new"}


@pytest.mark.parametrize("rule", NAMES)
@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"version":99}', b'{"rule":"other"}'])
def test_a_state_of_something_else_is_refused_and_nothing_changes(rule: str, state: bytes) -> None:
    chooser = made(rule)
    play(chooser, {"a": 0.5, "b": 0.5}, 20)
    before = chooser.standings()
    with pytest.raises(ValueError, match=r"state|records"):
        chooser.restore(state)
    assert chooser.standings() == before


@pytest.mark.parametrize("rule", NAMES)
def test_nobody_to_choose_from_and_senseless_outcomes_are_refused(rule: str) -> None:
    chooser = made(rule)
    with pytest.raises(BadRequest, match="nobody"):
        chooser.select("code", [])
    for success, tokens, latency_s in ((1.5, 0, 0), (-0.1, 0, 0), (float("nan"), 0, 0), (1, -1, 0), (1, 0, -1)):
        with pytest.raises(BadRequest):
            chooser.feedback(Choice("code", "a"), success, tokens=tokens, latency_s=latency_s)
    assert not chooser.standings()


@pytest.mark.parametrize("rule", NAMES)
def test_a_newcomer_gets_a_fair_try(rule: str) -> None:
    chooser = made(rule)
    play(chooser, {"a": 0.5, "b": 0.5}, 300)
    chosen = play(chooser, {"a": 0.5, "b": 0.5, "new": 0.98}, 300)
    assert chosen.count("new") > 40


@pytest.mark.parametrize("rule", NAMES)
def test_one_that_fails_again_and_again_rests_and_is_tried_once_in_a_while(rule: str) -> None:
    chooser = made(rule)
    for _ in range(6):
        chooser.feedback(Choice("code", "a"), 0.0)
    assert next(one for one in chooser.standings() if one.name == "a").resting
    chosen = play(chooser, {"a": 0.0, "b": 0.0001, "c": 0.9}, 50)
    assert "a" not in chosen
    assert chooser.select("code", [Candidate("a")]).name == "a"  # nobody else is there


@pytest.mark.parametrize("rule", NAMES)
def test_types_are_learnt_apart(rule: str) -> None:
    chooser = made(rule)
    for number in range(400):
        kind, right = ("code", "a") if number % 2 else ("maths", "b")
        choice = chooser.select(kind, [Candidate("a"), Candidate("b")])
        chooser.feedback(choice, 1.0 if choice.name == right else 0.0)
    expected = {(one.task_type, one.name): one.expected for one in chooser.standings()}
    assert expected["code", "a"] > expected["code", "b"]
    assert expected["maths", "b"] > expected["maths", "a"]


# --- the posterior ------------------------------------------------------------------------------------------


def test_a_best_one_that_breaks_is_left_soon_and_found_again() -> None:
    chooser = made("posterior")
    play(chooser, {"a": 0.9, "b": 0.6, "c": 0.5}, 800)
    broken = play(chooser, {"a": 0.0, "b": 0.6, "c": 0.5}, 200, seed=2)
    assert broken.count("a") < 30
    back = play(chooser, {"a": 0.9, "b": 0.6, "c": 0.5}, 400, seed=3)
    assert back[200:].count("a") > 120


def test_a_candidate_starts_from_what_its_model_is_known_for() -> None:
    chooser = Posterior(random=Random(0))
    for _ in range(40):
        chooser.feedback(Choice("code", "good-1", "good"), 1.0)
        chooser.feedback(Choice("code", "poor-1", "poor"), 0.0)
    chosen = chooser.select("code", [Candidate("poor-2", "poor"), Candidate("good-2", "good")])
    assert chosen.name == "good-2"
    good, poor = (chooser.select("code", [Candidate(f"{kind}-3", kind)]).expected for kind in ("good", "poor"))
    assert good > poor + 0.15


def test_a_candidate_starts_from_what_it_did_in_other_types() -> None:
    chooser = Posterior(random=Random(0))
    for _ in range(40):
        chooser.feedback(Choice("code", "a"), 1.0)
        chooser.feedback(Choice("code", "b"), 0.0)
    assert chooser.select("maths", [Candidate("a"), Candidate("b")]).name == "a"


def test_kin_is_heard_less_where_it_told_wrong() -> None:
    def expected_of_a_good_one(contrary: bool) -> float:
        chooser = Posterior(random=Random(0))
        for number in range(30):
            for place in range(4):
                good = place % 2 == 0
                chooser.feedback(Choice("code", f"{number}-{place}"), 1.0 if good else 0.0)
                chooser.feedback(Choice("maths", f"{number}-{place}"), 1.0 if good != contrary else 0.0)
        for _ in range(20):
            chooser.feedback(Choice("code", "x"), 1.0)
        return chooser.select("maths", [Candidate("x")]).expected

    assert expected_of_a_good_one(contrary=False) > expected_of_a_good_one(contrary=True) + 0.1


def test_a_candidate_that_moves_to_another_model_keeps_its_record() -> None:
    chooser = Posterior(random=Random(0))
    for _ in range(30):
        chooser.feedback(Choice("code", "a", "one"), 1.0)
    chooser.feedback(Choice("code", "a", "two"), 1.0)
    (standing,) = chooser.standings()
    assert (standing.model, standing.tried) == ("two", 31)
    assert standing.expected > 0.85


def test_of_strangers_the_one_whose_model_is_called_the_stronger_is_tried_first() -> None:
    strangers = [Candidate("a", "llama-3-8b"), Candidate("b", "gpt-4o"), Candidate("c", "gpt-4o-mini"), Candidate("d")]
    assert {made("posterior", seed).select("code", strangers).name for seed in range(8)} == {"b"}


def test_what_a_name_tells_is_soon_outweighed_by_outcomes() -> None:
    chooser = made("posterior")
    for _ in range(12):
        chooser.feedback(Choice("code", "strong", "gpt-4o"), 0.0)
        chooser.feedback(Choice("code", "weak", "llama-3-8b"), 1.0)
    both = [Candidate("strong", "gpt-4o"), Candidate("weak", "llama-3-8b")]
    assert chooser.select("code", both).name == "weak"


def test_where_all_names_tell_the_same_they_change_nothing() -> None:
    def expected(model: str) -> list[float]:
        chooser = made("posterior")
        for place in range(6):
            chooser.feedback(Choice("code", f"{model}-{place % 3}", f"{model}-{place % 3}"), place % 2)
        return [standing.expected for standing in chooser.standings()]

    assert expected("mixtral") == expected("nobody")  # a middling class, and none


def test_one_that_moves_to_a_model_of_another_class_leaves_no_trace_of_the_old_one() -> None:
    def told(*models: str) -> Selector:
        chooser = made("posterior")
        for model in models:
            for kind in ("code", "prose"):
                chooser.feedback(Choice(kind, "a", model), 1.0)
        return chooser

    def stranger(chooser: Selector) -> float:
        return chooser.select("code", [Candidate("b", "mixtral")]).expected

    moved, stayed = told("gpt-4o", "llama-3-8b"), told("llama-3-8b", "llama-3-8b")
    assert stranger(moved) == pytest.approx(stranger(stayed), abs=0.006)  # priors are held in steps of half a percent


def test_what_is_worth_most_is_learnt_not_only_what_succeeds() -> None:
    chooser = Posterior(random=Random(0), utility=Utility(token_weight=0.5, half_tokens=1000))
    for _ in range(60):
        chooser.feedback(Choice("code", "dear"), 1.0, tokens=20_000, latency_s=4)
        chooser.feedback(Choice("code", "thrifty"), 1.0, tokens=200, latency_s=4)
    assert chooser.select("code", [Candidate("dear"), Candidate("thrifty")]).name == "thrifty"
    dear = next(one for one in chooser.standings() if one.name == "dear")
    assert (dear.success, dear.tokens, dear.latency_s) == (1.0, 20_000.0, 4.0)


def test_partial_successes_count_in_part() -> None:
    chooser = Posterior(random=Random(0))
    for _ in range(80):
        chooser.feedback(Choice("code", "half"), 0.5)
        chooser.feedback(Choice("code", "most"), 0.8)
    half, most = (one.expected for one in sorted(chooser.standings(), key=lambda one: one.name))
    assert half == pytest.approx(0.5, abs=0.06)
    assert most == pytest.approx(0.8, abs=0.06)


# --- the others ---------------------------------------------------------------------------------------------


def test_thompson_begins_anew_after_a_change() -> None:
    chooser = Thompson(random=Random(0), breaker=Breaker(failures=10**6))
    for _ in range(300):
        chooser.feedback(Choice("code", "a"), 1.0)
    for _ in range(30):
        chooser.feedback(Choice("code", "a"), 0.0)
    assert chooser.standings()[0].expected < 0.3


def test_pheromone_of_those_that_are_not_chosen_evaporates() -> None:
    chooser = made("pheromone")
    for _ in range(10):
        chooser.feedback(Choice("code", "a"), 1.0)
    chooser.feedback(Choice("code", "b"), 1.0)
    before = next(one.score for one in chooser.standings() if one.name == "a")
    for _ in range(20):
        chooser.feedback(Choice("code", "b"), 1.0)
    assert next(one.score for one in chooser.standings() if one.name == "a") < before / 2


def test_a_utility_must_make_sense() -> None:
    for wrong in ({"token_weight": 0.7, "latency_weight": 0.5}, {"token_weight": -0.1}, {"half_tokens": 0}):
        with pytest.raises(BadRequest):
            Utility(**wrong)
    assert Utility(0.4, 1000, 0.2, 10).value(1.0, 1000, 10) == pytest.approx(0.7)
    assert Utility(0.4, 1000).value(0.0, 0, 0) == 0.0
