"""Puts a system prompt together for one session: what the task needs in full, the rest in short or not at all.

Nothing that a session may call is hidden: a list of tools or skills loses descriptions, never names, and what names a
tool that is offered stays. What is left out is told at the end.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from .module import Entry, Module

__all__ = ["Assembled", "Session", "assemble"]

Count = Callable[[str], int]

ALWAYS = 85
"""From this priority on, a module is never left out for want of room."""

ENTRIES_IN_FULL = 0.15
"""Of the room, what descriptions of things in lists may take, those first that the task is about."""


class Session(msgspec.Struct, frozen=True):
    """What is known when a session begins. `query`: the first human text. `tools`: offered in the request itself."""

    query: str = ""
    tools: Collection[str] = ()
    agent: str = ""
    model: str = ""


class Assembled(msgspec.Struct, frozen=True):
    """`kept`, `shortened`, `dropped`: titles of modules, in the order of the prompt."""

    text: str
    tokens_before: int
    tokens_after: int
    kept: tuple[str, ...] = ()
    shortened: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def assemble(
    modules: Sequence[Module],
    session: Session,
    *,
    count: Count,
    budget_tokens: int | None = None,
    order: Literal["as_written", "stable_first"] = "as_written",
) -> Assembled:
    """The prompt of a session in about `budget_tokens`; None: only conditions and repetitions decide.

    What must stay may take more than the budget. stable_first: what holds dates and the like goes to the end, and
    what every session gets comes before what was chosen for this one, so that a provider's cache is shared.
    """
    before = sum(count(module.text) for module in modules)
    session = _with_asked(session, modules)
    asked = _Words(session.query, modules)
    fitting = [module for module in _without_repeats(modules) if _holds(module, session)]
    must = {id(m) for m in fitting if _must(m, session)}
    whole = sum(count(m.text) for m in fitting)
    if budget_tokens is None or whole <= budget_tokens:
        chosen, texts = {id(m) for m in fitting}, {id(m): m.text for m in fitting}
    else:
        chosen, texts = _chosen(fitting, must, session, asked, count, budget_tokens)
    kept = [module for module in fitting if id(module) in chosen]
    dropped = [module for module in modules if id(module) not in chosen and module.text.strip()]
    if order == "stable_first":
        kept.sort(key=lambda m: (m.volatile, id(m) not in must and m.priority < ALWAYS))
    said = "".join(texts[id(module)] for module in kept)
    missing = _missing(dropped)
    text = said + ("" if not missing or said.endswith("\n") or not said else "\n") + missing
    return Assembled(
        text,
        before,
        count(text),
        tuple(m.title for m in kept if texts[id(m)] == m.text),
        tuple(m.title for m in kept if texts[id(m)] != m.text),
        tuple(m.title for m in dropped),
    )


def _with_asked(session: Session, modules: Sequence[Module]) -> Session:
    """The session as if the listed things that the query names were offered."""
    said = frozenset(_NAME.findall(session.query.lower()))
    asked = [entry.name for module in modules for entry in module.entries if entry.name.lower() in said]
    return msgspec.structs.replace(session, tools=frozenset([*session.tools, *asked])) if asked else session


_NAME = re.compile(r"[\w./:-]*\w")


def _chosen(
    fitting: Sequence[Module],
    must: Collection[int],
    session: Session,
    asked: _Words,
    count: Count,
    budget_tokens: int,
) -> tuple[set[int], dict[int, str]]:
    """Which modules stay, by their ids, and in which words: first what must, then by worth, while there is room."""
    texts = {id(m): m.text for m in fitting}
    lists = [m for m in fitting if m.entries and not m.priority >= ALWAYS]
    names = sorted((m for m in lists), key=lambda m: -asked.likeness(m.text))
    for module in names:
        room = round(budget_tokens * ENTRIES_IN_FULL / max(len(names), 1))
        texts[id(module)] = _shortened(module, session, asked, count, room)
    chosen = {id(m) for m in fitting if id(m) in must or m.entries}
    left = budget_tokens - _MISSING_TOKENS - sum(count(texts[id(m)]) for m in fitting if id(m) in chosen)
    rest = [m for m in fitting if id(m) not in chosen]
    offered = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, session.tools)) or '(?!)'})(?![\w-])")
    listed = frozenset(entry.name.lower() for module in fitting for entry in module.entries)
    for module in sorted(rest, key=lambda m: -_worth(m, offered, asked, listed)):
        tokens = count(module.text)
        if tokens <= left:
            chosen.add(id(module))
            left -= tokens
    return _with_headings(fitting, chosen), texts


_LONG_CHARS = 5_000  # a piece of that length must be worth as much as the highest priority to stay
_MISSING_TOKENS = 120  # for the line that tells what is left out


def _worth(module: Module, offered: re.Pattern[str], asked: _Words, listed: frozenset[str]) -> float:
    """Priority and likeness; more for what speaks of a tool that is offered, less for what is about listed things that
    nobody asked for."""
    likeness = asked.likeness(module.text)
    worth = module.priority / 100 + 1.5 * likeness - len(module.text) / _LONG_CHARS
    if offered.search(module.text):
        return worth + 0.6
    if not module.names:
        return worth + 0.1  # how to go about any task
    return worth - 0.25 if likeness < _ABOUT and not listed.isdisjoint(module.names) else worth


def _must(module: Module, session: Session) -> bool:
    if module.priority >= ALWAYS:
        return True
    offered = {tool.lower() for tool in session.tools}
    return not module.entries and (not offered.isdisjoint(module.names) or _holds_query(module, session))


def _holds_query(module: Module, session: Session) -> bool:
    """Whether it names what the query names as one names files: `src/a.py`, NOTES.md."""
    said = session.query.lower()
    return any(("." in name or "/" in name) and len(name) > 4 and name in said for name in module.names)


def _holds(module: Module, session: Session) -> bool:
    """Whether its conditions hold."""
    when, query = module.when, session.query.lower()
    if when.tools and set(when.tools).isdisjoint(session.tools):
        return False
    if when.words and not any(word.lower() in query for word in when.words):
        return False
    if when.agents and not any(fnmatchcase(session.agent, pattern) for pattern in when.agents):
        return False
    return not when.models or any(fnmatchcase(session.model, pattern) for pattern in when.models)


def _with_headings(fitting: Sequence[Module], chosen: set[int]) -> set[int]:
    """Also the short modules that open a heading under which something stays: a title without its text misleads less
    than a text without its title."""
    for at, module in enumerate(fitting):
        if id(module) in chosen or len(module.text) > 200 or not module.text.lstrip().startswith("#"):
            continue
        below = (m for m in fitting[at + 1 :] if m.title.startswith(module.title))
        if any(id(m) in chosen for m in below):
            chosen.add(id(module))
    return chosen


# --- lists of named things ----------------------------------------------------------------------------------------


def _shortened(module: Module, session: Session, asked: _Words, count: Count, room: int) -> str:
    """The list with those in full that the task is about or that are offered, and the others by name."""
    ranked = sorted(module.entries, key=lambda e: (e.name not in session.tools, -asked.likeness(e.text)))
    full: set[int] = set()
    for entry in ranked:
        tokens = count(entry.text)
        wanted = entry.name in session.tools or asked.likeness(entry.text) > _ABOUT
        if wanted and (tokens <= room or entry.name in session.tools):
            full.add(id(entry))
            room -= tokens
    others = [entry for entry in module.entries if id(entry) not in full]
    if not others:
        return module.text
    short = "".join(entry.text for entry in module.entries if id(entry) in full) + _in_short(others)
    return short if count(short) < count(module.text) else module.text


_ABOUT = 0.12
_LOCATION = re.compile(r"<location>\s*([^<\s]+)\s*</location>")


def _in_short(entries: Sequence[Entry]) -> str:
    """The names of the others, with where each is to be found."""
    indent = re.match(r"[ \t]*", entries[0].text)
    lead = indent[0] if indent is not None else ""
    places: dict[str, list[str]] = {}
    for entry in entries:
        found = _LOCATION.search(entry.text)
        place = found[1].replace(f"/{entry.name}/", "/<name>/") if found is not None else ""
        places.setdefault(place, []).append(entry.name)
    lines = [f"{', '.join(names)} ({place})" if place else ", ".join(names) for place, names in places.items()]
    return "".join(f"{lead}- more, by name: {line}\n" for line in lines)


# --- what is said twice, and what is asked ------------------------------------------------------------------------


def _without_repeats(modules: Sequence[Module]) -> list[Module]:
    """The modules without paragraphs that an earlier one has word for word."""
    seen: set[str] = set()
    found = []
    for module in modules:
        if module.entries or "```" in module.text:
            found.append(module)
            continue
        parts = re.split(r"(\n{2,})", module.text)
        new: list[str] = []
        for part in parts:
            plain = " ".join(part.split())
            if len(plain) >= _REPEAT_CHARS and plain in seen:
                if new and not new[-1].strip():
                    new.pop()
                continue
            if len(plain) >= _REPEAT_CHARS:
                seen.add(plain)
            new.append(part)
        text = "".join(new)
        if text == module.text:
            found.append(module)
        elif text.strip():
            ended = text if text.endswith("\n") or not module.text.endswith("\n") else text + "\n"
            found.append(msgspec.structs.replace(module, text=ended))
    return found


_REPEAT_CHARS = 60
_TERM = re.compile(r"[^\W_]{3,}", re.UNICODE)


class _Words:
    """How much a text is about what is asked: shared words, the rarer among the modules the more."""

    def __init__(self, query: str, modules: Iterable[Module]) -> None:
        self._asked = frozenset(_terms(query))
        self._shared: dict[str, frozenset[str]] = {}
        known = list(modules)
        texts = [module.text for module in known] + [entry.text for module in known for entry in module.entries]
        seen = Counter(term for text in texts for term in self._common(text))
        self._weights = {term: math.log(1 + len(texts) / (1 + seen[term])) for term in self._asked}
        self._total = sum(sorted(self._weights.values(), reverse=True)[:_MANY]) or 1.0

    def likeness(self, text: str) -> float:
        """In [0, 1]."""
        return min(1.0, sum(self._weights[term] for term in self._common(text)) / self._total)

    def _common(self, text: str) -> frozenset[str]:
        """The words of the query that the text has."""
        found = self._shared.get(text)
        if found is None:
            found = self._shared[text] = self._asked & frozenset(_terms(text))
        return found


_MANY = 12  # rare words of a query that count in full: longer ones say more beside


def _terms(text: str) -> Iterable[str]:
    """Words in lower case, without the endings that English bends them with."""
    return map(_stem, frozenset(_TERM.findall(text.lower())) - _COMMON)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending):
            return word[: -len(ending)]
    return word


_COMMON = frozenset(
    """the and for with that this from are was were has have had not but all any can will would should into over when
    what which who how why its you your our their they them then than there here use used using only also one two new
    get set see out off per via more most some such each other please make made""".split()  # noqa: SIM905
)


def _missing(dropped: Sequence[Module]) -> str:
    """One line that names what is not here."""
    titles = list(dict.fromkeys(m.title.rsplit(" / ", 1)[-1].rsplit("/", 1)[-1] for m in dropped if m.title))
    if not titles:
        return ""
    more = f" and {len(titles) - _TOLD} more" if len(titles) > _TOLD else ""
    told = "; ".join(title[:_TITLE_CHARS] for title in titles[:_TOLD])
    return f"(Left out, as this task does not seem to need it: {told}{more}. Ask if you do.)\n"


_TOLD, _TITLE_CHARS = 15, 40
