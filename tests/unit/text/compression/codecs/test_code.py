from __future__ import annotations

import ast
import inspect
import json
import textwrap

import pytest

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.code import CODEC, narrowed, widened
from pennyweight.text.compression.outlines import outline

from .forms import NOTE, filled, is_subsequence, note, own_lines, sure

PYTHON = inspect.getsource(textwrap)
TYPESCRIPT = """\
import { readFile } from "node:fs/promises";
/** How many rows are read at once. */
export const ROWS = 512;

/**
 * Reads rows.
 *
 * Slowly.
 */
export class Reader<T extends Row> implements Source {
  private readonly path: string;

  constructor(path: string, private seen = new Map<string, T>()) {
    this.path = path;
    this.seen.set(`{not a brace ${path}`, null!);
    for (let at = 0; at < 10; at++) {
      seen.delete(String(at));
    }
    seen.clear();
  }

  async rows(limit: number): Promise<T[]> {
    const text = await readFile(this.path, "utf8"); // }
    const found = text.split("\\n").map((line) => {
      return JSON.parse(line) as T;
    });
    if (found.length > limit) {
      throw new Error("too many }");
    }
    return found;
  }
}

export function firstRow(path: string): Promise<Row> {
  const reader = new Reader(path);
  const rows = reader.rows(1);
  console.log("reading", path);
  console.log("reading", path);
  console.log("reading", path);
  return rows.then((all) => all[0]);
}
"""
GO = """\
package store

import (
\t"fmt"
)

// Open opens a store.
// It may fail.
func Open(path string) (*Store, error) {
\tif path == "" {
\t\treturn nil, fmt.Errorf("no path")
\t}
\ts := &Store{path: path}
\ts.init()
\treturn s, nil
}

type Store struct {
\tpath string
\tseen map[string]struct{}
}

func (s *Store) Get(key string) (value []byte, ok bool) {
\tfor i := 0; i < 10; i++ {
\t\tif s.match(i, key) {
\t\t\treturn s.read(i), true
\t\t}
\t}
\treturn nil, false
}
"""
RUST = """\
use std::fmt;

impl<'a> Store<'a> {
    /// Gives a value.
    pub fn get<K>(&'a self, key: K) -> Option<&'a str>
    where
        K: AsRef<str>,
    {
        let open = '{';
        let wanted = key.as_ref();
        self.seen.iter().find(|(k, _)| k == wanted)
            .map(|(_, v)| v.as_str())
    }

    fn put(&mut self, key: &'a str, value: String) {
        self.check(key);
        self.count += 1;
        self.bytes += value.len();
        self.seen.insert(key, value);
    }
}
"""


def shorter(text: str, ask: Ask = Ask(), room: int = 1_600) -> str:  # noqa: B008 - frozen
    made = CODEC.reduced(text, ask, room, note)
    assert made is not None
    return made.text


def test_what_is_kept_is_the_texts_own_lines_in_order_and_marks() -> None:
    for text in (PYTHON, TYPESCRIPT * 2, GO * 3, RUST * 3):
        form = shorter(text, room=900)
        assert is_subsequence(own_lines(form), text.split("\n"))
        assert len(form) < 0.85 * len(text)
        assert form.endswith(NOTE)
        assert form == shorter(text, room=900)


