"""What is known about English words: synonyms, opposites, names that exclude each other, words that carry little.

The words stand in `lexicon.txt`, written for this project. Everything is brought to the same stem, so that one entry
serves "class" and "classes", "buy" and "buying".
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

__all__ = ["Lexicon", "lexicon", "stem"]

_IRREGULAR = {
    word: base
    for line in (
        "be am is are was were been being",
        "have has had having",
        "do does did done doing",
        "date dated dating",
        "go goes went gone going",
        "buy bought",
        "sell sold",
        "lend lent",
        "send sent",
        "give gave given",
        "take took taken",
        "get got gotten getting",
        "make made",
        "find found",
        "lose lost losing",
        "win won winning",
        "teach taught",
        "learn learnt",
        "think thought",
        "write wrote written writing",
        "speak spoke spoken",
        "see saw seen",
        "know knew known",
        "leave left",
        "begin began begun",
        "rise rose risen",
        "fall fell fallen",
        "grow grew grown",
        "eat ate eaten",
        "drink drank drunk",
        "drive drove driven",
        "fly flew flown flies",
        "run ran running",
        "sing sang sung",
        "wear wore worn",
        "choose chose chosen",
        "break broke broken",
        "steal stole stolen",
        "freeze froze frozen",
        "build built",
        "spend spent",
        "pay paid",
        "keep kept",
        "withdraw withdrew withdrawn",
        "draw drew drawn",
        "throw threw thrown",
        "show showed shown",
        "bear bore born",
        "lead led",
        "stand stood",
        "sit sat",
        "fight fought",
        "catch caught",
        "shoot shot",
        "swim swam swum",
        "wake woke woken",
        "sleep slept",
        "meet met",
        "feed fed",
        "hold held",
        "hide hid hidden",
        "tell told",
        "say said",
        "come came",
        "become became",
        "forget forgot forgotten",
        "understand understood",
        "die died dying",
        "lie lay lain lying",
        "say says",
        "use used using",
        "man men",
        "woman women",
        "child children",
        "person people persons",
        "foot feet",
        "tooth teeth",
        "mouse mice",
        "wife wives",
        "life lives",
        "leaf leaves_noun",
        "series series",
        "species species",
        "movie movies",
        "tax taxes taxed",
        "bus buses",
        "business businesses",
        "cookie cookies",
        "lie lies",
        "tie ties",
        "analysis analyses",
        "criterion criteria",
        "datum data",
        "stay stays stayed",
        "pass passes passed passing",
        "news news",
        "physics physics",
        "need needed",
        "feed feeding",
        "speed speeds",
        "bed beds",
        "red red",
        "king king",
        "ring rings",
        "thing things",
        "bring brought",
        "spring spring",
        "string strings",
        "morning mornings",
        "evening evenings",
        "during during",
        "wedding weddings",
        "building buildings",
        "boring boring",
        "united united",
        "this this",
        "his his",
        "gas gas",
        "plus plus",
        "minus minus",
        "less less",
        "status statuses",
        "always always",
        "mars mars",
        "texas texas",
    )
    for base, *words in [line.split()]
    for word in (base, *words)
}
_DOUBLED = "bdgkmnprt"


def stem(word: str) -> str:
    """The base form of a lower-case English word, roughly: equal stems mean the same word, give or take its ending."""
    base = _IRREGULAR.get(word)
    if base is not None:
        return base
    size = len(word)
    if size < 4:
        return word
    if word[-1] == "s":
        if word.endswith(("ss", "us", "is", "ous")):
            return word
        if word.endswith("ies"):
            return word[:-3] + "y" if size > 4 else word[:-1]
        if word.endswith(("sses", "shes", "ches", "xes", "zes")):
            return word[:-2]
        return _bare(word[:-1])
    if size > 4 and word.endswith("ied"):
        return word[:-3] + "y"
    if size > 4 and word.endswith("ed") and not word.endswith("eed"):
        return _cut(word[:-2])
    if size > 5 and word.endswith("ing"):
        return _cut(word[:-3])
    return _bare(word)


def _cut(base: str) -> str:
    """What is left of -ed and -ing: "stopp" to "stop"; a dropped e is dropped everywhere."""
    if not any(letter in "aeiouy" for letter in base):
        return base
    if len(base) > 3 and base[-1] == base[-2] and base[-1] in _DOUBLED:
        return base[:-1]
    if len(base) == 3 and base[1] in "aeiou" and base[0] not in "aeiou" and base[2] not in "aeiouwxy":
        return base + "e"  # "citing" of "cite"
    return base


def _bare(word: str) -> str:
    return word[:-1] if len(word) > 4 and word[-1] == "e" and word[-2] not in "eoy" else word


class Lexicon(msgspec.Struct, frozen=True):
    """By stem, joined with `_` where several words make one name."""

    synonyms: dict[str, str]  # a word to the name of its group
    axes: dict[str, tuple[tuple[int, int], ...]]  # a word to its (axis, pole), pole +1 or -1
    classes: dict[str, str]  # a word to the kind of thing it names
    members: dict[str, str]  # a name to the one that stands for it: "usa" for "america"
    fillers: frozenset[str]
    light: frozenset[str]
    symmetric: frozenset[str]
    common: frozenset[str]  # words of general use: no names, no terms of art
    wording: frozenset[str]  # those of them that often stand for one another
    phrases: dict[str, tuple[tuple[str, ...], ...]]  # first word to the rest of names of several words, longest first


@functools.cache
def lexicon() -> Lexicon:
    """The words of `lexicon.txt`, read once."""
    text = resources.files(__package__).joinpath("lexicon.txt").read_text(encoding="utf-8")
    synonyms: dict[str, str] = {}
    axes: dict[str, list[tuple[int, int]]] = {}
    classes: dict[str, str] = {}
    members: dict[str, str] = {}
    fillers: set[str] = set()
    light: set[str] = set()
    symmetric: set[str] = set()
    common: set[str] = set()
    phrases: dict[str, set[tuple[str, ...]]] = {}

    def known(name: str) -> str:
        words = name.split("_")
        if len(words) > 1:
            phrases.setdefault(words[0], set()).add(tuple(words[1:]))
            return name
        return stem(name)

    section = ""
    for number, raw in enumerate(text.splitlines()):
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif not line:
            continue
        elif section == "synonyms":
            names = [known(word) for word in line.split()]
            for name in names:
                synonyms.setdefault(name, names[0])
        elif section == "antonyms":
            for pole, side in zip((1, -1), line.split("/"), strict=True):
                for word in side.split():
                    axes.setdefault(known(word), []).append((number, pole))
        elif section == "classes":
            kind, _, rest = line.partition(":")
            for member in rest.split():
                names = [known(word) for word in member.split("=")]
                for name in names:
                    classes.setdefault(name, kind)
                    members.setdefault(name, names[0])
        elif section == "fillers":
            fillers.update(name for word in line.split() for name in (word, known(word)))
        elif section == "light":
            light.update(known(word) for word in line.split())
        elif section == "common":
            common.update(known(word) for word in line.split())
        elif section == "symmetric":
            symmetric.update(synonyms.get(known(word), known(word)) for word in line.split())
    return Lexicon(
        synonyms=synonyms,
        axes={word: tuple(poles) for word, poles in axes.items()},
        classes=classes,
        members=members,
        fillers=frozenset(fillers),
        light=frozenset(light),
        symmetric=frozenset(symmetric),
        common=frozenset((common | axes.keys() | light) - classes.keys()),
        wording=frozenset(common - synonyms.keys() - axes.keys() - classes.keys()),
        phrases={first: tuple(sorted(rest, key=len, reverse=True)) for first, rest in phrases.items()},
    )
