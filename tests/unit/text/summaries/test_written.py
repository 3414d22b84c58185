import asyncio

from pennyweight.text.summaries import written

SOURCE = (
    "Alice Smith moved the ledger to Postgres on Monday. The migration took 45 minutes and touched 12 tables. "
    "Nobody noticed. We decided to drop Redis. The rest of the meeting was about lunch and holidays."
)


def count(text: str) -> int:
    return len(text.split())


class Says:
    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: dict[str, object] = {}

    async def __call__(self, text: str, *, tokens: int, query: str, before: str) -> str:
        self.asked = {"tokens": tokens, "query": query, "before": before}
        return self.text


class Fails:
    async def __call__(self, text: str, *, tokens: int, query: str, before: str) -> str:
        raise RuntimeError("no model")


def test_words_that_pass_are_taken() -> None:
    model = Says("Alice Smith moved the ledger to Postgres in 45 minutes.")
    found = asyncio.run(written(model, SOURCE, budget_tokens=20, count=count, query="ledger", before="Redis was slow."))
    assert (found.text, found.by, found.problems) == (model.text, "model", ())
    assert model.asked == {"tokens": 20, "query": "ledger", "before": "Redis was slow."}


def test_a_sentence_that_fails_is_left_out() -> None:
    model = Says(
        "The ledger moved to Postgres on Monday. It took 54 minutes. Alice Smith did it, and Redis is dropped."
    )
    found = asyncio.run(written(model, SOURCE, budget_tokens=30, count=count))
    assert found.by == "model, mended"
    assert "54" not in found.text
    assert [problem.value for problem in found.problems] == ["54"]


def test_a_summary_that_fails_is_replaced_by_the_texts_own_sentences() -> None:
    found = asyncio.run(written(Says("Bob moved it to MySQL in 54 minutes."), SOURCE, budget_tokens=20, count=count))
    assert found.by == "extract"
    assert "decided to drop Redis" in found.text
    assert found.tokens <= 20


def test_one_true_sentence_does_not_save_a_summary_that_is_wrong() -> None:
    model = Says("Nobody noticed. Bob moved it all to MySQL in 54 minutes, and 99 tables of it were lost for ever.")
    assert asyncio.run(written(model, SOURCE, budget_tokens=30, count=count)).by == "extract"


def test_a_model_that_fails_costs_nothing_but_its_words() -> None:
    for model in (Fails(), Says("")):
        found = asyncio.run(written(model, SOURCE, budget_tokens=20, count=count))
        assert found.by == "extract"
        assert found.text


def test_too_long_a_summary_is_cut_at_a_sentence() -> None:
    model = Says(
        "Alice Smith moved the ledger. The migration took 45 minutes. Nobody noticed anything at all that day."
    )
    found = asyncio.run(written(model, SOURCE, budget_tokens=12, count=count))
    assert found.text == "Alice Smith moved the ledger. The migration took 45 minutes."
