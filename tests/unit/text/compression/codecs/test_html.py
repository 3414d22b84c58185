from __future__ import annotations

import pytest

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.html import CODEC, page

from .forms import NOTE, note, sure

PAGE = """\
<!DOCTYPE html>
<html><head><title>Caf&eacute; &amp; Bar</title><meta name="description" content="Coffee &lt;here&gt;">
<style>.x { color: red }</style><script>var secret = "<p>not shown</p>";</script></head>
<body><nav><ul><li><a href="/home">Home</a></li></ul></nav>
<h1>Menu</h1>
<p>All   prices in <b>EUR</b>,
as of 2026-05-09. See <a href="https://example.com/a?b=1&amp;c=2">the list</a> and <a href="https://example.com/a?b=1&amp;c=2">again</a>.</p>
<table class="prices"><tr><th>Drink</th><th>Price</th></tr>
<tr><td>Espresso</td><td>2.40</td></tr>
<tr><td>Latte<br>large</td><td>3.90</td></tr></table>
<ol><li>First</li><li>Second<ul><li>Inner</li></ul></li></ol>
<pre><code>if x &lt; 3:
    brew(x)   # twice
</code></pre>
<img src="cup.png" alt="A cup"><input type="hidden" name="csrf" value="t0"><input type="text" name="q">
<div id="order-form-17" data-price="240">Order</div>
<footer>Imprint</footer></body></html>
"""


def shorter(text: str, ask: Ask = Ask(), room: int = 10_000) -> str:  # noqa: B008 - frozen
    made = CODEC.reduced(text, ask, room, note)
    assert made is not None
    return made.text


def test_a_page_is_what_its_reader_sees() -> None:
    assert shorter(PAGE).split("\n") == [
        "# Café & Bar",
        "Coffee <here>",
        "# Menu",
        "All prices in EUR, as of 2026-05-09. See the list (https://example.com/a?b=1&c=2) and again.",
        "Drink | Price",
        "Espresso | 2.40",
        "Latte large | 3.90",
        "1. First",
        "2. Second",
        "  - Inner",
        "```",
        "if x < 3:",
        "    brew(x)   # twice",
        "```",
        "[A cup][text q ]",
        "Order",
        note("markup, scripts and navigation of the page"),
    ]


def test_without_a_reference_a_page_stays_as_it_is() -> None:
    assert CODEC.lossless(PAGE) is None
    assert compress(PAGE, count=len).text == PAGE


def test_a_tag_that_holds_what_was_asked_about_stays() -> None:
    assert '<div id="order-form-17" data-price="240">' in shorter(PAGE, Ask("click #order-form-17"))
    assert "order-form-17" not in shorter(PAGE)


@pytest.mark.parametrize("query", ["give me the css selector", "which xpath"])
def test_a_question_about_markup_gets_the_markup(query: str) -> None:
    assert CODEC.reduced(PAGE, Ask(query), 10_000, note) is None


def test_a_long_page_is_cut_by_its_sections() -> None:
    section = (
        "<h2>Part {0}</h2><p>The first sentence of part {0} is this. The second may go.</p><p>" + "more words " * 20
    )
    sections = "".join(section.format(n) for n in range(40))
    form = shorter(f"<html><body><div>{sections}</div></body></html>", Ask("Part 23"), room=4_000)
    for n in range(40):
        assert f"## Part {n}" in form.split("\n")
    assert "The first sentence of part 3 is this." in form
    assert "The first sentence of part 23 is this. The second may go." in form
    assert "The first sentence of part 3 is this. The second may go." not in form
    assert form.endswith(NOTE)
    assert len(form) < 5_000


def test_tables_in_tables_lose_nothing() -> None:
    inner = "<table><tr><td>c</td><td>d</td></tr></table>"
    outer = f"<html><table><tr><td>a</td><td>b{inner}e</td><td>f</td></tr></table></html>"
    assert page(outer).split() == ["a", "|", "b", "c", "|", "d", "e", "f"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<html><p>one<p>two <b>three</html>", "one two three"),
        ("<html><nav><p>never shut: everything is in here", "never shut: everything is in here"),
        ("<html><body>a < b and c > d</body>", "a < b and c > d"),
        ('<html><a href="x>cut', '<html><a href="x>cut'),
        ("<html><td>cell alone</td></html>", "cell alone"),
        ("<html><p>text<!-- never ends <p>gone", "text"),
        ("<html><p>before<script>never ends", "before"),
        ("<HTML><P TITLE='x>y'>Groß</P></HTML>", "Groß"),
        ("<html>&#x6F22;&#23383; &unknown; &amp", "漢字 &unknown; &"),
        ("<html><svg><path d='M0 0'/><text>in</text></svg>out</html>", "out"),
    ],
)
def test_broken_pages_are_read_as_far_as_they_go(text: str, seen: str) -> None:
    words = page(text).split()
    assert words == seen.split() or seen == text


def test_pages_are_told_by_their_tags_and_templates_in_code_are_not_pages() -> None:
    assert detect(PAGE) == "html"
    assert sure(CODEC, '<?xml version="1.0"?>\n' + PAGE) > 0.9
    jsx = """import React from "react";

export function Menu({ items }) {
  const [open, setOpen] = useState(false);
  return (
    <div className="menu">
      <ul>{items.map((item) => <li key={item.id}><a href={item.url}>{item.name}</a></li>)}</ul>
      <table><tbody><tr><td><b>x</b></td><td><i>y</i></td></tr></tbody></table>
    </div>
  );
}
"""
    assert sure(CODEC, jsx) == 0.0
    assert detect(jsx) == "code"
    svg = (
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">'
        + '<path d="M0 0L1 1"/><g><rect/></g>' * 30
        + "</svg>"
    )
    assert sure(CODEC, svg) == 0.0
    assert sure(CODEC, "<config>" + "<item><name>a</name><value>1</value></item>" * 30 + "</config>") == 0.0
    assert sure(CODEC, "List<String> a = new ArrayList<>();\nMap<K, V> b;\n" * 20) == 0.0


def test_a_listing_in_a_row_stands_behind_what_the_row_holds_before_it() -> None:
    assert page("<tr>zwei<td><pre>one</pre>").split("\n") == ["zwei", "```", "one", "```"]
    said = page("<pre><tr>one<td>two<p>three</pre>").split()
    assert [word for word in said if word.isalpha()] == ["one", "two", "three"]
