"""Scorers made of a model's probabilities, and the learned one."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from pennyweight.errors import StoreError
from pennyweight.text.compression import importance
from pennyweight.text.compression.importance import Both, SelfInformation, open_scorer, thin, words
from pennyweight.text.compression.importance.model import MOST_WORDS, Learned

TEXT = "Hello there, I would like to change the seat of my booking to a window seat on the flight to Boston, please."


def test_a_word_matters_as_much_as_a_model_was_surprised() -> None:
    text = "the cat sat"

    def logprobs(given: str) -> list[tuple[int, int, float]]:
        assert given == text
        return [(0, 3, -1.0), (3, 5, -2.0), (5, 7, -3.0), (7, 11, -1.5)]  # "the", " c", "at", " sat"

    assert list(SelfInformation(logprobs).scores(text, words(text), "")) == [0.0, 1.0, 0.5]


def test_tokens_of_white_space_count_for_no_word() -> None:
    text = "a  b"
    scorer = SelfInformation(lambda _: [(0, 1, -1.0), (1, 3, -9.0), (3, 4, -2.0)])
    assert list(scorer.scores(text, words(text), "")) == [0.0, 1.0]


def test_two_scorers_share_the_say() -> None:
    text = "one cat sat"
    up = SelfInformation(lambda _: [(0, 3, -1.0), (4, 7, -2.0), (8, 11, -3.0)])
    down = SelfInformation(lambda _: [(0, 3, -3.0), (4, 7, -2.0), (8, 11, -1.0)], frozenset({"en", "de"}))
    both = Both(up, down)
    assert list(both.scores(text, words(text), "")) == [0.5, 0.5, 0.5]
    assert both.languages == {"en"}


def test_the_learned_scorer_tells_what_matters_from_what_does_not() -> None:
    found = words(TEXT)
    scores = dict(zip([word.core for word in found], open_scorer().scores(TEXT, found, ""), strict=True))
    assert all(0.0 <= score <= 1.0 and math.isfinite(score) for score in scores.values())
    assert min(scores[word] for word in ("Boston", "booking", "flight", "seat")) > max(
        scores[word] for word in ("the", "of", "to", "I", "would")
    )


def test_what_is_asked_matters_more() -> None:
    text = "\n".join(f"Anna: we talked about the {thing} and how it is made." for thing in ("lamp", "chair", "table"))
    found = words(text)
    at = [word.core for word in found].index("chair")
    scorer = open_scorer()
    assert scorer.scores(text, found, "What was said of the chair?")[at] > scorer.scores(text, found, "")[at]


def test_scores_are_the_same_each_time_and_in_parts() -> None:
    scorer = open_scorer()
    text = f"{TEXT} " * (MOST_WORDS // 15)
    found = words(text)
    assert len(found) > MOST_WORDS
    first = list(scorer.scores(text, found, ""))
    assert first == list(open_scorer().scores(text, found, ""))
    near = range(MOST_WORDS - 4, MOST_WORDS + 4)
    whole = scorer._run(*_inputs(text))
    assert [first[at] for at in near] == pytest.approx([float(whole[at]) for at in near], abs=1e-6)


def _inputs(text: str) -> tuple[object, object]:
    import numpy as np

    from pennyweight.text.compression.importance.features import features

    seen = features(words(text))
    return np.array(seen.looked_up, np.int64), np.array(seen.measures, np.float32)


def test_thinned_by_the_learned_scorer_a_text_still_says_what_matters() -> None:
    out = thin(TEXT, share=0.7, scorer=open_scorer(), context="chatter")
    assert len(out) < 0.8 * len(TEXT)
    for word in ("Hello", "seat", "booking", "flight", "Boston"):
        assert word in out


def test_no_words_need_no_model() -> None:
    assert list(open_scorer().scores("", [], "")) == []


def test_the_model_is_small_and_says_what_it_was_trained_on() -> None:
    folder = Path(importance.__file__).parent
    assert (folder / "model.onnx").stat().st_size < 2_000_000
    told = open_scorer().training
    assert told.languages == ("en",)
    assert "MIT" in told.trained
    assert not any("nq" in name or "recording" in name for name in told.data)


def test_a_damaged_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no word scorer"):
        Learned.open(tmp_path)
    shutil.copy(Path(importance.__file__).parent / "model.json", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"broken")
    with pytest.raises(StoreError, match=r"model\.onnx"):
        Learned.open(tmp_path)
