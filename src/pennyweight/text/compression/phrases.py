"""Phrases that say with fewer tokens the same: tables for prompts of small models. Whether one saves is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

__all__ = ["ABBREVIATIONS", "WORDY", "replaced"]

WORDY: Mapping[str, str] = {
    "please note that": "",
    "it is important to note that": "",
    "it should be noted that": "",
    "keep in mind that": "",
    "please be aware that": "",
    "please make sure that you": "",
    "please make sure to": "",
    "make sure that you": "",
    "make sure to": "",
    "be sure to": "",
    "in order to": "to",
    "so as to": "to",
    "due to the fact that": "because",
    "for the reason that": "because",
    "in the event that": "if",
    "in case that": "if",
    "at this point in time": "now",
    "at the present time": "now",
    "in spite of the fact that": "although",
    "with the exception of": "except",
    "for the purpose of": "for",
    "with respect to": "about",
    "with regard to": "about",
    "in the process of": "",
    "a large number of": "many",
    "the majority of": "most",
    "has the ability to": "can",
    "is able to": "can",
    "are able to": "can",
    "prior to": "before",
    "subsequent to": "after",
    "each and every": "every",
    "first and foremost": "first",
    "on a regular basis": "regularly",
    "until such time as": "until",
    "would you please": "please",
    "i would like you to": "",
    "you are required to": "you must",
}
"""What a phrase in small letters becomes; "" for one that says nothing. None of them denies anything."""

ABBREVIATIONS: Mapping[str, str] = {
    "for example": "e.g.",
    "that is to say": "i.e.",
    "and so on and so forth": "etc.",
    "and so on": "etc.",
    "as soon as possible": "ASAP",
    "greater than or equal to": ">=",
    "less than or equal to": "<=",
    "is equal to": "=",
    "is greater than": ">",
    "is less than": "<",
    "greater than": ">",
    "less than": "<",
    "question and answer": "Q&A",
    "information": "info",
    "implementation": "impl",
    "configuration": "config",
    "documentation": "docs",
    "repository": "repo",
    "application": "app",
    "maximum": "max",
    "minimum": "min",
}
"""Most single words are one token and their abbreviations too, so few of these ever save; counting tells."""


def replaced(line: str, table: Mapping[str, str], count: Callable[[str], int]) -> str:
    """A line with the phrases of a table replaced, each only where the line then has fewer tokens.

    A capital at the beginning of a sentence stays one. A phrase in capitals, or one whose letters are mixed, is a name.
    """
    lower = line.lower()
    if len(lower) != len(line):
        return line
    tokens = -1
    for phrase in sorted(table, key=lambda phrase: (-len(phrase), phrase)):
        if phrase not in lower:
            continue
        shorter = _pattern(phrase).sub(lambda found, to=table[phrase]: _instead(found, to), line)  # type: ignore[misc]
        if shorter == line:
            continue
        tokens = count(line) if tokens < 0 else tokens
        if (after := count(shorter)) < tokens:
            line, lower, tokens = shorter, shorter.lower(), after
    return line


def _pattern(phrase: str) -> re.Pattern[str]:
    words = re.escape(phrase)
    return re.compile(rf"(?<![\w'’/.-])([{phrase[0].upper()}{phrase[0]}]{words[1:]})(?![\w'’/-]|\.\w)(,?[ \t]*)(\w?)")


def _instead(found: re.Match[str], to: str) -> str:
    phrase, blank, follows = found[1], found[2], found[3]
    capital = phrase[0].isupper()
    if not to:
        return follows.upper() if capital else follows
    return f"{to[0].upper() + to[1:] if capital and to[0].isalpha() else to}{blank}{follows}"
