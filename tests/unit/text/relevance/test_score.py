import asyncio
import math
from array import array
from collections.abc import Sequence

import pytest

from pennyweight.errors import StoreError
from pennyweight.text.relevance import EMBED_TOKENS, prepared, score, score_with, select_with
from pennyweight.text.relevance.bm25 import Index
from pennyweight.text.relevance.passages import Passages
from pennyweight.text.relevance.talk import FEATURES, FEATURES_WITH_VECTORS, Talk
from pennyweight.text.relevance.vectors import gather, size
from pennyweight.text.relevance.weights import weights

CHAT = (
    [("Ann", "Good morning, did you all sleep well?")] * 10
    + [("Ann", "Now the battery."), ("Bob", "It lasts two hours."), ("Cy", "We should take a bigger one then.")]
    + [("Bob", "The rain does not stop these days.")] * 10
)
SAID = [text for _, text in CHAT]
SPEAKERS = [speaker for speaker, _ in CHAT]

# Meanings as axes, so that a question and its answer need no word in common.
MEANINGS = [
    ("battery", "power", "energy", "hours"),
    ("rain", "weather", "storm"),
    ("morning", "sleep"),
    ("city", "town"),
]


def embed(texts: Sequence[str]) -> list[list[float]]:
    rows = []
    for text in texts:
        row = [float(sum(word in text.lower() for word in axis)) for axis in MEANINGS] + [0.1]
        length = math.sqrt(sum(value * value for value in row))
        rows.append([value / length for value in row])
    return rows


class Embeds:
    """An Embedder that reads 500 characters."""

    fingerprint = "axes"
    dimensions = 5

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.asked: list[str] = []

    async def embed(self, text: str) -> bytes:
        self.asked.append(text)
        if self.down or len(text) > 500:
            raise StoreError("A text is too long for the embedder.")
        return array("f", embed([text])[0]).tobytes()


def best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


def test_neighbours_of_a_match_come_before_what_is_far() -> None:
    tokens = [100] * len(SAID)  # so that every turn is a window of its own
    scores = score(SAID, "What about the battery?", shape="talk", tokens=tokens)
    assert best(scores) == 10
    assert scores[11] > scores[2]
    assert scores[11] > scores[20]


def test_who_is_named_counts() -> None:
    tokens = [200] * len(SAID)
    without = score(SAID, "What did Bob say?", shape="talk", tokens=tokens)
    named = score(SAID, "What did Bob say?", shape="talk", tokens=tokens, speakers=SPEAKERS)
    assert named[18] > named[3]
    assert len(set(named)) > len(set(without)) or named != without


def test_a_speaker_whose_name_is_a_plain_word_is_named_only_as_it_is_spelled() -> None:
    speakers = ["A" if at < 12 else "B" for at in range(len(SAID))]
    one = score(SAID, "What did A think?", shape="talk", speakers=speakers)
    other = score(SAID, "What was a reason to think?", shape="talk", speakers=speakers)
    assert one[2] > one[20]
    assert sorted(other) != sorted(one)
    assert abs(other[0] - other[-1]) < 0.1  # nobody is named: both ends


@pytest.mark.parametrize("shape", ["talk", "passages"])
def test_vectors_find_what_words_do_not(shape: str) -> None:
    if shape == "talk":
        scores = score(SAID, "How much energy is there?", shape="talk", tokens=[100] * len(SAID), embed=embed)
        assert 10 <= best(scores) <= 12
    else:
        assert best(score(SAID[9:16], "How much energy is there?", embed=embed, groups=[0, 1, 2, 3, 4, 5, 6])) in (1, 2)


def test_a_title_stands_for_what_sentences_call_it() -> None:
    texts = ["It has two million people.", "It is old.", "It has five people.", "It is new."]
    scores = score(texts, "people of Hamburg", groups=[0, 0, 1, 1], titles=["Lübeck", "Hamburg"])
    assert best(scores) == 2


