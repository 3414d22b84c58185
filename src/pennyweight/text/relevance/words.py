"""The words of a text as a search compares them: of any script, in lower case, endings of inflection taken off.

Scripts that set no spaces between words (Chinese, Japanese, Thai…) give pairs of neighbouring characters, which find
as much as a dictionary would and need none. Identifiers give their parts beside the whole: `getUserId` is also "get",
"user" and "id".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

__all__ = ["asked", "common", "telling", "words", "words_of"]

_PLAIN = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*")
_BOUND = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# Python's \w holds no vowel signs (Mc, Mn), without which Indic, Arabic and Hebrew words fall to pieces; the danda,
# which ends a sentence, stands among them and is no letter.
_MARKS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0970-\u0df3\u1ab0-\u1aff"
_ANY = re.compile(f"(?:[^\\W_]|[{_MARKS}])+(?:_(?:[^\\W_]|[{_MARKS}])+)*")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)

# English, German and Hindi words that say nothing of a subject. Chinese ones are left to their frequency.
_SAYING_NOTHING = """
a about after all also am an and any are as at be because been before being but by can could did do does doing
don for from had has have having he her here him his how i if in into is it its just let ll like m may me might
more most my no not now of off on one only or other our out over own re s said say says shall she should so some
such t than that the their them then there these they this those through to too under until up us ve very was we
were what when where which while who whom whose why will with would yeah yes you your okay ok uh um hmm mm well
aber alle als am an auch auf aus bei bin bis da damit dann das dass dem den der des die dies diese dieser doch
durch ein eine einem einen einer es für gegen hat haben hatte ich ihr im in ist ja kann kein keine man mit nach
nicht noch nur oder sein seine sich sie sind so über um und uns unter vom von vor war waren was wenn wer werden
wie wir wird wo zu zum zur zwischen welche welcher welches warum wann
का की के को में से पर है हैं था थी थे और या यह वह ये वे एक ने भी तो ही कि जो कर लिए क्या कौन कब कहाँ क्यों कैसे हो होता
"""
_COMMON = frozenset(_SAYING_NOTHING.split())


def common(word: str) -> bool:
    """Whether a word, as `words` gives it, says nothing of a subject."""
    return word in _COMMON


def words(text: str, known: dict[str, list[str]] | None = None) -> list[str]:
    """The words of a text in their order, ready to be compared. Takes about 0.1 µs a character.

    known: what was made of words before, for callers with many short texts.
    """
    if text.isascii():
        found = _PLAIN.findall(text)
    else:
        found = _ANY.findall(unicodedata.normalize("NFKC", text))
    if known is None:
        known = {}
    out: list[str] = []
    for word in found:
        forms = known.get(word)
        if forms is None:
            forms = known[word] = _forms(word)
        out += forms
    return out


def words_of(texts: Iterable[str]) -> list[list[str]]:
    """The words of each text."""
    known: dict[str, list[str]] = {}
    return [words(text, known) for text in texts]


def _forms(word: str) -> list[str]:
    """The parts of a name and the name whole, or a plain word's stem."""
    if word.islower() and word.isascii() and "_" not in word:
        return [stem(word)]
    if not word.isascii() and _UNSPACED.search(word):
        return _pairs(word.casefold())
    plain = word.casefold()
    parts = [part for piece in word.split("_") for part in _BOUND.split(piece) if part]
    if len(parts) < 2:
        return [stem(plain)]
    return [plain, *(stem(part.casefold()) for part in parts)]


def stem(word: str) -> str:
    """A word without its ending of inflection, for all languages alike and so only roughly.

    English "ies, s, ed, ing", German "en, er, es", and any word cut after twelve characters: inflection comes at the
    end. Words with digits stay as they are.
    """
    if len(word) < 4 or not word.isalpha():
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed", "en", "er", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            if ending == "s" and word.endswith("ss"):
                break
            word = word[: -len(ending)]
            break
    return word[:12]


def _pairs(word: str) -> list[str]:
    """What a run of letters gives where part of it is of a script without spaces."""
    out = []
    at = 0
    for run in _UNSPACED.finditer(word):
        if run.start() > at:
            out.append(word[at : run.start()])
        piece = run[0]
        out += [piece[i : i + 2] for i in range(len(piece) - 1)] if len(piece) > 1 else [piece]
        at = run.end()
    if at < len(word):
        out.append(word[at:])
    return out


def asked(query: str) -> dict[str, float]:
    """What a query asks for: its words that say something, each with how often it stands there.

    All its words where none says anything ("what is it?").
    """
    found = words(query)
    return dict(Counter([word for word in found if not common(word)] or found))


def telling(texts: Iterable[str]) -> str:
    """The words of texts that say something, each once, as they stand there; of talk about a quarter of the tokens.

    What an embedder makes of them finds a stretch of talk nearly as well as what it makes of the whole (decision 0021).
    """
    seen: dict[str, str] = {}
    for text in texts:
        for word in (_PLAIN if text.isascii() else _ANY).findall(text):
            if len(word) > 2 or not word.isascii():
                seen.setdefault(word.lower(), word)
    return " ".join(word for lower, word in seen.items() if lower not in _COMMON)
