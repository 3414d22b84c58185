"""Cuts a text into what it is made of: words, numbers, dates, times, ids, code, paths, addresses, signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Token", "fold", "tokens", "unframed"]


class Token(NamedTuple):
    kind: str  # word number date time id code path url mail flag genitive sign comma
    text: str  # lower case, in one spelling: "2024-05-01", "17:00", "D7781"
    name: bool  # written with a capital where the place in the sentence does not ask for one


_MARKS = str.maketrans({
    "’": "'", "‘": "'", "‚": "'", "′": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "″": '"',
    "–": "-", "—": " - ", "‐": "-", "‑": "-", "−": "-", "\u00a0": " ", "\u200b": None, "\ufeff": None, "\u00ad": None,
    "…": " ",
})  # fmt: skip
_SHORT = {"ca": "can", "wo": "will", "sh": "shall"}
_CONTRACTED = (
    (re.compile(r"\b(ca|wo|sha)\s?n't\b", re.I), lambda m: _SHORT[m[1][:2].lower()] + " not"),
    (re.compile(r"\s?n't\b", re.I), " not"),
    (re.compile(r"\s?'m\b", re.I), " am"),
    (re.compile(r"\s?'re\b", re.I), " are"),
    (re.compile(r"\s?'ve\b", re.I), " have"),
    (re.compile(r"\s?'ll\b", re.I), " will"),
    (re.compile(r"\s?'d\b", re.I), " would"),
    (re.compile(r"\b(who|what|where|when|how|why|it|that|there|he|she|here|let)\s?'s\b", re.I), r"\1 is"),
    (re.compile(r"\s?'s\b", re.I), " 's "),
    (re.compile(r"(?<=s)\s?'(?=\s|$)"), " 's "),
)  # fmt: skip
_UNMARKED = re.compile(
    r"\b(?:(do|does|did|is|are|was|were|has|have|had|could|should|would)nt|(can)not|(ca)nt|(wo)nt)\b", re.I
)
_RUN_ON = re.compile(r"\b(what|that|where)s ", re.I)
_QUOTED = re.compile(r"`([^`]+)`|\"\s?([^\"]{1,300}?)\s?\"|(?<![\w'])'([^'\s](?:[^'\n]{0,78}[^'\s])?)'(?!\w)")
_SPACED_LEVEL = re.compile(r"(?<=\d) -(?=[a-z])")
_DOTTED = re.compile(r"\b(?:([Uu])\.\s?([Ss])\.(?:\s?[Aa]\.)?|U\.\s?K\.)(?=\s|\W|$)")

_CHUNK = re.compile(
    r"""
      (?P<word>[^\W\d_]+(?:-[^\W\d_]+)*)(?=[\s?!,;:)"'%&=<>*^]|\.(?:\s|$)|$)
    | (?P<url>(?:https?://|www\.)[^\s<>"]+)
    | (?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
    | (?P<path>(?<![\w])(?:~|\.{1,2})?/[\w.][\w./-]*|(?<!\w)[A-Za-z]:\\[\w\\.-]+
        |(?<![\w/])[\w-]+(?:/[\w-]+)*/[\w-]+\.\w+)
    | (?P<date>\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b)
    | (?P<time>\b\d{1,2}(?::\d{2})?\s?[apAP]\.?\s?[mM]\b\.?|\b\d{1,2}:\d{2}(?::\d{2})?\b)
    | (?P<flag>(?<!\S)--?[A-Za-z][\w-]*)
    | (?P<code>\b[\w.]+\([^()\s]*\)|\b[A-Za-z]\w*_\w*|\b_+\w+|\b[A-Za-z]\w+(?:\.[A-Za-z_]\w+)+|\b[CF]\#|\b[Cc]\+\+)
    | (?P<number>(?:[$€£]\s?)?\d[\d,]*(?:\.\d+)*(?:st|nd|rd|th)?(?![\w-]|\.\d))
    | (?P<id>\#?\b(?=[\w.-]*\d)[A-Za-z0-9][\w-]*(?:\.\w+)*)
    | (?P<part>[^\W_]+)
    | (?P<genitive>'s)
    | (?P<sign>[+*/=<>^≤≥×÷%&-]+|[$€£])
    | (?P<comma>[,;])
    | (?P<end>[.?!:\n]+)
    """,
    re.VERBOSE,
)
_FRAME = re.compile(
    r"""^\s*(?:
      (?:hi|hello|hey|please|pls|ok|okay|so|well|and|thanks|kindly|dear\ \w+)\b[\s,!.]*
    | (?:can|could|would|will)\ (?:you|anyone|someone|somebody|anybody)\ (?:please\ |kindly\ |also\ )?
        (?:tell|show|give|help|let|list|explain|find|provide|name|share|advise|inform|identify)(?:\ (?:me|us))?
        (?:\ (?:know|understand|find|see|with|to|of|out|all|about|how\ to(?=\ find)))*\b
    | (?:do|does|would)\ (?:you|anyone|anybody|someone)\ (?:happen\ to\ )?
        (?:know|have\ (?:any\ )?(?:idea|information)(?:\ (?:on|about|of))?)\b
    | i\ (?:would|will|just|really|do)?\s?(?:like|love|want|need|wish|am\ trying|have|am\ looking)\ to
        \ (?:know|see|find(?:\ out)?|learn|understand|get|ask|check)\b(?:\ about)?
    | i\ (?:was|am|have\ been)\ (?:just\ )?(?:wondering|curious|interested)(?:\ (?:about|to\ know|in\ knowing))?\b
    | (?:tell|show|give|get|return|find|let|list|bring|fetch|provide|send)\ (?:to\ )?(?:me|us|for\ me)(?:\ know)?\b
        (?:\ (?:with|about))?
    | (?:show|list|name|display|find|return|give|state|identify|provide|print|get)\b
        (?=\ (?:all|any|the|every|each|some|which|what|me|us|those|a|an)\b)(?:\ (?:me|us))?
    | (?:can|could|may|do)\ (?:i|we|you)\ (?:have|get|see)\ (?:a|the|any)?\ ?(?:list\ of|information\ (?:on|about))\b
    | (?:can|could|may|might)\ (?:i|we)\ (?:please\ )?(?:see|look\ at|view|know|ask)\b
    | (?:advise|inform)\ (?:me|us)\ (?:of|about|on)\b
    | (?:what\ i\ want\ to\ know\ is|my\ question\ is|question|quick\ question)[\s:,]*
    | is\ there\ (?:a|any)\ (?:way|chance|possibility)\ (?:that\ i\ can|to\ know)\b
    | what\ about\b
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_WHO = r"(?:i|you|we|one|someone|somebody|people|a\ person|anyone)"
_WAY = r"(?:ways?|methods?|steps?|procedure|process|technique|approach)"
_BEST = r"(?:(?:best|easiest|good|right|correct|proper|simplest|possible|most\ effective|different)\ )"
_ONE_FORM = tuple(
    (re.compile(pattern, re.IGNORECASE | re.VERBOSE), plain)
    for pattern, plain in (
        (
            rf"\bhow\ (?:do|does|can|could|should|would|might|may|shall|must|did)\ {_WHO}\ "
            r"(?:go\ about\ |be\ able\ to\ |best\ )?(?!feel|like|know\b)",
            "how to ",
        ),
        (
            rf"\bwhat\ (?:should|can|could|do|must|would)\ {_WHO}\ (?:need\ to\ |have\ to\ )?do\ "
            r"(?:in\ order\ |if\ i\ want\ )?to\b",
            "how to",
        ),
        (
            rf"\bwhat\ (?:is|are|would\ be|will\ be)\ (?:(?:the|some|a)\ )?{_BEST}?{_WAY}\ (?:for\ me\ |i\ can\ )?"
            r"(?:to|of|for|in\ which\ \w+\ can)\b",
            "how to",
        ),
        (rf"\b(?:the\ )?{_BEST}{_WAY}\ to\b", "how to"),
        (rf"\b(?:is\ it\ possible|is\ there\ (?:a|any)\ way|am\ i\ able)\ (?:for\ {_WHO}\ )?to\b", "can i"),
        (
            r"\bhow\ come\b|\bfor\ what\ reasons?\b"
            r"|\bwhat\ (?:is|are|was|were)\ the\ reasons?\b(?:\ (?:why|behind|for|that|of)\b)?",
            "why ",
        ),
        (r"\bthe\ (?:largest|greatest|highest|most|maximum)\ number\ of\b", "the most"),
        (r"\bthe\ (?:smallest|lowest|least|fewest|minimum)\ number\ of\b", "the fewest"),
        (
            r"\b(?:what\ is\ |give\ |count\ )?the\ (?:total\ |whole\ )?(?:number|count)\ of\b(?!\ (?:the\ )?\d)",
            "how many ",
        ),
        (r"\b(?:what|which)\ (?:is\ the\ )?(?:number|quantity|amount)\ of\b", "how many "),
        (r"^(?:total\ )?number\ of\b", "how many "),
        (
            r"\b(?:at\ |on\ |in\ )?(?:what|which)\ (?:time|date|day|year|month|hour)s?"
            r"(?:\ of\ (?:the\ )?(?:day|year))?\b",
            "when is ",
        ),
        (r"\b(?:in\ |at\ )?(?:what|which)\ (?:place|location|spot)s?\b", "where is "),
        (
            r"\bhow\ many\ (?:people|persons|citizens|residents|inhabitants)\ "
            r"(?:live|living|reside|are\ there|are\ living)\ in\b"
            r"|\bhow\ many\ (?:citizens|residents|inhabitants)\ (?:does|do|are)\b",
            "what is the population of",
        ),
        (r"\bhow\ much\ time\b|\bwhat\ (?:is|was)\ the\ duration\ of\b", "how long "),
        (r"^(?:please\ )?count\ (?:the|all)\b", "how many "),
        (r"\bin\ place\ of\b", "instead of"),
        (r"\bhow\ (?:tall|high)\ (?:is|are|was)\b", "what is the height of"),
        (r"\bhow\ (?:big|large)\ (?:is|are|was)\b", "what is the size of"),
        (r"\bhow\ old\ (?:is|are|was)\b", "what is the age of"),
        (r"\bhow\ far\ (?:is|are)\b", "what is the distance of"),
        (r"\bhow\ many\ (?:miles|kilometers|kilometres)\ is\ it\b", "what is the distance"),
        (r"\bhow\ long\ (?:is|are)\ (?!it\b|this\b|that\b|there\b)", "what is the length of "),
        (r"\b(?:is|am|are|was|were|be)\ (?:required|necessary|obliged|needed)\ (?:for\ \w+\ )?to\b", "must"),
    )
)

_WAYS = ("way", "method", "step", "procedure", "process", "technique", "approach")
_NEEDED = (
    ("how ",), ("what ",), ("what ",), _WAYS, ("possible", "way", "able"), ("how come", "reason"),
    ("number of",), ("number of",), ("number of", "count of"), ("number of", "quantity of", "amount of"),
    ("number of",),
    ("what", "which"), ("what", "which"), ("how many",), ("how much", "duration"), ("count ",), ("place of",),
    ("how ",), ("how ",), ("how old",), ("how far",), ("how many",), ("how long",),
    ("required", "necessary", "obliged", "needed"),
)  # fmt: skip
"""Of each form, words of which a text has one in lower case where it has that form: most have few, and a search for
each of them took a third of the time that reading a question takes."""


def fold(text: str) -> tuple[str, tuple[str, ...]]:
    """The text in one spelling of quotes, dashes and contractions, and what stood in quotation marks."""
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)
    quotes: list[str] = []
    if "`" in text or '"' in text or "'" in text:

        def taken(found: re.Match[str]) -> str:
            quote = found[1] or found[2] or found[3]
            quotes.append(" ".join(quote.split()))
            return f" {quote} "

        text = _QUOTED.sub(taken, text)
        if "'" in text:
            for pattern, plain in _CONTRACTED:
                text = pattern.sub(plain, text)
    if "." in text:
        text = _DOTTED.sub(lambda m: "USA" if m[1] else "UK", text)
    if "hats " in text or "heres " in text:
        text = _RUN_ON.sub(r"\1 is ", text)
    if "nt" in text or "not" in text:
        text = _UNMARKED.sub(lambda m: (m[1] or ("can" if m[2] or m[3] else "will")) + " not", text)
    if " -" in text:
        text = _SPACED_LEVEL.sub("-", text)
    return " ".join(text.split()), tuple(quotes)


def unframed(text: str) -> str:
    """A folded text without "could you tell me" and the like, "how do I" and its equals in one form."""
    for _ in range(4):
        shorter = _FRAME.sub("", text, count=1)
        if shorter == text or len(shorter) < 4:
            break
        text = shorter
    lower = text.lower()
    for (pattern, plain), needed in zip(_ONE_FORM, _NEEDED, strict=True):
        for word in needed:
            if word in lower:
                text = pattern.sub(plain, text)
                lower = text.lower()
                break
    return text


def tokens(text: str) -> Iterator[Token]:
    """The tokens of an unframed text."""
    start = True
    shouted = sum(map(str.isupper, text)) * 2 > len(text)
    words = text.split()
    titled = len(words) > 3 and sum(1 for word in words if word[:1].isupper()) * 5 > len(words) * 4
    plain_case = shouted or titled
    for found in _CHUNK.finditer(text):
        kind = found.lastgroup or "sign"
        chunk = found[0]
        if kind == "end":
            start = True
            continue
        if kind == "word" or kind == "part":
            capital = chunk[0].isupper() and not plain_case and (not start or (len(chunk) > 1 and chunk.isupper()))
            lower = chunk.lower()
            yield Token("word", lower, capital)
        elif kind == "comma":
            yield Token("comma", chunk, False)
        else:
            yield Token(kind, chunk, True)
        start = False
