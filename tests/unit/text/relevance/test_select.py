from collections.abc import Sequence

from pennyweight.text.relevance import fill, score, select


def count(text: str) -> int:
    return len(text.split())


TEXTS = [
    "The office is in Hamburg.",
    "Payment takes thirty days.",
    "The invoice number is RE-2024-17.",
    "Lunch is at noon.",
    "Invoices are sent by post.",
]


def test_what_is_asked_is_kept_in_its_order() -> None:
    found = select(TEXTS, "What is the number of the invoice?", budget_tokens=10, count=count)
    assert found.kept == (2, 4)
    assert found.tokens == 10
    assert len(found.scores) == len(TEXTS)


def test_nothing_over_the_budget() -> None:
    for budget in range(25):
        assert select(TEXTS, "invoice", budget_tokens=budget, count=count).tokens <= budget


def test_what_must_stay_stays_over_the_budget() -> None:
    assert select(TEXTS, "invoice", budget_tokens=0, count=count, always=[3]).kept == (3,)


def test_what_does_not_fit_gives_way_to_what_does() -> None:
    assert fill([0.9, 0.8, 0.7], [10, 3, 3], 6) == (1, 2)


def test_no_texts() -> None:
    assert select([], "anything", budget_tokens=10, count=count).kept == ()
    assert score([], "anything") == []


def test_a_query_without_words_scores_and_keeps_something() -> None:
    assert select(TEXTS, "?!", budget_tokens=9, count=count).kept


def test_chinese_german_hindi() -> None:
    cases: list[tuple[str, Sequence[str], int]] = [
        ("发票号码是多少", ["办公室在北京。", "发票的号码是一二三。", "午饭在中午。"], 1),
        ("Wie lautet die Rechnungsnummer?", ["Das Büro ist groß.", "Essen gibt es.", "Rechnungsnummer: 17."], 2),
        ("चालान संख्या क्या है", ["दफ़्तर दिल्ली में है।", "खाना दोपहर को है।", "चालान संख्या १७ है।"], 2),
    ]
    for query, texts, right in cases:
        scores = score(texts, query)
        assert max(range(3), key=scores.__getitem__) == right
