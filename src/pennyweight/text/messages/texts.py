"""What a text says to whom: it asks, consents, refuses, reports, thanks. By English and German phrases."""

from __future__ import annotations

import re
from importlib.resources import files

__all__ = [
    "asks",
    "asks_generally",
    "chooses",
    "consents",
    "empty_result",
    "failed_result",
    "informs",
    "looks_like_output",
    "pleasantry",
    "promises",
    "refuses",
    "reports",
    "requests",
]

_I = re.IGNORECASE


def _phrases() -> dict[str, re.Pattern[str]]:
    """The patterns of `phrases.txt`, by the names of their sections."""
    found: dict[str, list[str]] = {}
    section: list[str] = []
    for line in (files(__package__) / "phrases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = found.setdefault(line[1:-1], [])
        elif line and not line.startswith("# "):
            section.append(f"(?:{line})")
    return {name: re.compile("|".join(patterns), _I) for name, patterns in found.items()}


_PHRASES = _phrases()
_PLEASANT = _PHRASES["pleasant"]
_REQUEST = _PHRASES["request"]
_CONSENT = _PHRASES["consent"]
_CHOICE = _PHRASES["choice"]
_INFORMS = _PHRASES["informs"]
_REFUSAL = _PHRASES["refusal"]
_REPORT = _PHRASES["report"]
_ASK = _PHRASES["ask"]
_GENERAL_ASK = _PHRASES["general ask"]
_PROMISE = _PHRASES["promise"]
_OUTPUT = _PHRASES["output"]
_EMPTY = re.compile(
    r"\s*(?:ok|okay|success(?:ful(?:ly)?)?|done|true|null|none|nil|\{\}|\[\]|\(no output\)|no output"
    r"|transfer successful|your command ran successfully and did not produce any output"
    r"|command (?:completed|succeeded|executed)[^\n]{0,40}|\{\"(?:ok|success)\": ?true\}"
    r"|successfully \w+|file (?:created|saved|deleted|written)(?: successfully)?)?[\s.!]*",
    _I,
)
_FAILED = _PHRASES["failed"]
_STATUS = re.compile(r"\n?\(Open file: [^\n]*\)\s*\(Current directory: [^\n]*\)\s*(?:bash-?\$)?\s*\Z|###STOP###")


def bare(text: str) -> str:
    """A text without the status lines that some harnesses put behind it."""
    return _STATUS.sub("", text) if text.endswith(("$", ")", "#", "\n", " ")) else text


def pleasantry(text: str) -> bool:
    """Short and says nothing but that one is there, has heard, or thanks."""
    said = bare(text).strip()
    if not said:
        return True
    return len(said) < 260 and bool(_PLEASANT.search(said))


def requests(text: str) -> bool:
    return bool(_REQUEST.search(text))


def consents(text: str) -> bool:
    return bool(_CONSENT.search(text))


def chooses(text: str) -> bool:
    return bool(_CHOICE.search(text))


def informs(text: str) -> bool:
    return bool(_INFORMS.search(text))


def refuses(text: str) -> bool:
    return bool(_REFUSAL.search(text))


def reports(text: str) -> bool:
    return bool(_REPORT.search(text))


def asks(text: str) -> bool:
    """For something of which the answer is needed."""
    return bool(_ASK.search(text)) or text.rstrip().endswith("?")


def asks_generally(text: str) -> bool:
    """Whether there is anything more, or how to go on."""
    return bool(_GENERAL_ASK.search(text))


def promises(text: str) -> bool:
    return bool(_PROMISE.search(text))


def looks_like_output(text: str) -> bool:
    """Of a message in the human's place: that a program wrote it."""
    return bool(_OUTPUT.search(text[:400])) or bool(_OUTPUT.search(text[-400:]))


def empty_result(text: str) -> bool:
    """A result that tells no more than that it went well."""
    return len(text) < 600 and _EMPTY.fullmatch(bare(text)) is not None


def failed_result(text: str) -> bool:
    return bool(_FAILED.search(text[:3_000]))
