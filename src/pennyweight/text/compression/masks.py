"""Lines by template: what stays of a line when its values are masked, and how lines of one template are gathered.

A template is a line with numbers, hexadecimal, ids, addresses, hosts and times masked, and no more: merging templates
that are alike (Drain, Du and Li, cited in many log miners) lost a quarter of the event types of sixteen public logs,
masking none (Zhu et al., "Tools and Benchmarks for Automated Log Parsing", give logs with known types). Words are taken
for values only where the text itself shows it: one place of otherwise equal lines that holds many different ones.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["MANY_VALUES", "columns", "masked", "merged"]

MANY_VALUES = 24
"""Different words in one place of otherwise equal templates from which on that place is a variable. Names of states,
services and methods are fewer; at 8 types were lost in logs with known types, at 16 and more none."""
WORDS_AROUND = 2
"""Words that must be the same around such a place."""
MOST_MERGED = 20_000
LONGEST_TOKENS = 64
FIRST_COLUMNS = 10

_ID = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?<![\w:])(?=[^\s]{0,40}\d)(?:[0-9a-fA-F]{1,4}::?){2,7}[0-9a-fA-F]{1,4}(?![\w:])"
    r"|(?<![\w])[a-f]{8,64}(?!\w)"
)
"""UUIDs, MAC and IPv6 addresses, hexadecimal that happens to have no digit."""
# RFC 3164, section 4.1: a syslog line names the machine after the time.
_MACHINE = re.compile(r"((?:<#>)?[A-Z][a-z]{2} +# #|#) (\S+) (?=[\w./()-]+(?:\[#\])?: )")
# A version of a protocol or a hash is part of a name, not a value.
_WORD = re.compile(
    r"(?<![A-Za-z0-9])(?!(?:[iI][pP][vV][46]|SHA\d{1,3}|MD5|TLSv1|HTTP[23])(?!\w))[A-Za-z]*\d[A-Za-z0-9]*"
)
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]{4,}|0[xX][0-9a-fA-F]*")
_DIGITS = re.compile(r"\d+")
_JOINED = re.compile(r"#(?:(?:[.,:+/]|[-]{1,2})#){1,64}(?!\w)")
# What a request or a program ended with is no mere value: the class of an HTTP status (RFC 9110, section 15), and
# whether an exit status is zero.
_STATUS = re.compile(r"(?i)(?:\bHTTP/[\d.]{1,4}\"? |\bstatus(?:[ _]?code)?[\"']?[=: ]{1,3})([1-5])\d\d\b")
_EXIT = re.compile(r"(?i)\b(?:exit(?:ed with)?[ _]?(?:code|status)?|return[ _]?code|rc)[\"']?[=: ]{1,3}0\b")
_CLASSES = {"1": "told", "2": "done", "3": "moved", "4": "refused", "5": "broken"}
_SIGN = re.compile(r"(?<!\w)-(?=#)")
# Top-level names that are no common word or suffix of an identifier (.id, .in, .it, .is and the like are left out).
_TOP = (
    "com|net|org|edu|gov|mil|io|local|lan|internal|localdomain|arpa|"
    "au|br|ch|cl|cn|cz|de|dk|eu|fi|fr|gr|hk|hu|il|jp|kr|mx|nl|pl|ro|ru|se|sg|sk|tw|ua|uk|us|vn|za"
)
_LABEL = r"[A-Za-z0-9#](?:[\w#-]{0,62})"
# Names of packages run the other way round (com.example.Thing), so a name that begins with a top-level one is none.
_HOST = re.compile(
    rf"(?<![\w.#/@$-])(?!(?:com|org|net|edu|java|javax|android)\.)(?:{_LABEL}\.){{1,8}}(?:{_TOP})(?![\w.$-]|\.\w)"
)
_POD = re.compile(r"(?<=-)(?:#|[a-z0-9#]{8,10})-[a-z0-9#]{5}(?![\w#-])")
_PATH = re.compile(r"(?<![\w#.<])(?:[A-Za-z]:)?(?:[/\\][\w.$@%+~#&=?!-]{1,255}){1,64}[/\\]?")
_VALUE = re.compile(
    r"(?<=[\w\"]=)[^\s,;&()\[\]{}\"]{1,256}|(?<=\":)\s?\"(?:[^\"\\]|\\.){0,2000}\"|(?<==)\"[^\"]{0,2000}\""
)
_QUOTED = re.compile(r"\"[^\"\n]{1,2000}\"|'[^'\n]{1,2000}'|`[^`\n]{1,2000}`")
_LEVEL = re.compile(
    r"(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|FATAL|CRIT|CRITICAL|ALERT|SEVERE|PANIC)", re.IGNORECASE
)
_LONG_WORD = re.compile(r"[^\W\d_]{7,}")
_PARTED = re.compile(r"[|=(),;\[\]{}]")
_SOFT = ((_PATH, "/"), (_VALUE, "~"), (_QUOTED, '"~"'))


def masked(line: str, places: Sequence[int] = ()) -> str:
    """The template of a line. `places`: from `columns`, the leading fields that are a value as a whole."""
    low = line.lower()
    if "status" in low or "http/" in low:
        line = _STATUS.sub(lambda found: f"{found[0][:-3]}{_CLASSES[found[1]]}", line)
    if "exit" in low or "rc" in low or "code" in low:
        line = _EXIT.sub("exit zero", line)
    if places:
        fields = line.split(None, FIRST_COLUMNS)
        for place in places:
            if place < len(fields) and _has_digit(fields[place]) and not _PARTED.search(fields[place]):
                fields[place] = "#"
        line = " ".join(fields)
    plain = _WORD.sub(_word, _ID.sub("#", line))
    plain = _JOINED.sub("#", _SIGN.sub("", plain))
    plain = _MACHINE.sub(r"\1 H ", plain, count=1)
    if "-" in plain:
        plain = _POD.sub("#", plain)
    return _HOST.sub("H", plain) if "." in plain else plain


def _word(found: re.Match[str]) -> str:
    """A word with digits in it: a number, an id or a name with numbers in it, of which the letters stay."""
    word = found[0]
    if word.isdigit() or _HEX.fullmatch(word):
        return "#"
    shape, runs = _DIGITS.subn("#", word)
    return "#" if runs >= 2 else shape


def columns(lines: Sequence[str]) -> tuple[int, ...]:
    """Which of the leading fields of a log are values as a whole: nodes, threads, addresses that all bear digits.

    A field is one only if nearly all lines have a digit there, nothing that parts fields inside it, no long word and
    no level.
    """
    seen: Counter[int] = Counter()
    values: Counter[int] = Counter()
    for line in lines:
        for place, field in enumerate(line.split(None, FIRST_COLUMNS)[:FIRST_COLUMNS]):
            seen[place] += 1
            values[place] += (
                _has_digit(field)
                and not _PARTED.search(field)
                and not _LONG_WORD.search(field)
                and not _LEVEL.search(field)
            )
    enough = 0.9 * len(lines)
    return tuple(place for place in sorted(seen) if seen[place] >= enough and values[place] >= 0.95 * seen[place])


def _has_digit(text: str) -> bool:
    return _DIGITS.search(text) is not None


def merged(templates: Iterable[str]) -> Mapping[str, str]:
    """What to gather each template under: itself, or one with a variable where the templates show that there is one."""
    under = {template: template for template in templates}
    if len(under) > MOST_MERGED:
        return under
    for pattern, sign in _SOFT:
        under = _by_value(under, pattern, sign)
    return _by_place(_by_place(under))


def _by_value(under: Mapping[str, str], pattern: re.Pattern[str], sign: str) -> dict[str, str]:
    """Paths, values of keys, quoted words: each is masked where MANY_VALUES or more stand in its place.

    Place by place: of `msg="logged in" user=bob` the users are many, and what is said of them is not.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for now in dict.fromkeys(under.values()):
        alike[pattern.sub(sign, now)].append(now)
    new: dict[str, str] = {}
    for soft, nows in alike.items():
        if len(nows) < MANY_VALUES or soft == nows[0]:
            continue
        values = [pattern.findall(now) for now in nows]
        many = [len(set(column)) >= MANY_VALUES for column in zip(*values, strict=False)]
        for now in nows:
            places = iter(many)
            new[now] = pattern.sub(lambda found, places=places: sign if next(places, False) else found[0], now)  # type: ignore[misc]
    return {template: new.get(now, now) for template, now in under.items()}


def _by_place(under: Mapping[str, str]) -> dict[str, str]:
    """One word of otherwise equal templates is masked where MANY_VALUES or more stand there."""
    places: dict[tuple[int, int, int, int], list[str]] = defaultdict(list)
    for now in set(under.values()):
        tokens = now.split(" ")
        if not WORDS_AROUND < len(tokens) <= LONGEST_TOKENS or sum(map(_is_word, tokens)) <= WORDS_AROUND:
            continue
        after = [0]
        for token in reversed(tokens):
            after.append(hash((after[-1], token)))
        before = 0
        for place, token in enumerate(tokens):
            if _is_word(token):
                places[len(tokens), place, before, after[len(tokens) - place - 1]].append(now)
            before = hash((before, token))
    new: dict[str, str] = {}
    for (_, place, _, _), nows in places.items():
        if len(nows) < MANY_VALUES:
            continue
        tokens = nows[0].split(" ")
        tokens[place] = "~"
        for now in nows:
            new.setdefault(now, " ".join(tokens))
    return {template: new.get(now, now) for template, now in under.items()}


def _is_word(token: str) -> bool:
    return any(map(str.isalpha, token))