def test_every_signature_of_python_stays_where_there_is_room() -> None:
    lines = PYTHON.split("\n")
    form = shorter(PYTHON, room=6_000).split("\n")
    for node in ast.walk(ast.parse(PYTHON)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name not in {"predicate", "prefixed_lines"}:
            assert lines[node.lineno - 1] in form, "no function inside of a function"
    assert "import re" in form


def test_the_outline_of_python_is_that_of_its_parser() -> None:
    for module in (textwrap, inspect, ast, json.decoder):
        text = inspect.getsource(module)
        lines = text.split("\n")
        ends = {part.name: set[int]() for part in outline(lines).parts}
        for part in outline(lines).parts:
            ends[part.name].add(next(at for at in range(part.last, 0, -1) if lines[at].strip()[:1] not in {"", "#"}))
        tree = ast.parse(text)
        bodies = [*tree.body, *(inner for node in tree.body if isinstance(node, ast.ClassDef) for inner in node.body)]
        for node in bodies:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.body[0].lineno > node.lineno:
                assert (node.end_lineno or 0) - 1 in ends[node.name], node.name


def test_a_function_that_is_asked_about_is_whole_and_others_are_not() -> None:
    form = shorter(PYTHON, Ask("Why does `_handle_long_word` loop?"))
    whole = inspect.getsource(textwrap.TextWrapper._handle_long_word).rstrip("\n")
    assert whole in form
    assert inspect.getsource(textwrap.TextWrapper._wrap_chunks).rstrip("\n") not in form


def test_lines_that_are_asked_about_by_number_stay_with_their_function() -> None:
    body, first = inspect.getsourcelines(textwrap.TextWrapper._split)
    form = shorter(PYTHON, Ask(f"see textwrap.py:{first + 6}"))
    assert "".join(body).rstrip("\n") in form


def test_of_a_body_too_long_to_keep_the_paragraphs_asked_about_stay() -> None:
    paragraphs = "\n\n".join(
        f"    # step {n}: {'retry a refused connection' if n == 13 else 'go on'}\n    value_{n} = {n}\n    total += {n}"
        for n in range(30)
    )
    text = f"def run(total):\n{paragraphs}\n    return total\n\n\n" + PYTHON
    form = shorter(text, Ask("what happens when a connection is refused?"), room=1_400)
    assert "    # step 13: retry a refused connection\n    value_13 = 13\n    total += 13" in form
    assert "    # step 14: go on" not in form
    assert filled(form, text) == text


def test_names_that_stand_in_lines_left_out_only_are_listed() -> None:
    form = shorter(RUST * 3, room=900)
    listed = form.split("[... named there: ")[1].split("]")[0].split(", ")
    assert "v.as_str" in listed
    kept = "\n".join(own_lines(form))
    assert not [name for name in listed if name in kept.replace(".", " ").split()]
    assert len(", ".join(listed)) <= 600


@pytest.mark.parametrize(
    "arguments",
    [
        '{"path":"textwrap.py","offset":40,"limit":140}',
        '{"file_path":"a.py","view_range":[10,200]}',
        '{"cmd":"sed -n \'40,179p\' a.py"}',
        '{"path":"a.py","start_line":3,"end_line":99}',
    ],
)
def test_a_call_for_certain_lines_gets_all_of_them(arguments: str) -> None:
    assert CODEC.reduced(PYTHON, Ask("fix it", arguments), 1_000, note) is None


def test_a_call_for_more_lines_than_a_file_has_is_a_call_for_the_file() -> None:
    assert CODEC.reduced(PYTHON, Ask("", '{"path":"a.py","offset":1,"limit":2000}'), 1_000, note) is not None


def test_marks_name_the_lines_that_are_missing() -> None:
    for text in (PYTHON, TYPESCRIPT * 2, GO * 3, RUST * 3):
        for room in (300, 700):
            assert filled(shorter(text, room=room), text) == text


def test_what_has_no_room_is_named() -> None:
    text = "\n".join(
        f"def function_{n}(value):\n    total = value + {n}\n    other = 1\n    third = 2\n    return total\n"
        for n in range(400)
    )
    form = shorter(text, room=1_200)
    assert "… function_399]" in form
    assert len(form) < 2_400


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        (TYPESCRIPT, "  async rows(limit: number): Promise<T[]> {", "    return found;"),
        (TYPESCRIPT, "export const ROWS = 512;", "    seen.clear();"),
        (GO, "func (s *Store) Get(key string) (value []byte, ok bool) {", "\t\t\treturn s.read(i), true"),
        (GO, "\tseen map[string]struct{}", "\ts.init()"),
        (RUST, "        K: AsRef<str>,", "        let open = '{';"),
        (RUST, "    fn put(&mut self, key: &'a str, value: String) {", "        self.count += 1;"),
    ],
)
def test_braces_in_texts_and_comments_are_no_blocks(text: str, kept: str, gone: str) -> None:
    plan = outline(text.split("\n"))
    lines = text.split("\n")
    inside = {at for part in plan.parts for at in range(part.head + 1, part.last + 1)}
    assert lines.index(kept) not in inside
    assert lines.index(gone) in inside


