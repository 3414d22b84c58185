from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from tests.effort import within

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.json_ import CODEC, packed, reduced, unpacked
from pennyweight.text.compression.records import NotPacked, compact, parse, read, write
from pennyweight.text.compression.shape import Shorter
from pennyweight.text.tokenizers import BpeTokenizer

count = BpeTokenizer().count
FLIGHTS = [
    {"flight": f"HAT{n:03}", "from": "JFK", "seats": {"economy": n % 7, "business": n % 3}, "status": "available"}
    for n in range(40)
]


def note(what: str) -> str:
    return f'[{what} left out: recall("r-1") gives the whole text]'


def shorter(value: Any, ask: Ask = Ask(), room: int = 1_000) -> Shorter:  # noqa: B008 - frozen
    made = reduced(json.dumps(value), ask, room, note)
    assert made is not None
    return made


def same(text: str) -> str:
    """The packed form, after it came back exactly."""
    form = packed(text)
    assert form is not None
    assert unpacked(form) == "\n".join(compact(parse(line)) for line in text.splitlines())
    return form


def test_fields_of_rows_are_said_once_and_what_is_the_same_in_all() -> None:
    form = same(json.dumps(FLIGHTS))
    assert form.split("\n")[:3] == [
        "[] flight from=JFK seats(economy business) status=available",
        " HAT000 0 0",
        " HAT001 1 1",
    ]
    assert count(form) < 0.3 * count(json.dumps(FLIGHTS))


def test_members_stand_a_line_each_and_small_tables_below_them() -> None:
    value = {
        "id": "A1",
        "zip": "07310",
        "paid": True,
        "by": {"c_1": {"id": "c_1", "n": 1}, "c_2": {"id": "c_2", "n": 2}},
    }
    assert same(json.dumps(value)) == "\n".join(
        ["id A1", "zip 07310", "paid true", "by{} key id=key n", " c_1 1", " c_2 2"]
    )


def test_null_absent_and_empty_stay_apart() -> None:
    rows = [
        {"name": "one", "city": None, "tag": ""},
        {"name": "two", "tag": "x"},
        {"name": "-", "city": "null", "tag": "y"},
    ]
    assert same(json.dumps(rows * 3)).split("\n")[1:4] == [' one null ""', " two - x", ' "-" "null" y']


def test_every_value_comes_back_as_it_was_written() -> None:
    text = '{"a": 1.0, "b": 1, "c": -0, "d": 1E+05, "e": 123456789012345678901234567890, "f": 1.10, "g": NaN}'
    assert unpacked(packed(text) or "") == text.replace(" ", "")
    assert write(parse(text)).split("\n") == [
        "a 1.0", "b 1", "c -0", "d 1E+05", "e 123456789012345678901234567890", "f 1.10", "g NaN",
    ]  # fmt: skip


def test_lines_of_json_are_one_table() -> None:
    form = same(
        "".join(json.dumps({"level": "info", "event": f"step {n}", "took": n}) + "\n" for n in range(9)).rstrip()
    )
    assert form.startswith("jsonl\n[] level=info,event,took\n step 0,0\n")


def test_several_values_of_several_lines_are_one_table_too() -> None:
    text = "\n".join(json.dumps(row, indent=2) for row in FLIGHTS)
    form = packed(text)
    assert form is not None
    assert form.startswith("jsonl\n[] flight from=JFK")
    assert unpacked(form) == unpacked(text) == "\n".join(compact(parse(json.dumps(row))) for row in FLIGHTS)


def test_envelopes_are_opened_and_shut_again_letter_by_letter() -> None:
    inner = json.dumps({"results": FLIGHTS[:6]}, indent=2)
    text = json.dumps({"content": [{"type": "text", "text": inner}], "isError": False})
    form = same(text)
    assert "text:2\n" in form
    assert count(form) < 0.4 * count(text)


def test_texts_of_several_lines_stand_as_they_are() -> None:
    code = "def f(x):\n\treturn {'a': \"b\"}[x]\n" * 4
    form = same(json.dumps({"path": "a.py", "content": code}))
    assert code in form


@pytest.mark.parametrize("end", ["", "...", "\n[output truncated]\n"])
@pytest.mark.parametrize("wrap", [FLIGHTS, {"page": 1, "items": FLIGHTS, "more": True}])
def test_json_that_breaks_off_is_packed_as_far_as_it_goes(wrap: Any, end: str) -> None:
    whole = compact(parse(json.dumps(wrap)))
    for at in range(len(whole) - 300, len(whole) - 200, 7):
        text = whole[:at] + end
        assert detect(text) == "json"
        form = packed(text)
        assert form is not None
        assert len(form) < len(text) / 2
        assert unpacked(form) == text
        made = reduced(text, Ask(), 500, note)
        assert made is not None
        assert made.text[-2:] == text[-2:]


def test_what_stands_around_json_stays() -> None:
    text = f"exit code 0\n{json.dumps(FLIGHTS, indent=1)}\n\n12 tokens left\n"
    form = packed(text)
    assert form is not None
    assert form.startswith("exit code 0\n[json 41]\n[] flight")
    assert form.endswith("\n\n12 tokens left\n")
    assert unpacked(form) == f"exit code 0\n{compact(parse(json.dumps(FLIGHTS)))}\n\n12 tokens left\n"


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '{"a": [1, 2', "[1, 2, 3] and more", "", "{}", "[]", "3.0", "[" * 100_000, '{"a": \ud800}'],
)  # fmt: skip
def test_what_is_no_json_or_would_not_come_back_is_left_alone(text: str) -> None:
    assert packed(text) is None
    assert reduced(text, Ask(), 10, note) is None


