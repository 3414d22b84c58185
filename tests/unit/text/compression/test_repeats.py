from __future__ import annotations

import json

import msgspec
import pytest

from pennyweight.text.compression.repeats import Earlier, expanded, folded, leans, whole


def source(lines: int, salt: str = "") -> str:
    return "".join(f"    value_{n}{salt} = compute(argument_{n}, {n * 7})\n" for n in range(lines))


FILE = source(200)
READ = Earlier("read src/a.py", FILE)


def test_a_re_read_after_an_edit_is_the_lines_that_changed() -> None:
    edited = FILE.replace("value_77 = compute(argument_77, 539)", "value_77 = 0")
    form = folded(edited, [READ])
    assert form is not None
    assert form.text.split("\n") == [
        "[again: lines 1-77 of read src/a.py]",
        "    value_77 = 0",
        "[again: lines 79-201]",
    ]
    assert expanded(form.text, [READ]) == edited


def test_a_poll_of_a_log_is_its_new_lines_whatever_wraps_it() -> None:
    def poll(chunk: str, log: str) -> str:
        return f"Chunk ID: {chunk}\nWall time: 0.1 seconds\nOutput:\n{log}"

    first = Earlier("exec tail -n 80 x.log", poll("8bb442", source(80)))
    later = poll("1f00aa", source(80).split("\n", 3)[3] + "two new lines\nat the end\n")
    form = folded(later, [first])
    assert form is not None
    assert "[again: lines 7-83 of exec tail -n 80 x.log]" in form.text
    assert form.text.startswith("Chunk ID: 1f00aa\n")
    assert form.text.endswith("two new lines\nat the end\n")
    assert expanded(form.text, [first]) == later


def test_a_range_of_a_file_that_was_read_as_a_whole() -> None:
    part = "\n".join(FILE.split("\n")[40:90])
    form = folded(part, [READ])
    assert form is not None
    assert form.text == "[again: lines 41-90 of read src/a.py]"


def test_lines_that_moved_down_keep_their_note_with_other_numbers() -> None:
    def numbered(text: str) -> str:
        return "\n".join(f"{n:6}\t{line}" for n, line in enumerate(text.split("\n"), 1))

    read = Earlier("Read a.py", numbered(FILE))
    edited = FILE.split("\n")
    edited[50:50] = ["    # one", "    # two"]
    again = numbered("\n".join(edited))
    form = folded(again, [read])
    assert form is not None
    assert "[again: lines 51-201, numbers +2]" in form.text
    assert len(form.text) < 200
    assert expanded(form.text, [read]) == again


def test_lines_inside_json_strings_are_lines_and_json_stays_json() -> None:
    def wrapped(text: str, took: int) -> str:
        return msgspec.json.encode({"status": "ok", "ms": took, "output": [{"type": "text", "text": text}]}).decode()

    first = Earlier("exec read", wrapped(FILE, 3))
    again = wrapped(FILE.replace("argument_20,", "other,"), 4)
    form = folded(again, [first])
    assert form is not None
    assert len(form.text) < 400
    assert json.loads(form.text)["status"] == "ok"
    assert expanded(form.text, [first]) == again


def test_pretty_printed_json_is_not_broken() -> None:
    rows = [{"name": f"package-{n}", "size": n * 31, "summary": f"what package {n} is for"} for n in range(60)]
    first = Earlier("read p.json", json.dumps(rows, indent=2))
    fewer = json.dumps(rows[5:50], indent=2)
    form = folded(fewer, [first])
    assert form is None or json.loads(form.text) is not None


def test_a_result_that_comes_again_as_a_whole() -> None:
    note = whole(FILE, [Earlier("read b.py", source(9)), READ])
    assert note == "[again: all of read src/a.py]"
    assert expanded(note, [READ]) == FILE
    table = Earlier("get rows", "a form in which everything can be read", '[{"a":1}]')
    note = whole('[{"a":1}]', [table])
    assert note is not None
    assert json.loads(note).startswith("[again: ")
    assert expanded(note, [table]) == '[{"a":1}]'


def test_what_repeats_within_a_result() -> None:
    block = source(12)
    text = "first\n" + block + "second\n" + block + "third\n" + block
    form = folded(text, [])
    assert form is not None
    assert form.text.split("\n")[13:] == [
        "second",
        "[again: lines 2-13 of this text]",
        "third",
        "[again: lines 2-13]",
        "",
    ]
    assert expanded(form.text, []) == text