def test_numbers_of_lines_stay_and_lose_their_padding_only() -> None:
    for prefix in ("{:6d}\t", "{:05d}| ", "{:>6}→"):
        text = "\n".join(prefix.format(at) + line for at, line in enumerate(PYTHON.split("\n")[:99], 1))
        form = narrowed(text)
        assert form is not None
        assert text in {widened(form, 6, " "), widened(form, 5, "0")}
        for line in form.split("\n"):
            assert line[0] != " "
            assert line[0] != "0"
    assert narrowed(PYTHON) is None


def test_numbered_lines_keep_their_numbers_and_lines_around_the_file_stay() -> None:
    body = "\n".join(f"{at}: {line}" for at, line in enumerate(PYTHON.split("\n"), 1))
    text = f"<path>/src/textwrap.py</path>\n<content>\n{body}\n\n(End of file - total 491 lines)\n</content>"
    form = shorter(text)
    assert is_subsequence(own_lines(form), text.split("\n"))
    assert "(End of file - total 491 lines)" in form
    assert "8: import re" in form.split("\n")


def test_a_brace_after_a_blank_line_belongs_to_what_stands_before() -> None:
    text = "\nvoid FUN_004016ba(long param_1)\n\n{\n  int a;\n  a = 0x50;\n  b = 2;\n  c = 3;\n  return;\n}\n" * 3
    assert [part.name for part in outline(text.split("\n")).parts] == ["FUN_004016ba"] * 3


def test_half_a_file_has_an_outline_too() -> None:
    lines = PYTHON.split("\n")
    begins_in_a_docstring = lines[12:300]
    names = {part.name for part in outline(begins_in_a_docstring).parts}
    assert {"_split", "_wrap_chunks"} & names
    begins_in_a_body = TYPESCRIPT.split("\n")[15:]
    assert {part.name for part in outline(begins_in_a_body).parts} >= {"firstRow"}


@pytest.mark.parametrize(
    "text",
    [
        "def f(:\n  'unclosed\n" * 50,
        "}" * 500 + "\n{" * 500,
        '"""' * 333,
        "class A {\n  void f() {\n" * 200,
        "`" * 99 + "\n" + "/*" * 99,
        "\x00\ufffd{\n}\n" * 60,
        "#define X \\\n  y\n" * 80,
    ],
)
def test_broken_code_costs_nothing(text: str) -> None:
    made = CODEC.reduced(text, Ask("f"), 200, note)
    assert made is None or len(made.text) <= len(text)


def test_code_in_other_languages_keeps_its_comments_verbatim() -> None:
    text = "".join(
        f"def berechne_größe_{n}(wert):\n    # 计算宽度 und Höhe {n}\n    x = wert\n    y = x\n    z = y\n"
        "    # चौड़ाई\n    return z\n\n"
        for n in range(40)
    )
    form = shorter(text, Ask("berechne_größe_17"))
    assert "    # 计算宽度 und Höhe 17" in form.split("\n")
    assert "    # चौड़ाई" in form.split("\n")


def test_code_is_told_by_its_lines() -> None:
    for text in (PYTHON, TYPESCRIPT, GO, RUST):
        assert detect(text) == "code"
    for text in (
        "import taxes are high.\nThe class was full.\nWe return to it later.\n" * 5,
        '{\n  "def": 1,\n  "class": [\n    2,\n    3\n  ]\n}\n' * 5,
        "# Head\n\n```python\ndef f():\n    return 1\n```\n\n## More\n\n```\nx = 1\n```\n",
        "if you want, go:\nfor now: yes\n",
    ):
        assert sure(CODEC, text) == 0.0
