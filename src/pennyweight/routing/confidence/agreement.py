"""Whether two answers to one request say the same: calls by their arguments, JSON by its values, short answers by
their words. What cannot be told, such as two long texts, is said to be unknown and not guessed.

Agreement with a second model of about the same strength is the strongest sign that an answer is right (see
docs/cascade.md); so what is only written otherwise must count as the same, and nothing else.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from .said import Asked, Said, ToolUse
from .schema import kind_of, resolved

__all__ = ["Agreement", "agree", "parts_alike", "repeats", "same_text", "same_value"]

_MOST_CALLS, _FEW_CALLS = 32, 8
_SHORT_WORDS = 12
_FEW_WORDS = 5
_SHORT_CHARS = 200
_LONG_CHARS = 4_000  # longer texts are compared as they are, and longer descriptions not read to their end


class Agreement(msgspec.Struct, frozen=True):
    """`same` None: it cannot be told. `kind`: by what it was told. `share`: of what was said that is alike, in [0, 1]:
    1.0 where all is the same, and of calls how many of their names and arguments are."""

    same: bool | None
    kind: Literal["calls", "no call", "json", "choice", "number", "short", "text", "end"]
    share: float = 0.0


def agree(a: Said, b: Said, asked: Asked) -> Agreement:
    """How far two answers agree. Symmetric."""
    if "refused" in (a.end, b.end) or "cut" in (a.end, b.end):
        return Agreement(False, "end")
    if a.calls or b.calls:
        if bool(a.calls) != bool(b.calls):
            return Agreement(False, "no call")
        share = parts_alike(a.calls, b.calls, asked)
        return Agreement(share == 1.0, "calls", share)
    if asked.form is not None or (_looks_json(a.text) and _looks_json(b.text)):
        return _json(a.text, b.text, asked)
    said = same_text(a.text, b.text)
    if said.same is None and asked.may_call:
        # Both saw that no tool fits: that they chose the same is what there is to agree on.
        return Agreement(None, "no call", 0.5)
    return said


# --- calls ------------------------------------------------------------------------------------------------


def parts_alike(a: Sequence[ToolUse], b: Sequence[ToolUse], asked: Asked) -> float:
    """The share of calls and arguments that both have, in [0, 1]; 1.0: the same calls. Their order does not count.
    Of many calls only whole ones are compared."""
    mine, left = _made_once(a, asked), _made_once(b, asked)
    if len(a) > _MOST_CALLS or len(b) > _MOST_CALLS:
        return 0.0
    parts, unmatched = float(max(len(mine), len(left))), []
    for call in mine:
        index = next((i for i, other in enumerate(left) if call.same(other)), None)
        if index is None:
            unmatched.append(call)
        else:
            left.pop(index)
    if not unmatched and not left:
        return 1.0
    alike = parts - max(len(unmatched), len(left))
    for call in unmatched if len(mine) <= _FEW_CALLS else ():
        share, index = max(((call.share(other), i) for i, other in enumerate(left)), default=(0.0, -1))
        if share > 0.0:
            left.pop(index)
        alike += share
    return min(alike / parts, 0.999)


def repeats(calls: Sequence[ToolUse], asked: Asked) -> bool:
    """Whether two of the calls are the same: what is done twice may be done once too often."""
    return len(calls) <= _MOST_CALLS and len(_made_once(calls, asked)) < len(calls)


class _Made:
    """A call with what its arguments say, worked out once."""

    __slots__ = ("name", "schema", "told")

    def __init__(self, call: ToolUse, asked: Asked) -> None:
        self.name = call.name
        self.schema = asked.tools.get(call.name)
        self.told = None if call.arguments is None else _told(call.arguments, self.schema, self.schema)

    def same(self, other: _Made) -> bool:
        mine, theirs = self.told, other.told
        if self.name != other.name or mine is None or theirs is None or mine.keys() != theirs.keys():
            return False
        return mine == theirs or all(self._alike(name, other) for name in mine)

    def share(self, other: _Made) -> float:
        """0.0 for another tool; else half for the name, and less than half by the arguments that are alike."""
        if self.name != other.name:
            return 0.0
        names = (self.told or {}).keys() | (other.told or {}).keys()
        alike = sum(self._alike(name, other) for name in names)
        return 0.5 + 0.495 * alike / len(names) if names else 0.5

    def _alike(self, name: str, other: _Made) -> bool:
        mine, theirs = self.told or {}, other.told or {}
        if name not in mine or name not in theirs:
            return False
        return same_value(mine[name], theirs[name], _property(self.schema, name), self.schema)


def _made_once(calls: Sequence[ToolUse], asked: Asked) -> list[_Made]:
    return _once([_Made(call, asked) for call in calls[:_MOST_CALLS]])


def _once(calls: Sequence[_Made]) -> list[_Made]:
    """Calls without those that are there twice: a model that repeats itself says nothing more."""
    kept: list[_Made] = []
    for call in calls:
        if not any(call.same(other) for other in kept):
            kept.append(call)
    return kept


def _told(arguments: Mapping[str, Any], schema: Any, root: Any) -> dict[str, Any]:
    """The arguments that say something: neither empty, nor what would be taken without them."""
    required = schema.get("required") if isinstance(schema, Mapping) else None
    needed = set(map(str, required)) if isinstance(required, list) else set()
    return {
        name: value
        for name, value in arguments.items()
        if name in needed
        or not (value in _EMPTY or any(same_value(value, d) for d in _defaults(_property(schema, name), root)))
    }


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _property(schema: Any, name: str) -> Any:
    known = schema.get("properties") if isinstance(schema, Mapping) else None
    return known.get(name, {}) if isinstance(known, Mapping) else {}


def _defaults(schema: Any, root: Any) -> Iterator[Any]:
    """What is taken for a property that is left out: by its schema, or as its description says."""
    schema = resolved(schema, root)
    if not isinstance(schema, Mapping):
        return
    if "default" in schema:
        yield schema["default"]
    description = schema.get("description")
    found = _DEFAULT.search(description[:_LONG_CHARS]) if isinstance(description, str) else None
    if found is not None:
        quoted = next((group for group in found.groups()[:3] if group is not None), None)
        yield quoted if quoted is not None else _bare(found[4])


_DEFAULT = re.compile(
    r"\bdefaults?\b(?:\s+(?:value|is|to|are|set|be|being|of)\b|\s*[:=])*\s*"
    r"""(?:'([^']*)'|"([^"]*)"|`([^`]*)`|(-?\d+(?:\.\d+)?%?|[A-Za-z_][\w-]*))""",
    re.IGNORECASE,
)