def test_json_with_words_after_it_is_packed_and_the_words_stay() -> None:
    text = json.dumps(FLIGHTS) + "\n40 rows in 0.1 s\n"
    form = packed(text)
    assert form is not None
    assert form.startswith("[json 41]\n[] flight")
    assert unpacked(form) == compact(parse(json.dumps(FLIGHTS))) + "\n40 rows in 0.1 s\n"


def test_adversarial_nesting_and_repetition_take_bounded_time() -> None:
    texts = (
        "[" * 900 + "]" * 900,
        '{"a":' * 800 + "1" + "}" * 800,
        "[" + ",".join(['{"a":1}', '{"b":2}'] * 5_000) + "]",
        json.dumps([{f"k{n}_{m}": m for m in range(20)} for n in range(500)]),
        "\n".join(["[json 3]"] * 1_000),
        "{\n" * 20_000,
        '{"a": "' + "{" * 200_000 + '}"}',
        "[" + "1," * 2_500_000 + "1]",
    )
    for text in texts:
        assert within(10, lambda text=text: compress(text, count=len, room_tokens=100, reference="r-1"))


def test_json_is_told_from_what_looks_like_it() -> None:
    assert detect(json.dumps(FLIGHTS)) == "json"
    assert detect(json.dumps(FLIGHTS * 20, indent=4)) == "json"
    assert detect('{"a": 1}\n{"a": 2}\n') == "json"
    for text in (
        "[INFO] started\n[INFO] ended\n",
        "[2024-05-01] up\n" * 9,
        "{name} is (here)",
        "[link](a)\n[x]",
        "{ ls; }",
    ):
        assert detect(text) != "json"
    toml = '[project]\nname = "x"\n' + '[[tool.mypy.overrides]]\nmodule = [\n  "a.*",\n]\n' * 500
    assert detect(toml) != "json"


def test_rows_that_are_named_odd_or_about_errors_are_kept_with_both_ends() -> None:
    rows: list[Any] = [
        {"order": f"W{n:05}", "total": 20 + n % 9, "state": "delivered", "note": "nothing to say here"}
        for n in range(400)
    ]
    rows[123]["order"] = "W77777"
    rows[200] = {"order": "W00200", "problem": "card was declined"}
    rows[251]["total"] = 99_999
    rows[300]["note"] = "payment error 17"
    made = shorter(rows, Ask("Where is W77777?"))
    for kept in ("W00000", "W00399", "W77777", "declined", "99999", "payment error 17"):
        assert kept in made.text
    value = read(made.text)
    assert isinstance(value, list)
    assert value[-1] == note(made.left_out)
    there = sum(isinstance(row, dict) for row in value)
    assert made.left_out.startswith(f"{400 - there} of 400 items")
    assert isinstance(value[-2], str)
    assert value[-2].startswith(f"[{400 - there} of 400 left out: W00")
    assert len(value[-2]) < 700


def test_maps_and_long_strings_are_cut_between_words_and_counted() -> None:
    variants = {f"{n:010}": {"item": f"{n:010}", "price": n / 4} for n in range(90)}
    story = " ".join(f"word{n}" for n in range(3_000))
    made = shorter({"name": "Lamp", "variants": variants, "story": story}, Ask(arguments='{"item_id": "0000000050"}'))
    assert "0000000050" in made.text
    assert "items and" in made.left_out
    assert "characters of strings" in made.left_out
    assert set(re.findall(r"word\d*", made.text)) <= set(story.split())
    assert len(made.text) < 3_000


def test_what_is_cut_in_a_json_text_within_a_string_leaves_json() -> None:
    texts = [json.dumps({"page": n, "rows": FLIGHTS[n : n + 30]}) for n in range(4)]
    made = shorter([{"type": "text", "text": text} for text in texts], room=4_000)
    value = read(made.text)
    assert isinstance(value, list)
    for item in value[:-1]:
        assert isinstance(item, dict)
        inner = json.loads(str(item["text"]))
        assert len(inner["rows"]) < 30
        assert " of 30 left out: HAT" in inner["rows"][-1]


def test_what_is_kept_is_verbatim_and_what_is_left_out_is_counted() -> None:
    rng = random.Random(5)
    rows = [{"id": rng.randrange(10**12), "path": f"/a/{rng.random()}", "ok": rng.random() < 0.98} for _ in range(300)]
    made = shorter(rows)
    value = read(made.text)
    assert isinstance(value, list)
    known = {compact(parse(json.dumps(row))) for row in rows}
    assert all(compact(row) in known for row in value if isinstance(row, dict))


def test_what_packing_did_not_write_is_refused() -> None:
    for text in ("", "[] a b\n 1", "a 1\na 2", "a |9\nx", "[] a(b\n 1", 'a "x', "[] a b\n 1 2 3", "x[] a=[1]\n 1"):
        with pytest.raises(NotPacked):
            read(text)


def test_guarantees_are_named() -> None:
    assert len(CODEC.guarantees) == 4
