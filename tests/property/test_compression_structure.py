"""Shorter forms of code, documents and pages made of odd lines: marks that tell the truth, and nothing made up."""

from __future__ import annotations

import html
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.text.compression import Ask
from pennyweight.text.compression.asked import Wanted
from pennyweight.text.compression.codecs import code, markdown
from pennyweight.text.compression.codecs.html import page
from pennyweight.text.compression.gaps import marked
from pennyweight.text.compression.outlines import outline

NOTE = "left out: recall"
ODD_LINES = [
    "def read(path, *,",
    "         size=1):",
    '    """Reads',
    '    it."""',
    "    value = path + 1",
    "    return value  ",
    "class Reader(Base):",
    "    @property",
    "    async def name(self):",
    "        x = 'unclosed",
    "        return {",
    "            'a': 1,",
    "        }",
    "# a comment, größe 漢字",
    "import os",
    "LIMIT = 3",
    "",
    "\t",
    "export class Store<T> implements Base {",
    "  get(key: string): T {",
    "    return this.seen[`${key}}`];",
    "  }",
    "}",
    "function f(a) { return a; }",
    "const g = async (x) => {",
    "});",
    "/* opens",
    " * goes on",
    " */",
    "// }",
    "impl<'a> Reader<'a> {",
    "    fn next(&mut self) -> Option<&'a str>",
    "    where",
    "    {",
    "if (x) {",
    "} else {",
    "'''",
    "[... lines 1-2]",
]
PARAGRAPHS = """\
# Head
## Größe 漢字

A sentence of some length here. And one more.
- item
| a | b |
```
~~~
<!-- c
-->
[x]: http://a.example
- [a](#a)
    code
#no
> quote"""
TAGS = """\
<p> </p> <td> <tr> </tr> <table> </table> <pre> </pre> <li> <ul> </ul> <ol> </ol> <a|href='x.y'> </a> <br> <nav>
</nav> <script> </script> <h1> </h1> < > " <!-- --> &amp; &lt one zwei 三 <div|class="a>b"> <b"""
ODD_PARAGRAPHS = PARAGRAPHS.split("\n")
ODD_TAGS = [*(tag.replace("|", " ") for tag in TAGS.split()), " ", "\n"]
sources = st.lists(st.sampled_from(ODD_LINES), min_size=4, max_size=60)
asks = st.sampled_from([Ask(), Ask("why does read() fail?"), Ask("see line 7"), Ask("", '{"symbol": "next"}')])
rooms = st.integers(200, 1_500)


def note(left_out: str) -> str:
    return f"[{left_out} {NOTE}]"


@settings(max_examples=200, deadline=None)
@given(sources, asks, rooms)
def test_marks_of_code_name_exactly_the_lines_that_are_missing(lines: list[str], ask: Ask, room: int) -> None:
    lines = [line for line in lines if not marked(line)]
    text = "\n".join(lines)
    made = code.CODEC.reduced(text, ask, room, note)
    if made is None:
        return
    assert made == code.CODEC.reduced(text, ask, room, note)
    filled: list[str] = []
    for line in made.text.split("\n")[:-1]:
        found = re.match(r"\[\.\.\. lines? (\d+)(?:-(\d+))?[:\]]", line)
        if found is not None:
            filled += lines[int(found[1]) - 1 : int(found[2] or found[1])]
        elif not marked(line):
            filled.append(line)
    assert filled == lines
    assert len(made.text) < len(text)


@settings(max_examples=100, deadline=None)
@given(sources, st.integers(1, 300), st.sampled_from(["{:6d}\t", "{}: ", "{:05d}| ", "{}:"]), asks, rooms)
def test_numbered_code_keeps_its_numbers(lines: list[str], first: int, style: str, ask: Ask, room: int) -> None:
    text = "\n".join(style.format(at) + line for at, line in enumerate(lines, first))
    made = code.CODEC.reduced(text, ask, room, note)
    if made is None:
        return
    given_lines = {str(at): line for at, line in enumerate(lines, first)}
    for line in made.text.split("\n")[:-1]:
        found = re.match(r"(\d+)(?:\t|: ?|\| )", line)
        if found is not None:
            assert line[found.end() :] == given_lines[found[1]] or line == f"{found[1]}:{given_lines[found[1]]}"
        else:
            assert marked(line)


@settings(max_examples=200, deadline=None)
@given(sources)
def test_every_part_is_inside_the_text_and_parts_do_not_overlap(lines: list[str]) -> None:
    plan = outline(lines)
    assert len(plan.ranks) == len(lines)
    before = -1
    for part in plan.parts:
        assert before < part.first or part.first == 0
        assert part.first <= part.head + 1 <= part.last <= len(lines) - 1
        before = part.last


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ODD_PARAGRAPHS), max_size=50), st.integers(100, 800))
def test_documents_are_cut_into_blocks_and_lines_kept_are_their_own(lines: list[str], room: int) -> None:
    found = markdown.blocks(lines)
    covered = [at for block in found for at in range(block.first, block.last + 1)]
    assert covered == list(range(len(lines)))
    fewer = markdown.shortened("\n".join(lines), Wanted(), room)
    if fewer is not None:
        rest = iter(lines)
        for line in fewer[0].split("\n"):
            assert not line or marked(line) or any(own.startswith(line) for own in rest)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ODD_TAGS), max_size=40).map("".join))
def test_a_page_says_only_what_the_text_says_and_in_its_order(text: str) -> None:
    said = page(text)
    assert said == page(text)
    rest = iter(re.findall(r"one|zwei|三", text))
    assert all(word in rest for word in re.findall(r"one|zwei|三", said))
    assert set(said) <= set(html.unescape(text)) | set("#-`|.()[] \n123456789")