def test_a_title_that_matches_lifts_its_passage() -> None:
    texts = ["Near Bremen harbour it rains.", "Near this harbour it rains."]
    scores = score(texts, "Bremen", groups=[0, 1], titles=["Lübeck", "Bremen"])
    assert scores[1] > scores[0]


def test_a_sentence_counts_by_its_passage() -> None:
    texts = ["The battery lasts hours.", "Ann made it.", "The town is far.", "Ann made it."]
    scores = score(texts, "What about power?", embed=embed, groups=[0, 0, 1, 1])
    assert scores[1] > scores[3]


def test_an_embedder_that_is_down_is_not_asked_for_every_text() -> None:
    embedder = Embeds(down=True)
    assert asyncio.run(gather(embedder, ["one", "two", "three"])) == [None, None, None]
    assert len(embedder.asked) == 1


def test_no_more_is_embedded_than_was_allowed() -> None:
    for shape in ("talk", "passages"):
        asked: list[str] = []

        def watched(texts: Sequence[str], asked: list[str] = asked) -> list[list[float]]:
            asked.extend(texts)
            return embed(texts)

        many = [f"{text} {at} and more words than that about the batteries" for at, text in enumerate(SAID * 40)]
        score(many, "battery", shape="talk" if shape == "talk" else "passages", embed=watched, embed_tokens=300)
        assert 0 < sum(map(size, asked[1:])) <= 300


def test_an_embedder_that_is_down_leaves_words_to_decide() -> None:
    plain = score(SAID, "What about the battery?", shape="talk")
    found = asyncio.run(score_with(Embeds(down=True), SAID, "What about the battery?", shape="talk"))
    assert found == plain
    chosen = asyncio.run(
        select_with(Embeds(), SAID, "energy", budget_tokens=12, count=lambda text: len(text.split()), shape="passages")
    )
    assert chosen.tokens <= 12


def test_a_text_too_long_for_the_model_is_known_by_its_beginning() -> None:
    (vector,) = asyncio.run(gather(Embeds(), ["battery " * 100]))
    assert list(vector) == list(array("f", embed(["battery"])[0]))


def test_features_have_the_weights_that_are_shipped() -> None:
    assert tuple(weights().words) == FEATURES
    assert tuple(weights().vectors) == FEATURES_WITH_VECTORS
    assert "MIT" in weights().trained_on
    talk = Talk(SAID, "battery?", [9] * len(SAID), speakers=SPEAKERS)
    assert set(talk.features()) == set(FEATURES)
    assert set(talk.features(embed(talk.asks(())))) == set(FEATURES_WITH_VECTORS)


def test_what_was_embedded_of_a_conversation_is_asked_for_again_unchanged() -> None:
    before = Talk(SAID * 5, "battery", [20] * len(SAID) * 5).asks(())
    after = Talk([*(SAID * 5), "And one more."], "battery", [20] * (len(SAID) * 5 + 1)).asks(())
    assert len({*before} - {*after}) <= 1


def test_callers_may_embed_by_themselves() -> None:
    found = prepared(SAID, "energy", shape="passages")
    assert isinstance(found, Passages)
    vectors: list[list[float]] = []
    rounds = 0
    while wanted := found.asks(vectors):
        vectors += embed(wanted)
        rounds += 1
    assert rounds == 2
    assert len(found.scores(vectors)) == len(SAID)
    assert EMBED_TOKENS > 0


def test_bm25_prefers_rare_words_and_short_texts() -> None:
    index = Index([["a", "b"], ["a", "c"], ["a", "b", "d", "e", "f", "g"]])
    assert index.scores({"c": 1.0})[1] > 0 == index.scores({"c": 1.0})[0]
    scores = index.scores({"a": 1.0, "b": 1.0})
    assert scores[0] > scores[2] > scores[1]
    assert index.rarity("c") > index.rarity("a") > index.rarity("unknown") == 0
