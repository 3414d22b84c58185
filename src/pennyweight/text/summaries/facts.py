"""What a text names that must not be got wrong: numbers, paths, identifiers, names. By rule, in several scripts.

Told by form: no list of all names exists. Where the form leaves doubt (a capital after a full stop, a German noun),
`names` says more than there is, because whoever checks a summary would rather refuse a true word than pass a false one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import msgspec

from ..relevance.words import common

__all__ = ["Fact", "Kind", "facts", "number"]

Kind = str
"""`number`, `path`, `identifier` or `name`."""


class Fact(msgspec.Struct, frozen=True):
    """`value` as it stands in the text. `opens`: a name whose capital may be there only to begin a sentence."""

    kind: Kind
    value: str
    opens: bool = False


# Letters, digits and underlines but those of scripts that set no spaces: in 在src/main.py the path begins after 在.
_W = r"[^\W\u2e80-\U0003ffff]"
_P = r"[^\W\u2e80-\U0003ffff]|[.@+-]"
_URL = r"[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`)\]}\u3000-\U0003ffff]+"
_PATH = (
    rf"[A-Za-z]:\\(?:{_P}|\\)*{_W}"
    rf"|(?:~|\.{{1,2}}|\${_W}+)?/(?:{_P})+(?:/(?:{_P}|[{{}}*])+)*/?"
    rf"|(?:{_P})+(?:/(?:{_P}|[{{}}*])+)+/?"
)
_FILE = rf"(?:{_W}|-)+(?:\.(?:{_W}|-)+)*\.(?:[a-z]{{1,4}}[0-9]?|json[lc]?|ipynb|sqlite)(?!{_W}|\()"
_MAIL = rf"(?:{_W}|[.+-])+@(?:{_W}|-)+(?:\.(?:{_W}|-)+)+"
_NAMED = (
    r"--?[a-z][\w-]*(?:=[\w./-]+)?"  # a switch
    r"|\$\{?\w+\}?"
    r"|#\d+"
    r"|v\d+(?:\.\d+)*(?:-\w+)*"
    r"|\w{2,}(?:(?:\.|::|->)[A-Za-z_]\w+)+(?:\(\))?"  # a.b.c()
    r"|\w++\(\)"
    r"|\w*[A-Za-z]_\w+|_+[A-Za-z]\w+"
    r"|[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*-?[0-9][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*"  # RE-2024-17, v2, a UUID
    r"|[a-z]+[A-Z]\w*|[A-Z][a-z0-9]+[A-Z]\w*|[A-Z]{2,}[a-z0-9]*"
)
_NUMBER = r"[+-]?\d+(?:[.,:'\u00a0\u202f/-]\d+)*%?"
_CHINESE_NUMBER = "[〇零一二两三四五六七八九十百千万亿]{2,}"
_ANY = re.compile(
    rf"(?P<url>(?<![a-z0-9+.-]){_URL})|(?P<mail>(?<![\w.+-]){_MAIL})|(?P<path>(?<!{_W})(?<![/.@+~$\\-])(?:{_PATH}))"
    rf"|(?P<file>(?<!{_W})(?<![./-]){_FILE})|(?P<number>(?<!{_W})(?<!\.){_NUMBER}(?!{_W}))"
    rf"|(?P<identifier>(?<!{_W})(?<!-)(?a:{_NAMED}))|(?P<digits>\d+(?:[.,]\d+)*%?)|(?P<chinese>{_CHINESE_NUMBER})"
)
_PLURAL = re.compile(r"[A-Z]{2,}s")

_CAPITAL = re.compile(r"(?<![\w@./\\-])[^\W\d_a-z][^\W\d_]*(?:['\u2019-][^\W\d_]+)*")
_OPENING = re.compile(r"(?:^|[.!?\u2026:;\u3002\uff01\uff1f]|\n)[\s\"'\u201c\u201e\u00ab(\[*#>|-]*\Z")
_QUOTED = re.compile(
    r"[\u300a\u300c\u300e\u201c\u201e]([^\u300b\u300d\u300f\u201d\u201c\n]{2,60})[\u300b\u300d\u300f\u201d\u201c]"
)

# Scripts without capitals: what stands where a name stands.
_INDIC = "[\u0900-\u0963\u0970-\u0dff]+"
_HINDI_TITLED = re.compile(f"(?:श्रीमती|श्री|सुश्री|कुमारी|डॉ\\.?|डॉक्टर|प्रो\\.?|प्रोफ़ेसर)\\s{{1,3}}({_INDIC})")
_HINDI_AGENT = re.compile(f"(?<![\u0900-\u0963])({_INDIC})\\s{{1,3}}(?:ने|जी)(?![\u0900-\u0963])")
_PRONOUNS = "मैं मैंने हम तुम आप उस उन इस इन उन्होंने इन्होंने किसी किस जिस जिन सब सभी लोगों दोनों टीम"
_HINDI_PRONOUNS = frozenset(_PRONOUNS.split())
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙朱胡郭何林罗郑梁谢宋唐许韩冯邓曹彭曾萧蔡潘袁董余苏叶吕魏蒋杜丁沈姜范傅钟卢汪戴崔陆廖姚"
)
_CHINESE_NAME = re.compile(
    f"(?<![\u4e00-\u9fff])([{_SURNAMES}][\u4e00-\u9fff]{{1,2}}?)"
    "(?=先生|女士|小姐|经理|总监|教授|博士|老师|工程师|说|表示|认为|负责|提出|决定|同意|要求|建议|将|会|在|和|与|已|[，。、；：,.;:\\s]|$)"
)


def facts(text: str) -> list[Fact]:
    """What the text names, in the order in which each first stands there, each once."""
    found: dict[Fact, None] = {}
    taken: list[tuple[int, int]] = []
    for match in _ANY.finditer(text):
        fact = _formal(match)
        if fact is not None:
            found.setdefault(fact)
            taken.append(match.span())
    for fact in _names(text, taken):
        found.setdefault(fact)
    return list(found)


def number(value: str) -> str:
    """A number as it is compared: in ASCII digits, thousands not set apart, no plus sign."""
    plain = "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in value)
    plain = re.sub(r"(?<=\d)[,.'\u00a0\u202f](?=\d{3}(?!\d))", "", plain)
    return plain.lstrip("+").replace(",", ".")


def _formal(match: re.Match[str]) -> Fact | None:
    value = match[0]
    match match.lastgroup:
        case "url" | "path" | "file":
            value = value.rstrip(".,;:!?")
            if value.lower() in ("e.g", "i.e") or not any(c.isalnum() for c in value) or _words_apart(value):
                return None
            return Fact("path", value)
        case "number" | "digits" | "chinese":
            return Fact("number", value)
        case _:
            value = value.rstrip(".-")
            if _PLURAL.fullmatch(value):
                value = value[:-1]  # APIs
            return Fact("identifier", value) if len(value) > 1 else None


def _words_apart(value: str) -> bool:
    """Whether a slash sets plain words apart, as in "and/or", "n/a", "Kunde/Kundin"."""
    parts = value.split("/")
    return len(parts) <= 3 and all(part.isalpha() for part in parts) and not value.startswith("/")


def _names(text: str, taken: list[tuple[int, int]]) -> Iterator[Fact]:
    inside = 0
    for match in _CAPITAL.finditer(text):
        while inside < len(taken) and taken[inside][1] <= match.start():
            inside += 1
        if inside < len(taken) and taken[inside][0] < match.end():
            continue
        value = match[0]
        if not value[0].isupper() or len(value) < 2 or common(value.lower()):
            continue
        yield Fact("name", value, _OPENING.search(text[max(match.start() - 12, 0) : match.start()]) is not None)
    if text.isascii():
        return
    for match in _QUOTED.finditer(text):
        if not match[1].isascii():
            yield Fact("name", match[1].strip())
    for pattern in (_HINDI_TITLED, _HINDI_AGENT):
        for match in pattern.finditer(text):
            if match[1] not in _HINDI_PRONOUNS and not common(match[1]):
                yield Fact("name", match[1])
    for match in _CHINESE_NAME.finditer(text):
        yield Fact("name", match[1])
