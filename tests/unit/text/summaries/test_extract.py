import pytest

from pennyweight.text.relevance import sentences
from pennyweight.text.summaries import Summary, checked, extend, summarize

FILLER = {
    "english": "The weather was nice and people talked about their holidays for a while. ",
    "german": "Das Wetter war schön und alle redeten eine Weile über ihren Urlaub. ",
    "hindi": "मौसम अच्छा था और लोग देर तक छुट्टियों की बातें करते रहे। ",
    "chinese": "天气很好，大家聊了一会儿假期的事情。",
}
SAID = {
    "english": "We decided to use Postgres for the ledger. Maria will send the invoice RE-2024-17 by Friday. ",
    "german": "Wir haben beschlossen, Postgres zu nehmen. Maria muss die Rechnung RE-2024-17 bis Freitag senden. ",
    "hindi": "हमने Postgres लेने का निर्णय किया। मारिया शुक्रवार तक चालान RE-2024-17 भेजेगी। ",
    "chinese": "我们决定使用Postgres。王丽负责在周五之前发送发票RE-2024-17。",
}


def count(text: str) -> int:
    """Words, and characters of scripts without spaces."""
    return sum(1 for c in text if ord(c) > 0x2E80) + len(text.split())


@pytest.mark.parametrize("language", SAID)
def test_decisions_and_duties_are_kept(language: str) -> None:
    text = FILLER[language] * 4 + SAID[language] + FILLER[language] * 4
    found = summarize(text, budget_tokens=60, count=count)
    assert found.tokens == count(found.text) <= 60
    for sentence in sentences(SAID[language]):
        assert sentence.strip() in found.text


@pytest.mark.parametrize("language", SAID)
def test_a_decision_counts_for_itself(language: str) -> None:
    """Long sentences of frequent words beside a short one that decides: in each language."""
    decided = sentences(SAID[language])[0]
    text = decided + " ".join(f"{FILLER[language].strip()[:-1]} Postgres {word}. " for word in ("one", "two", "three"))
    assert decided.strip() in summarize(text[::1], budget_tokens=count(decided) * 3, count=count).text


@pytest.mark.parametrize("language", SAID)
def test_a_summary_says_nothing_new(language: str) -> None:
    text = FILLER[language] * 4 + SAID[language]
    for budget in (10, 30, 60):
        found = summarize(text, budget_tokens=budget, count=count)
        assert checked(found.text, text) == ()
        assert all(sentence in text for sentence in found.sentences)


def test_a_text_that_fits_comes_back_whole() -> None:
    assert summarize(" One. Two.\n", budget_tokens=10, count=count).text == "One. Two."


def test_the_same_is_said_once() -> None:
    found = summarize("The server is down again today. " * 20, budget_tokens=30, count=count)
    assert found.text.count("server is down") == 1


def test_what_was_said_makes_room_for_what_was_not() -> None:
    about = " ".join(f"The server ran out of memory at {when}." for when in ("night", "noon", "dawn"))
    other = "Lunch was cold and the soup had gone."
    found = summarize(f"{about} {other}", budget_tokens=20, count=count)
    assert other in found.text
    assert found.text.count("server") == 1


def test_what_is_asked_comes_first() -> None:
    text = (
        "Lunch is at noon in the garden. The door code is kept by Tom. Trains leave every hour. " * 1
        + FILLER["english"] * 3
    )
    found = summarize(text, budget_tokens=12, count=count, query="Who keeps the code of the door?")
    assert "door code is kept by Tom" in found.text


def test_what_is_named_and_not_said_is_listed() -> None:
    text = (
        FILLER["english"] * 3
        + "Look at src/app/main.py, which is long and says very little of any interest to us all. "
    )
    found = summarize(text, budget_tokens=30, count=count)
    assert "src/app/main.py" in found.text


def test_a_summary_goes_on_without_the_old_text() -> None:
    first = summarize(FILLER["english"] * 5 + SAID["english"], budget_tokens=50, count=count)
    second = extend(first, FILLER["english"] * 3 + "It was agreed to drop Redis. ", budget_tokens=50, count=count)
    assert "decided to use Postgres" in second.text
    assert "agreed to drop Redis" in second.text
    assert second.text.index("Postgres") < second.text.index("Redis")
    assert second.tokens <= 50


def test_what_is_carried_does_not_grow_with_the_session() -> None:
    found = Summary("", 0)
    for turn in range(60):
        text = " ".join(f"Step{turn}x{i} wrote file_{turn}_{i}.py." for i in range(40))
        found = extend(found, text, budget_tokens=80, count=count)
    assert len(found.named) <= 200
    assert len(found.counts) <= 2_000
    assert found.tokens <= 80


def test_no_room_no_text() -> None:
    assert summarize("Some words that do not fit here.", budget_tokens=0, count=count).text == ""
    assert summarize("", budget_tokens=10, count=count) == Summary("", 0)
