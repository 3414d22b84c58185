"""What every test of a codec needs: a note as callers place it, and what of a form is the text's own."""

from __future__ import annotations

import re

from pennyweight.text.compression.detect import sample
from pennyweight.text.compression.gaps import marked
from pennyweight.text.compression.shape import Codec

NOTE = 'left out: recall("r1") gives the whole text]'


def note(left_out: str) -> str:
    return f"[{left_out} {NOTE}"


def own_lines(form: str) -> list[str]:
    """The lines of a form that are no marks and no note."""
    return [line for line in form.split("\n") if not marked(line) and not line.endswith(NOTE)]


def is_subsequence(lines: list[str], of: list[str]) -> bool:
    rest = iter(of)
    return all(line in rest for line in lines)


def sure(codec: Codec, text: str) -> float:
    return codec.sniff(sample(text))


def filled(form: str, text: str) -> str:
    """A form with the lines put back that its marks name, and without its note: the text, if the marks are true."""
    lines = text.split("\n")
    out: list[str] = []
    for line in form.split("\n")[:-1]:
        found = re.match(r"\[\.\.\. lines? (\d+)(?:-(\d+))?[:\]]", line)
        if found is not None:
            out += lines[int(found[1]) - 1 : int(found[2] or found[1])]
        elif not marked(line):
            out.append(line)
    return "\n".join(out)
