from __future__ import annotations

import re

import pytest
from tests.effort import within

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.tests import reduced

RULE = "-" * 70
FAILURE = [
    "=" * 70,
    "FAIL: test_wrap_7 (tests.test_text.WrapCase.test_wrap_7)",
    RULE,
    "Traceback (most recent call last):",
    '  File "/w/tests/test_text.py", line 31, in check',
    "    self.assertEqual(result, expect,",
    "AssertionError: Lists differ: ['a'] != ['b']",
    "",
]
UNITTEST = [
    f"test_wrap_{i} (tests.test_text.WrapCase.test_wrap_{i}) ... {'FAIL' if i == 7 else 'ok'}" for i in range(30)
]
UNITTEST += ["", *FAILURE, RULE, "Ran 30 tests in 0.011s", "", "FAILED (failures=1)"]
PYTEST = ["=" * 20 + " test session starts " + "=" * 20, "collected 40 items", ""]
PYTEST += [f"tests/unit/test_a.py::test_{i} {'FAILED' if i == 9 else 'PASSED'}   [ {i * 2:2d}%]" for i in range(40)]
PYTEST += [
    "=" * 20 + " FAILURES " + "=" * 20,
    "____ test_9 ____",
    "    def test_9():",
    ">       assert 1 == 2",
    "E       assert 1 == 2",
]
PYTEST += [
    "FAILED tests/unit/test_a.py::test_9 - assert 1 == 2",
    "=" * 10 + " 1 failed, 39 passed in 0.12s " + "=" * 10,
]
DOTS = [f"tests/unit/test_{i}.py ......   [ {i * 3}%]" for i in range(20)] + [
    "tests/unit/test_x.py ..F..  [ 99%]",
    "FAILED x::y",
    "1 failed, 124 passed in 1.2s",
]
GO = [line for i in range(20) for line in (f"=== RUN   Test{i}", f"--- PASS: Test{i} (0.00s)")]
GO += [
    "=== RUN   TestBad",
    "    a_test.go:12: got 1, want 2",
    "--- FAIL: TestBad (0.00s)",
    "FAIL",
    "FAIL\texample.com/a\t0.01s",
]
CARGO = [f"test mod::case_{i} ... ok" for i in range(20)] + [
    "test mod::bad ... FAILED",
    "",
    "thread 'mod::bad' panicked at src/a.rs:1:2:",
]
CARGO += ["test result: FAILED. 20 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s"]
JEST = [f"  ✓ adds {i} (2 ms)" for i in range(20)] + [
    "  ✕ fails (3 ms)",
    "  ● sum › fails",
    "Tests:       1 failed, 20 passed, 21 total",
]
TAP = ["1..20", *(f"ok {i} - works" for i in range(19)), "not ok 19 - does not", "# tests 20"]
GTEST = [line for i in range(9) for line in (f"[ RUN      ] A.b{i}", f"[       OK ] A.b{i} (0 ms)")]
GTEST += [
    "[ RUN      ] A.bad",
    "a.cc:3: Failure",
    "[  FAILED  ] A.bad (0 ms)",
    "[==========] 10 tests from 1 test suite ran.",
]
XML = ['<testsuite name="s" tests="20">', *(f'  <testcase classname="a" name="t{i}" time="0.1"/>' for i in range(19))]
XML += [
    '  <testcase classname="a" name="bad">',
    '    <failure message="no">trace</failure>',
    "  </testcase>",
    "</testsuite>",
]
ALL = {
    "unittest": UNITTEST,
    "pytest": PYTEST,
    "dots": DOTS,
    "go": GO,
    "cargo": CARGO,
    "jest": JEST,
    "tap": TAP,
    "gtest": GTEST,
    "xml": XML,
}
GOOD = re.compile(r"ok$|PASSED|\.{6}|--- PASS|✓|^ok |OK \]|/>$")


@pytest.mark.parametrize("name", ALL)
def test_failures_stay_whole_and_passes_are_counted(name: str) -> None:
    lines = ALL[name]
    assert detect("\n".join(lines)) == "tests"
    form = reduced("\n".join(lines), Ask(), 10, lambda what: f"[{what} left out]")
    assert form is not None
    kept = form.text.split("\n")[1:]
    runs = [int(found[1]) for line in kept if (found := re.fullmatch(r"\[\+(\d+) (?:passed|lines)\]", line))]
    rest = iter(lines)
    assert all(line in rest for line in kept if not line.startswith("[+"))
    assert sum(runs) + sum(not line.startswith("[+") for line in kept) == len(lines)
    begun = re.compile(r"=== RUN|\[ RUN ")
    bad = [line for line in lines if not GOOD.search(line) and not begun.match(line)]
    assert [line for line in kept if line in set(bad)] == bad
    assert len(kept) < 0.7 * len(lines)


@pytest.mark.parametrize(("lines", "begun"), [(GO, "=== RUN   TestBad"), (GTEST, "[ RUN      ] A.bad")])
def test_the_beginning_of_a_test_that_failed_stays(lines: list[str], begun: str) -> None:
    form = reduced("\n".join(lines), Ask(), 10, str)
    assert form is not None
    assert begun in form.text.split("\n")


def test_what_the_reader_names_stays_though_it_passed() -> None:
    form = reduced("\n".join(PYTEST), Ask(query="is test_a.py::test_21 slow?"), 10, str)
    assert form is not None
    assert any("::test_21 PASSED" in line for line in form.text.split("\n"))


def test_a_run_without_passes_stays_as_it_is() -> None:
    assert reduced("\n".join(FAILURE * 5), Ask(), 10, str) is None


@pytest.mark.parametrize(
    "piece", ["::", "a::", " PASSED", "ok ", "= ", ".", "_ ", "test ", "✓ ", "(a) ", "1/1 ", "x.py "]
)
def test_hostile_lines_cost_no_more_than_their_length(piece: str) -> None:
    text = "\n".join([(piece * 1_000)[:999]] * 300)

    def work() -> None:
        detect(text)
        reduced(text, Ask(), 10, str)

    assert within(3.0, work)


def test_a_long_run_told_test_by_test_is_no_search() -> None:
    told = [
        f"tests/unit/test_a.py::test_{i}[a-{i}] {'FAILED' if i == 9 else 'PASSED'} [ {i // 9}%]" for i in range(900)
    ]
    failed = [*PYTEST[-5:-2], "E       assert 1 == 2", "FAILED tests/unit/test_a.py::test_9 - assert 1 == 2"]
    for count in (250, 900):
        text = "\n".join([*PYTEST[:3], *told[:count], *failed, "=" * 10 + f" 1 failed, {count - 1} passed " + "=" * 10])
        assert detect(text) == "tests"
