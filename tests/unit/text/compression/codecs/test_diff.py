from __future__ import annotations

import difflib
import re

import pytest

from pennyweight.text.compression import Ask, detect
from pennyweight.text.compression.codecs.diff import CODEC, headed, unheaded

from .forms import NOTE, is_subsequence, note, own_lines, sure


def file_diff(path: str, changes: int, *, git: bool = True) -> str:
    old = [f"line {n} of {path}" for n in range(changes * 20)]
    new = [f"{line} -- changed" if n % 20 == 7 else line for n, line in enumerate(old)]
    made = "\n".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm=""))
    return f"diff --git a/{path} b/{path}\nindex 1a2b3c4..5d6e7f8 100644\n{made}" if git else made


DIFF = "\n".join(
    [
        "commit 5e38da8116e4a661b1e3851e432bc4faed52537b",
        "Author: A <a@example.com>",
        "",
        "    Change things",
        "",
        file_diff("src/reader.py", 6),
        file_diff("package-lock.json", 9),
        "diff --git a/img/a.png b/img/b.png",
        "similarity index 100%",
        "rename from img/a.png",
        "rename to img/b.png",
        file_diff("src/writer.py", 2),
        "",
    ]
)


def hunks(text: str) -> list[str]:
    """Each hunk of a unified diff, by the number of lines that its head says."""
    found: list[str] = []
    lines = text.split("\n")
    for at, line in enumerate(lines):
        if (head := re.match(r"@@ -\d+,(\d+) \+\d+,(\d+) @@", line)) is not None:
            old, new, end = int(head[1]), int(head[2]), at + 1
            while (old or new) and end < len(lines):
                old -= lines[end][:1] in {" ", "-"}
                new -= lines[end][:1] in {" ", "+"}
                end += 1
            found.append("\n".join(lines[at:end]))
    return found


@pytest.mark.parametrize("room", [300, 900, 1_800, 3_000, 4_500])
def test_a_hunk_is_whole_or_left_out_and_what_is_missing_is_counted(room: int) -> None:
    made = CODEC.reduced(DIFF, Ask(), room, note)
    assert made is not None
    assert set(hunks(made.text)) <= set(hunks(DIFF))
    assert made.text.endswith(NOTE)
    left = re.search(r"\(\+(\d+) -(\d+) lines\)", made.left_out)
    assert left is not None
    shown = sum(line.startswith("+") and not line.startswith("+++ ") for line in made.text.split("\n"))
    assert shown + int(left[1]) == 17
    marks = re.findall(r"\[\.\.\. .*: \+(\d+) -(\d+) lines\]", made.text)
    assert sum(int(added) for added, _ in marks) + shown == 17


def test_hunks_of_lock_files_are_left_out_first() -> None:
    own = [hunk for hunk in hunks(DIFF) if "of package-lock.json" not in hunk]
    for room in (1_500, 2_400, 2_700, 3_000):
        made = CODEC.reduced(DIFF, Ask(), room, note)
        assert made is not None
        assert set(own) <= set(hunks(made.text)) or "of package-lock.json" not in made.text
        assert "+++ b/package-lock.json" in made.text
        assert is_subsequence(own_lines(made.text), DIFF.split("\n"))


def test_a_file_asked_about_is_whole_whatever_the_room() -> None:
    for room in (400, 1_000):
        made = CODEC.reduced(DIFF * 3, Ask("what changed in reader.py?"), max(room, 5_000), note)
        assert made is not None
        assert hunks(made.text) == [hunk for hunk in hunks(DIFF * 3) if "src/reader.py" in hunk]


def test_too_many_files_are_listed_with_their_counts() -> None:
    text = "\n".join(file_diff(f"src/module_{n}.py", 2) for n in range(60))
    made = CODEC.reduced(text, Ask("and module_41.py?"), 2_400, note)
    assert made is not None
    assert "src/module_3.py [... 2 hunks: +2 -2 lines]" in made.text.split("\n")
    assert file_diff("src/module_41.py", 2) in made.text
    assert made.left_out == "the hunks of 59 files (+118 -118 lines)"


def test_the_form_without_loss_says_a_path_twice_and_not_four_times() -> None:
    form = unheaded(DIFF)
    assert form is not None
    assert "diff --git a/src/reader.py" not in form
    assert "diff --git a/img/a.png b/img/b.png" in form
    assert headed(form) == DIFF
    assert unheaded(file_diff("a.py", 2, git=False)) is None
    assert (
        unheaded("diff --git a/x b/x\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a")
        is None
    )


def test_what_reads_like_a_head_inside_of_a_hunk_is_a_line_of_it() -> None:
    body = "@@ -1,3 +1,3 @@\n--- old comment\n+++ new comment\n context\n diff --git a/x b/x"
    text = "\n".join(f"diff --git a/f{n} b/f{n}\n--- a/f{n}\n+++ b/f{n}\n{body}" for n in range(9))
    made = CODEC.reduced(text, Ask("show f3"), 800, note)
    assert made is not None
    assert made.left_out.startswith(("8 of 9 hunks (+8 -8", "the hunks of", "7 of 9", "6 of 9", "5 of 9", "4 of 9"))
    numbers = re.search(r"(\d+) of 9 hunks \(\+(\d+) -(\d+)", made.left_out)
    assert numbers is None or numbers[1] == numbers[2] == numbers[3]


@pytest.mark.parametrize("way", ["context", "plain"])
def test_other_kinds_of_diffs_are_read_too(way: str) -> None:
    old = [f"line {n}" for n in range(200)]
    new = [f"{line} changed" if n % 20 == 7 else line for n, line in enumerate(old)]
    if way == "context":
        text = "\n".join(difflib.context_diff(old, new, "old.txt", "new.txt", lineterm=""))
    else:
        text = "\n".join(f"{n + 1}c{n + 1}\n< {old[n]}\n---\n> {new[n]}" for n in range(200) if n % 20 == 7)
    assert detect(text) == "diff"
    made = CODEC.reduced(text, Ask(), 700 if way == "context" else 300, note)
    assert made is not None
    assert is_subsequence(own_lines(made.text), text.split("\n"))
    numbers = re.search(r"(\d+) of 10 hunks \(\+(\d+) -(\d+)", made.left_out)
    assert numbers is not None
    factor = 2 if way == "context" else 1
    assert int(numbers[2]) == int(numbers[3]) == int(numbers[1]) * factor


def test_a_cut_diff_costs_nothing() -> None:
    for end in range(0, len(DIFF), 97):
        made = CODEC.reduced(DIFF[:end], Ask(), 500, note)
        if made is not None:
            form = made.text.rpartition("\n")[0]
            assert set(hunks(form)) <= set(hunks(DIFF[:end]))


def test_diffs_are_told_by_their_hunks() -> None:
    assert detect(DIFF) == "diff"
    assert detect(file_diff("a.py", 2, git=False)) == "diff"
    for text in ("- a\n- b\n+ c\n" * 9, "--- head ---\n+++ more +++\n" * 5, "diff is good\n" * 9):
        assert sure(CODEC, text) == 0.0