def test_notes_stand_for_what_is_there_and_never_for_notes() -> None:
    second = folded(FILE.replace("value_77 =", "value_seventyseven ="), [READ])
    assert second is not None
    third = FILE.replace("value_77 =", "value_seventyseven =")
    form = folded(third, [READ, Earlier("read src/a.py (2)", second.text)])
    assert form is not None
    assert "(2)" not in form.text  # its one line of its own is too short for a note
    assert expanded(form.text, [READ]) == third


@pytest.mark.parametrize(
    "text",
    [
        FILE + "[again: lines 1-9 of read src/a.py]\n",
        FILE + "[again: all of this text]",
        "[again: " + FILE,
    ],
)
def test_a_text_that_imitates_notes_is_left_as_it_is(text: str) -> None:
    assert folded(text, [READ]) is None


def test_lines_of_earlier_results_that_imitate_notes_are_never_referred_to() -> None:
    false = Earlier("cat x", "[again: lines 1-200 of read src/a.py]\n" + source(30, "b"))
    form = folded(source(30, "b"), [false])
    assert form is not None
    assert form.text.startswith("[again: lines 2-32 of")


def test_names_that_could_not_be_told_from_the_note_are_not_used() -> None:
    assert folded(FILE, [Earlier("read [x]", FILE)]) is None
    assert whole(FILE, [Earlier('say "x"', FILE)]) is None


def test_little_that_repeats_is_left_alone() -> None:
    assert folded(source(200, "new") + "\n".join(FILE.split("\n")[:4]), [READ]) is None
    assert folded("", [READ]) is None
    assert folded("}\n}\n}\n" * 3, [Earlier("x", "}\n}\n}\n")]) is None


@pytest.mark.parametrize("form", ["[again: lines 1-999 of read src/a.py]", "[again: line 1 of the result of nobody]"])
def test_a_note_that_names_nothing_is_an_error(form: str) -> None:
    with pytest.raises(ValueError, match="not there"):
        expanded(form, [READ])


def test_an_echo_of_what_was_written_gets_its_numbers_in_the_note() -> None:
    lines = source(9).rstrip("\n").split("\n")
    written = Earlier("your call edit 1:1", "\n".join(["edit 1:1", *lines, "end_of_edit"]))
    echo = "\n".join(["[File: a.py (9 lines total)]", *(f"{n}:{line}" for n, line in enumerate(lines, 1)), "done"])
    form = folded(echo, [written])
    assert form is not None
    assert form.text.split("\n") == [
        "[File: a.py (9 lines total)]",
        "[again: lines 2-10, numbered from 1:, of your call edit 1:1]",
        "done",
    ]
    assert expanded(form.text, [written]) == echo


def test_a_file_that_was_read_with_numbers_is_known_again_without_them() -> None:
    read = Earlier("Read a.py", "\n".join(f"{n:6}\t{line}" for n, line in enumerate(FILE.split("\n"), 1)))
    form = folded(FILE, [read])
    assert form is not None
    assert form.text.startswith("[again: lines 1-201, without numbers from      1\t, of Read a.py]")
    assert expanded(form.text, [read]) == FILE


def test_lines_of_a_text_itself_that_moved_keep_their_note() -> None:
    def numbered(start: int) -> list[str]:
        return [f"{n}:{line}" for n, line in enumerate(source(12).split("\n")[:12], start)]

    text = "\n".join(["it would have been", *numbered(7), "and it was", *numbered(5)])
    form = folded(text, [])
    assert form is not None
    assert form.text.split("\n")[13:] == ["and it was", "[again: lines 2-13, numbers -2, of this text]"]
    assert expanded(form.text, []) == text


def test_notes_stand_only_where_they_may() -> None:
    block = source(12)
    text = block + "said\n" + block + "shown\n" + block
    form = folded(text, [], within=[(26, 38)])
    assert form is not None
    assert form.text == block + "said\n" + block + "shown\n" + "[again: lines 1-12 of this text]\n"
    assert folded(text, [], within=[]) is None


def test_a_form_leans_on_others_only_where_a_note_names_one() -> None:
    own = folded("first\n" + source(12) + "second\n" + source(12), [])
    other = folded(FILE + "more", [READ])
    assert own is not None
    assert other is not None
    assert not leans(own.text)
    assert leans(other.text)
    assert not leans(FILE)
