from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.table import packed, reduced, unpacked

PODS = """\
NAME                        READY   STATUS             RESTARTS   AGE
web-7d9c5b6d4-abcde         1/1     Running            0          3d
web-7d9c5b6d4-fghij         1/1     Running            0          3d
worker-5f6b8c9d7-klmno      0/1     CrashLoopBackOff   57         3d
cache-0                     1/1     Running            0          12d
"""
MARKDOWN = "| name      | price |\n|-----------|------:|\n| red shoes |  1.50 |\n| hat       | 12.00 |\n"
ORDERS = "id,city,currency,total\n" + "".join(f'A{n},"Rio, {n}",USD,{n}.50\n' for n in range(200))


def note(what: str) -> str:
    return f"[{what} left out]"


def rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_columns_that_say_the_same_in_every_row_stand_in_the_heading() -> None:
    form = packed(ORDERS)
    assert form is not None
    assert form.startswith('[csv,] id,city,currency=USD,total\nA0,"Rio, 0",0.50\n')
    assert rows(unpacked(form)) == rows(ORDERS)


cells = st.text(alphabet='ab1 ,;"\n\t|=é', max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=3, max_size=6)),
       st.sampled_from(",\t;|"), st.text(alphabet="xy,;|", min_size=1, max_size=4))  # fmt: skip
def test_cells_of_a_csv_come_back(table: list[list[str]], delimiter: str, same: str) -> None:
    names = [f"n{number}" for number in range(len(table[0]) + 1)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([names, *([*row, same] for row in table)])
    form = packed(text.getvalue())
    if form is not None:
        assert rows(unpacked(form), delimiter) == rows(text.getvalue(), delimiter)


def test_every_cell_of_a_row_is_there_as_it_was() -> None:
    pods, markdown = packed(PODS), packed(MARKDOWN)
    assert pods is not None
    assert markdown is not None
    assert [line.split() for line in pods.splitlines()] == [line.split() for line in PODS.splitlines()]
    assert markdown.splitlines() == ["| name | price |", "|---|---:|", "| red shoes | 1.50 |", "| hat | 12.00 |"]


def test_rows_that_failed_or_are_asked_for_are_kept_and_the_rest_counted() -> None:
    text = ORDERS.replace("A77,", "A77-error,")
    made = reduced(text, Ask("what did A150 pay?"), 1_500, note)
    assert made is not None
    lines = made.text.splitlines()
    assert lines[0] == "id,city,currency,total"
    for kept in ("A0,", "A199,", "A77-error,", "A150,"):
        assert any(line.startswith(kept) for line in lines)
    assert lines[-1] == note(made.left_out)
    assert lines[-2].startswith(f"[{made.left_out.removesuffix(' rows')} left out: A")
    assert len(made.text) <= 1_500


@pytest.mark.parametrize("text", [ORDERS, ORDERS.replace(",", "\t"), PODS, MARKDOWN])
def test_tables_are_told(text: str) -> None:
    assert detect(text) == "table"


@pytest.mark.parametrize(
    "text",
    ["Dear all,\nthe plan, as agreed,\nis this.\n", "a = f(x, y)\nb = g(x, y)\nc = h(x, y)\n", "1,2\n3,4\n5,6\n",
     'a,b\n"x,1\ny,2\n', "one\ntwo\nthree\n", "A  B\nC D E\nF\n", ""],
)  # fmt: skip
def test_what_is_no_table_is_left_alone(text: str) -> None:
    assert detect(text) != "table"
    assert packed(text) is None
    assert reduced(text, Ask(), 5, note) is None
