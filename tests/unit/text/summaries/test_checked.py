import pytest
from tests.effort import within

from pennyweight.text.summaries import Source, checked, facts, kept_true

ENGLISH = (
    "Alice Smith pushed src/app/main.py and config.toml to GitHub at 14:30. The build RE-2024-17 failed 3 times. "
    "She will call getUserId() with user_id=42 and --force before Friday. The bill is 3,500 dollars, 12.5% more."
)
GERMAN = (
    "Frau Müller hat am 3. Mai 2024 in Hamburg 3.500,50 EUR überwiesen. "
    "Die Rechnungen liegen in Dokumente/Übersicht.pdf. "
    "Das Team hat beschlossen, den Server am Montag abzuschalten."
)
HINDI = "राहुल ने श्री शर्मा को ३५ रुपये दिए। टीम ने config.toml बदलने का निर्णय लिया।"
CHINESE = "王小明说合同编号是AB-2024-7，金额三千五百元。李华将在5月3日发布《年度报告》，文件在src/main.py里。"

TRUE = [
    (
        ENGLISH,
        "Alice Smith pushed config.toml. Build RE-2024-17 failed 3 times; getUserId() gets user_id=42 on Friday.",
    ),
    (ENGLISH, "However, the bill is 3500 dollars (12.5%). Both files are on GitHub."),
    (GERMAN, "Müller überwies 3500,50 EUR. Außerdem schaltet das Team den Server am Montag ab."),
    (GERMAN, "Die Rechnung liegt in Dokumente/Übersicht.pdf."),
    (HINDI, "राहुल ने शर्मा को 35 रुपये दिए।"),
    (CHINESE, "王小明说金额是三千五百元。李华将在5月3日发布《年度报告》。"),
    (CHINESE, "合同编号AB-2024-7，文件在src/main.py里。"),
    ("", ""),
]
FALSE = [
    (ENGLISH, "Bob Smith pushed config.toml.", "Bob"),
    (ENGLISH, "It was Bob.", "Bob"),
    (ENGLISH, "The build failed 4 times.", "4"),
    (ENGLISH, "The bill is 35,000 dollars.", "35,000"),
    (ENGLISH, "src/app/test.py was pushed.", "src/app/test.py"),
    (ENGLISH, "app/main.p was pushed.", "app/main.p"),
    (ENGLISH, "The build RE-2024-18 failed.", "RE-2024-18"),
    (ENGLISH, "The build RE-2024-1 failed.", "RE-2024-1"),
    (ENGLISH, "It calls getUserIds().", "getUserIds()"),
    (ENGLISH, "Use --hard now.", "--hard"),
    (GERMAN, "Herr Schmidt hat in Hamburg überwiesen.", "Schmidt"),
    (GERMAN, "Frau Müller hat in München überwiesen.", "München"),
    (GERMAN, "Am 4. Mai wurde überwiesen.", "4"),
    (HINDI, "सोहन ने शर्मा को ३५ रुपये दिए।", "सोहन"),
    (HINDI, "राहुल ने डॉ. वर्मा को ३५ रुपये दिए।", "वर्मा"),
    (HINDI, "राहुल ने शर्मा को ५३ रुपये दिए।", "५३"),
    (CHINESE, "张伟说金额是三千五百元。", "张伟"),
    (CHINESE, "金额是三千六百元。", "三千六百"),
    (CHINESE, "李华将在5月4日发布《年度报告》。", "4"),
    (CHINESE, "李华将发布《季度报告》。", "季度报告"),
    (CHINESE, "合同编号AB-2024-8。", "AB-2024-8"),
]


@pytest.mark.parametrize(("source", "summary"), TRUE)
def test_what_the_source_says_passes(source: str, summary: str) -> None:
    assert checked(summary, source) == ()


@pytest.mark.parametrize("source", [ENGLISH, GERMAN, HINDI, CHINESE])
def test_a_text_is_a_true_summary_of_itself(source: str) -> None:
    assert checked(source, source) == ()


@pytest.mark.parametrize(("source", "summary", "value"), FALSE)
def test_what_the_source_does_not_say_is_named(source: str, summary: str, value: str) -> None:
    assert value in [problem.value for problem in checked(summary, source)]


def test_a_problem_says_where_it_is() -> None:
    (problem,) = checked("Alice Smith pushed config.toml. The build failed 9 times.", ENGLISH)
    assert (problem.kind, problem.value, problem.sentence) == ("number", "9", 1)


def test_sentences_that_fail_are_left_out() -> None:
    said = "Alice Smith pushed config.toml. The build failed 9 times. The bill is 3,500 dollars."
    assert kept_true(said, Source(ENGLISH)) == "Alice Smith pushed config.toml. The bill is 3,500 dollars."


def test_kinds_of_facts() -> None:
    found = {
        (fact.kind, fact.value) for fact in facts("See ~/.ssh/id_rsa, C:\\x\\y.txt, a@b.com, v2.1.3, $HOME and 12.5%.")
    }
    assert found >= {
        ("path", "~/.ssh/id_rsa"),
        ("path", "C:\\x\\y.txt"),
        ("identifier", "a@b.com"),
        ("identifier", "v2.1.3"),
        ("identifier", "$HOME"),
        ("number", "12.5%"),
    }


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "a/", "1.", "1_", "a_", "aB", "अ", "अ ", "王说", "a@", "C:\\a ", "《a", "A "]
)
def test_no_text_is_a_trap(piece: str) -> None:
    assert within(3.0, lambda: facts(piece * (50_000 // len(piece))))