def _bare(word: str) -> Any:
    lower = word.lower()
    if lower in ("true", "false"):
        return lower == "true"
    return None if lower in ("none", "null") else _as_number(word) if _as_number(word) is not None else word


# --- values -----------------------------------------------------------------------------------------------


def same_value(a: Any, b: Any, schema: Any = None, root: Any = None) -> bool:
    """Whether two JSON values mean the same where `schema` says what they are: 5, 5.0 and "5" for a number, texts
    that differ in case and spaces alone. What looks like code, a path or an address is compared as it is."""
    schema = resolved(schema, root if root is not None else schema)
    kind = kind_of(schema)
    if isinstance(a, dict) and isinstance(b, dict):
        mine, others = _told(a, schema, root), _told(b, schema, root)
        return mine.keys() == others.keys() and all(
            same_value(value, others[name], _property(schema, name), root) for name, value in mine.items()
        )
    if isinstance(a, list) and isinstance(b, list):
        inner = schema.get("items", {}) if isinstance(schema, Mapping) else {}
        return len(a) == len(b) and all(same_value(x, y, inner, root) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool) or kind == "boolean":
        return _truth(a) is not None and _truth(a) == _truth(b)
    if isinstance(a, int | float) or isinstance(b, int | float) or kind in ("number", "integer"):
        return _same_number(a, b)
    if isinstance(a, str) and isinstance(b, str):
        if isinstance(schema, Mapping) and isinstance(schema.get("enum"), list):
            return a.strip() == b.strip()
        return a.strip() == b.strip() or _same_words(a, b)
    return bool(a == b)


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    lower = value.strip().lower() if isinstance(value, str) else ""
    return lower == "true" if lower in ("true", "false") else None


def _same_number(a: Any, b: Any) -> bool:
    x, y = _as_number(a), _as_number(b)
    return x is not None and y is not None and math.isclose(x, y, rel_tol=1e-9, abs_tol=0.0)


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = _THOUSANDS.sub("", value.strip().lstrip("$€£").rstrip("%"))
        if not _NUMBER.fullmatch(value):
            return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


