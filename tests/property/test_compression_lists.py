"""Forms without loss of search results and file lists, over generated ones: given back exactly, never longer."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask, compress
from pennyweight.text.compression.codecs import CODECS
from pennyweight.text.compression.codecs.listing import (
    columns_once,
    columns_restored,
    drawn,
    foldered,
    undrawn,
    unfoldered,
)
from pennyweight.text.compression.codecs.search import grouped, ungrouped

names = st.text("ab.-_1/ ü漢", min_size=1, max_size=12)
words = st.text("ab :-/\\.1\t{}ü漢'\"", max_size=20)
signs = st.sampled_from(":-")


@st.composite
def searches(draw: st.DrawFn) -> str:
    lines: list[str] = []
    for path in draw(st.lists(names, max_size=4)):
        for sign, number, rest in draw(st.lists(st.tuples(signs, st.integers(0, 99), words), max_size=5)):
            lines.append(draw(st.sampled_from([f"{path}{sign}{number}{sign}{rest}", f"{path}:{rest}", "--", "", rest])))
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@st.composite
def long_lists(draw: st.DrawFn) -> str:
    owner, group = draw(st.sampled_from(["root", "user"])), draw(st.sampled_from(["root", "staff"]))
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["-rw-r--r--", "drwxr-xr-x"]),
                st.integers(1, 99),
                st.integers(0, 10**6),
                st.sampled_from(["Nov 21 20:31", "Nov  1  2025", "2026-05-09 07:29"]),
                names,
            ),
            min_size=2,
            max_size=8,
        )
    )
    wide = max(len(str(row[2])) for row in rows)
    return "\n".join(
        f"{mode} {links:>2} {owner} {group} {size:>{wide}} {when} {name}" for mode, links, size, when, name in rows
    )


@settings(max_examples=150)
@given(st.one_of(searches(), st.text("ab:-1\n /.", max_size=60)))
def test_a_search_comes_back(text: str) -> None:
    form = grouped(text)
    if form is not None:
        assert ungrouped(form) == text
        assert len(form) < len(text)


@settings(max_examples=150)
@given(st.lists(st.one_of(names, words), max_size=12).map("\n".join))
def test_paths_come_back(text: str) -> None:
    form = foldered(text)
    if form is not None:
        assert unfoldered(form) == text
        assert len(form) < len(text)


@settings(max_examples=100)
@given(long_lists())
def test_columns_come_back(text: str) -> None:
    form = columns_once(text)
    if form is not None:
        assert columns_restored(form) == text


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 4), names), min_size=1, max_size=12), st.sampled_from(["│   ", "│\xa0\xa0 "]))
def test_trees_come_back(entries: list[tuple[int, str]], way: str) -> None:
    depth = 0
    plain = ["top"]
    for deep, name in entries:
        depth = min(deep, depth) + 1
        plain.append(" " * depth + name.strip() + "x")
    style = (way, "├── ", "└── ")
    text = drawn("\n".join(plain), style)
    form = undrawn(text)
    if form is not None:
        assert drawn(form, style) == text


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(searches(), long_lists(), st.text(max_size=300)),
    st.sampled_from(sorted(CODECS)),
    st.text("ab.1_ü漢", max_size=20),
    st.integers(0, 400),
)
def test_no_form_is_longer_and_each_is_always_the_same(text: str, kind: str, query: str, room: int) -> None:
    made = [
        compress(text, count=len, kind=kind, ask=Ask(query), room_tokens=room, reference="r1")  # type: ignore[arg-type]
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0].tokens_after <= len(text)
    assert made[0].lossless == (not made[0].references)
