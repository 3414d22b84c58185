from __future__ import annotations

import base64
import random

import pytest
from tests.effort import within

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.blob import reduced

BYTES = b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(9_000)
BASE64 = base64.b64encode(BYTES).decode()
WRAPPED = base64.encodebytes(BYTES).decode()


@pytest.mark.parametrize(
    ("text", "around"),
    [
        (f"data:image/png;base64,{BASE64}", "data:image/png;base64,"),
        (f"cover.png:\n{WRAPPED}end of cover.png\n", "end of cover.png"),
        (f'<img src="data:image/png;base64,{BASE64}" alt="4711">', 'alt="4711">'),
    ],
)
def test_bytes_are_said_and_what_stands_around_them_stays(text: str, around: str) -> None:
    assert detect(text) == "blob"
    form = reduced(text, Ask(), 100, lambda what: f"[{what} left out]")
    assert form is not None
    assert around in form.text
    assert "PNG image, 9008 bytes, sha256" in form.text
    assert len(form.text) < 300


def test_other_bytes_have_another_digest() -> None:
    forms = {str(reduced(base64.b64encode(random.Random(i).randbytes(900)).decode(), Ask(), 9, str)) for i in range(5)}
    assert len(forms) == 5


def test_of_a_hex_dump_the_ends_stay() -> None:
    lines = [
        f"{i * 16:08x}: "
        + " ".join(BYTES[i * 16 + j : i * 16 + j + 2].hex() for j in range(0, 16, 2))
        + "  ................"
        for i in range(200)
    ]
    text = "\n".join(["$ xxd cover.png", *lines, "done"])
    assert detect(text) == "blob"
    form = reduced(text, Ask(), 100, lambda what: f"[{what} left out]")
    assert form is not None
    kept = form.text.split("\n")
    assert kept[:3] == ["$ xxd cover.png", *lines[:2]]
    assert kept[-4:-1] == [*lines[-2:], "done"]
    assert "[+196 lines of bytes]" in kept


MINIFIED = (
    "!function(e,t){" + "".join(f"var a{i}=function(n){{return n*{i}+t(e[{i}])}};" for i in range(900)) + "}(this,f);"
)


def test_of_one_long_line_the_ends_and_what_is_named_stay() -> None:
    assert detect(MINIFIED) == "blob"
    form = reduced(MINIFIED, Ask(query="where is a433 set?"), 100, lambda what: f"[{what} left out]")
    assert form is not None
    assert form.text.startswith(MINIFIED[:200])
    assert MINIFIED[-200:] in form.text
    assert "var a433=function(n){return n*433+t(e[433])};" in form.text
    assert len(form.text) < 0.1 * len(MINIFIED)


@pytest.mark.parametrize("text", ["word" * 200, "0" * 900, "ab" * 900, "-" * 900, "A short text. " * 90, "x" * 255])
def test_what_is_no_code_of_bytes_stays(text: str) -> None:
    assert reduced(text, Ask(), 100, str) is None
    assert detect(text) != "blob"


@pytest.mark.parametrize("piece", ["A1b", "/", "=", "a \n", "0f ", "aB3=", "A1b" * 20 + "\n", "{"])
def test_hostile_texts_cost_no_more_than_their_length(piece: str) -> None:
    text = piece * (300_000 // len(piece))

    def work() -> None:
        detect(text)
        reduced(text, Ask(query="a" * 30 + " A1b"), 10, str)

    assert within(3.0, work)
