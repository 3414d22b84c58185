from __future__ import annotations

import array
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import os
import re
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict, namedtuple
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
import pytest

from pennyweight.functions.key import Files, Unkeyable, encode
from pennyweight.functions.source import source_of


def key(value: object) -> bytes:
    return encode(value, "value", Files())


@dataclasses.dataclass
class Point:
    x: int
    y: int
    note: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass
class Other:
    x: int
    y: int


class Shape(msgspec.Struct):
    name: str
    sides: int = 4


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Grade(enum.StrEnum):
    A = "a"


Pair = namedtuple("Pair", "x y")

DIFFERENT = [
    None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, float("nan"), float("inf"), 2**100,
    "", "1", "a", b"", b"1", "ä", "\ud800",
    [], (), {}, set(), [1], (1,), {1}, {1: 1}, [1, 2], [[1], 2], [[1, 2]], ["1", 2], ["a", "b"], ["ab"], [""], ["", ""],
    {"a": 1}, {"a": "1"}, {"a": 1, "b": 2}, {"a": {"b": 2}}, Point(1, 2), Point(2, 1), Other(1, 2), {"x": 1, "y": 2},
    Pair(1, 2), (1, 2), Shape("a"), Shape("a", 3), Color.RED, Color.BLUE, Grade.A, Color, Point, ...,
    1 + 2j, decimal.Decimal("1.0"), decimal.Decimal("1.00"), uuid.UUID(int=1), dt.date(2024, 1, 2),
    dt.datetime(2024, 1, 2),  # noqa: DTZ001
    dt.datetime(2024, 1, 2, tzinfo=dt.UTC), dt.timedelta(1), dt.time(1), range(3), slice(3),
    re.compile("a"), re.compile("a", re.I), re.compile(b"a"), array.array("i", [1]), array.array("f", [1]),
    np.array([1, 2]), np.array([1, 2], np.int32), np.array([1.0, 2.0]), np.array([[1, 2]]), np.array([]), np.float64(1),
    np.float32(1), np.array(1.0), np.array(["a"]), np.array(["2024-01-01"], "datetime64[D]"), np.array([True]),
    PurePosixPath("a"), len, max, os, functools.partial(max, 1), functools.partial(max, 2), OrderedDict(a=1),
]  # fmt: skip


def test_what_differs_has_different_keys() -> None:
    keys = [key(value) for value in DIFFERENT]
    for n, one in enumerate(keys):
        for m in range(n):
            assert one != keys[m], (DIFFERENT[n], DIFFERENT[m])


def test_what_is_equal_has_one_key() -> None:
    assert key({"a": 1, "b": [2]}) == key({"b": [2], "a": 1})
    assert key({"x", "y", "z"}) == key({"z", "y", "x"}) == key(frozenset({"x", "y", "z"}))
    assert key(b"x") == key(bytearray(b"x")) == key(memoryview(b"x"))
    assert key(float("nan")) == key(-float("nan"))
    assert key(Point(1, 2, "seen")) == key(Point(1, 2, "not seen"))
    rows = np.arange(12).reshape(3, 4)
    assert key(rows) == key(np.asfortranarray(rows)) == key(rows.copy())
    assert key(rows[:, ::2]) == key(np.ascontiguousarray(rows[:, ::2])) != key(rows[:, 1::2])


def test_keys_are_the_same_in_another_process() -> None:
    """Hash randomisation changes the order of sets, and of dicts that were made from them."""
    code = (
        "from pennyweight.functions.key import Files, encode\n"
        "from pennyweight.functions.source import source_of\n"
        "def f(x): return x in {'a', 'b', 'c', 'd'}\n"
        "value = {'s': set('abcdefgh'), 'd': {n: {n} for n in set('xyz')}, 'f': frozenset('abc')}\n"
        "print(encode(value, 'v', Files()).hex())\n"
        "print(source_of(f))"
    )
    seen = set()
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60
        )
        seen.add(done.stdout)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "value"),
        ({"client": threading.Lock()}, "value['client']"),
        ([1, (n for n in "ab")], "value[1]"),
        (Point(1, threading.Lock()), "value.y"),  # type: ignore[arg-type]
        (np.array([object()]), "value"),
        (np.ma.array([1], mask=[True]), "value"),
        (Path("/"), "value"),
    ],
    ids=str,
)
def test_what_has_no_content_is_refused_with_the_way_to_it(value: object, where: str) -> None:
    with pytest.raises(Unkeyable) as refused:
        key(value)
    assert refused.value.where == where


def test_what_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(Unkeyable, match="contains itself"):
        key(loop)


def test_files_count_by_content_and_suffix(tmp_path: Path) -> None:
    a, b, c = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.csv"
    for path in (a, b, c):
        path.write_text("same")
    assert key(a) == key(b) != key(c)
    b.write_text("diff")  # of the same size, and maybe within one tick of the clock
    assert key(a) != key(b)
    assert key(tmp_path / "none.txt") != key(tmp_path / "never.txt")


def test_a_file_is_read_once_as_long_as_it_stays(tmp_path: Path) -> None:
    files, path = Files(), tmp_path / "a.txt"
    path.write_text("one")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = files.digest(path)
    assert files._known
    assert files.digest(path) == first
    path.write_text("two")
    os.utime(path, (1_000_000_000, 1_000_000_000))  # the change time tells all the same
    assert files.digest(path) != first


def test_functions_count_by_code_and_by_what_they_captured() -> None:
    def make(n: int):
        def inner(x: int) -> int:
            return x + n

        return inner

    def inner(x: int) -> int:
        return x - 1

    assert key(make(1)) == key(make(1)) != key(make(2))
    assert key(inner) != key(make(1))


def test_a_source_is_the_same_without_comments_layout_docstring_and_decorators() -> None:
    def plain(x):
        return x + 1

    first = source_of(plain)

    @functools.lru_cache
    def plain(x):
        """Says more."""
        # and more
        return (x
                + 1)  # fmt: skip

    assert source_of(plain.__wrapped__) == first

    def plain(x):
        return x + 2

    assert source_of(plain) != first