_NUMBER = re.compile(r"[+-]?\d{1,300}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|[+-]?\.\d+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
_LITERAL = re.compile(r"[\\/={}<>()\[\];@#|~$^]|::|\w[._]\w*[A-Za-z]|\w_\w")
"""Signs of a text in which every character counts: code, paths, addresses, names with dots."""


def _literal(text: str) -> bool:
    return _LITERAL.search(text) is not None


def _same_words(a: str, b: str) -> bool:
    """Whether two texts differ in case, spaces and punctuation alone; signs such as % or € are no punctuation."""
    if max(len(a), len(b)) > _LONG_CHARS or _literal(a) or _literal(b) or _SIGN.findall(a) != _SIGN.findall(b):
        return False
    return words(a) == words(b) != []


_SIGN = re.compile(r"[^\w\s.,;:!?'\"’‘“”()\-–—…]")


def words(text: str) -> list[str]:
    """Words and numbers of a text without case, spaces and punctuation; a minus before a number stays."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


_WORD = re.compile(r"(?<!\S)-\d+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+")


# --- texts ------------------------------------------------------------------------------------------------


def same_text(a: str, b: str) -> Agreement:
    """Of two answers in words: a choice, a number, a short answer; unknown where one is longer."""
    x, y = _final(a), _final(b)
    if x is None or y is None:
        return Agreement(None, "text")
    if _CHOICE.fullmatch(x) and _CHOICE.fullmatch(y):
        same = x.strip("()[]. ").upper() == y.strip("()[]. ").upper()
        return Agreement(same, "choice", float(same))
    if _as_number(x) is not None and _as_number(y) is not None:
        same = _same_number(x, y)
        return Agreement(same, "number", float(same))
    if x == y or _same_words(x, y):
        return Agreement(True, "short", 1.0)
    sentence = max(len(x.split()), len(y.split())) > _FEW_WORDS  # which can be put in many ways
    return Agreement(None if sentence else False, "short")


_CHOICE = re.compile(r"[(\[]?[A-Za-z][)\].]?")
_MARKED = re.compile(
    r"\\boxed\{([^{}]*)\}|(?:####|(?:final\s+)?answer\s*(?:is)?\s*[:=]|(?:final\s+)?answer\s+is)\s*(.+)", re.IGNORECASE
)


def _final(text: str) -> str | None:
    """What an answer comes down to: all of a short one, of a long one what it marks as its answer; None: no telling."""
    stripped = text.strip()
    if not stripped:
        return None
    if len(stripped) <= _SHORT_CHARS and "\n" not in stripped and len(stripped.split()) <= _SHORT_WORDS:
        marked = list(_MARKED.finditer(stripped))
        return _trimmed(marked[-1][1] or marked[-1][2] or "") if marked else _trimmed(stripped)
    marked = list(_MARKED.finditer(stripped[-2_000:]))
    if not marked:
        return None
    said = _trimmed((marked[-1][1] or marked[-1][2] or "").partition("\n")[0])
    return said if said and len(said.split()) <= _SHORT_WORDS else None


def _trimmed(text: str) -> str:
    return text.strip().strip("*`_ ").rstrip(".").strip("*`_ ")


# --- JSON -------------------------------------------------------------------------------------------------


def _json(a: str, b: str, asked: Asked) -> Agreement:
    x, y = json_in(a), json_in(b)
    if x is _NOTHING or y is _NOTHING:
        return Agreement(False, "json")
    schema = asked.form if isinstance(asked.form, dict) else None
    if same_value(x, y, schema, schema):
        return Agreement(True, "json", 1.0)
    if isinstance(x, dict) and isinstance(y, dict) and (names := x.keys() | y.keys()):
        alike = sum(n in x and n in y and same_value(x[n], y[n], _property(schema, n), schema) for n in names)
        return Agreement(False, "json", min(alike / len(names), 0.999))
    return Agreement(False, "json")


def _looks_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


class _Nothing:
    """No JSON: None would be a value of it."""


_NOTHING = _Nothing()


def json_in(text: str) -> Any:
    """The JSON that a text is, within a code fence or not; `_NOTHING` where it is none."""
    fenced = _FENCE.fullmatch(text.strip())
    try:
        return msgspec.json.decode(fenced[1] if fenced else text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _NOTHING


def is_json(text: str) -> bool:
    return json_in(text) is not _NOTHING


_FENCE = re.compile(r"```[a-zA-Z]*\n(.*?)\n?```", re.DOTALL)
