from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.summaries import checked, extend, summarize

WORD = st.sampled_from(
    [
        "Alice",
        "build",
        "the",
        "src/a.py",
        "x_1",
        "RE-7",
        "12.5%",
        "decided",
        "must",
        "राहुल",
        "ने",
        "王小明说",
        "是",
        "Müller",
        "3,500",
    ]
)
SENTENCE = st.builds(
    lambda words, end: " ".join(words) + end,
    st.lists(WORD, min_size=1, max_size=8),
    st.sampled_from([". ", "! ", "।", "。", "\n"]),
)
TEXT = st.builds("".join, st.lists(SENTENCE, max_size=15))


@settings(max_examples=100)
@given(TEXT, st.integers(0, 60), st.sampled_from(["", "build src/a.py"]))
def test_a_summary_fits_and_every_fact_of_it_is_the_texts(text: str, budget: int, query: str) -> None:
    found = summarize(text, budget_tokens=budget, count=len, query=query)
    assert found.tokens == len(found.text) <= budget
    assert checked(found.text, text) == ()


@settings(max_examples=100)
@given(TEXT, TEXT, st.integers(0, 80))
def test_a_summary_that_goes_on_says_only_what_was_read(old: str, new: str, budget: int) -> None:
    first = summarize(old, budget_tokens=budget, count=len)
    second = extend(first, new, budget_tokens=budget, count=len)
    assert second.tokens <= budget
    assert checked(second.text, f"{old}\n{new}") == ()
