"""Words that tell what kind of work a text asks for: weights by hand, in English and for commands in some languages.

A command ("translate", "fix") counts when it stands where commands stand; a topic counts anywhere. The weights are
documented in docs/learned-router.md; they were not fitted to any data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

__all__ = ["COMMANDS", "CONSTRAINTS", "DOMAINS", "SHAPES", "TOPICS", "URGENT", "Shape", "words_of"]


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(**kinds: str) -> Mapping[str, tuple[tuple[str, float], ...]]:
    """Words to the kinds they speak for, each with a weight: `word` counts 1, `word*2` counts 2."""
    table: dict[str, list[tuple[str, float]]] = {}
    for kind, words in kinds.items():
        for entry in words.split():
            word, _, weight = entry.partition("*")
            table.setdefault(word, []).append((kind, float(weight or 1)))
    return {word: tuple(found) for word, found in table.items()}


COMMANDS = _table(
    code="implement*2 refactor*3 debug*3 code*2 program*2 script*1.5 compile*2 build*2 develop*1.5 fix*2 "
    "repair*2 port*1.5 "
    "optimize*1.5 optimise*1.5 review*1.5 test*1.5 deploy*1.5 install migrate*1.5 rename lint*2 patch*2 "
    "mock profile add remove replace change update edit "
    "implementiere*2 programmiere*3 repariere*1.5 corrige implementa*2 implémente*2 écris.code "
    "реализуй*2 исправь*1.5",
    maths="calculate*3 compute*2 solve*2 simplify*2 integrate*1.5 differentiate*3 factor*1.5 evaluate*1.5 berechne*3 "
    "calcule*3 calcula*3 löse résous resuelve вычисли*3 посчитай*3 реши*2 derive*1.5",
    reasoning="prove*4 proof*2 plan*2 compare*2.5 analyse*2 analyze*2 design*2 architect*2 deduce*3 reason*2 "
    "decide*1.5 evaluate assess*1.5 weigh*1.5 strategize*2 diagnose*2 argue justify*2 derive*2 demonstrate*1.5 "
    "beweise*4 vergleiche*2.5 entwirf*2 compara*2.5 conçois*2 diseña*2 докажи*4 сравни*2.5 спроектируй*2",
    extraction="extract*4 parse*2.5 find list*1.5 identify locate pull*1.5 collect*1.5 enumerate*1.5 fill*1.5 get "
    "extrahiere*4 extrais*4 extrae*4 извлеки*4",
    classification="classify*4 categorize*4 categorise*4 label*3 tag*2.5 rate*2 rank*2 sort score*2 judge*2 "
    "moderate*3 detect*1.5 klassifiziere*4 classe*3 clasifica*4 классифицируй*4",
    summary="summarize*4 summarise*4 condense*3.5 shorten*3 tldr*4 recap*3.5 abridge*3 digest*2 "
    "zusammenfassen*4 résume*4 resume*2 resumir*4 резюмируй*4 обобщи*3",
    translation="translate*5 übersetze*5 traduis*5 traduire*5 traduce*5 traducir*5 traduza*5 переведи*5 localize*3",
    creative="brainstorm*3 imagine*2.5 compose*2.5 invent*2 dichte*3 draft*1.5 rhyme*3 roleplay*3 pretend*2",
    question="explain*2.5 describe*2 define*3 what*2 who*3 when*2 where*2 why*2 which*1.5 how*1.5 is are was were "
    "does "
    "do did can could should tell*1.5 explique*2.5 erkläre*2.5 was*1 wer*2 wann*2 wo*2 warum*2 wie*1.5 qué*2 "
    "quién*2 qu'est*2 pourquoi*2 что*2 кто*2 почему*2 объясни*2.5 what's*2 who's*3",
)
"""By their weight at the beginning of the text or of its last sentence."""

TOPICS = _table(
    code="debug*2.5 debugging*2.5 crashes*1.5 function*1.5 method bug*1.5 stacktrace*2 traceback*2 "
    "exception*1.5 python*1.5 javascript*2 typescript*2 rust*1.5 "
    "java*1.5 golang*2 sql*1.5 html css*1.5 regex*2 api*1.5 endpoint*1.5 pipeline service repo*1.5 "
    "repository branch commit*1.5 unittest*2 "
    "pytest*2 docker*1.5 dockerfile*2 kubernetes*1.5 bash*1.5 json yaml*1.5  variable compiler*1.5 "
    "refactoring*1.5 codebase*2 script*1.5 tests dataframe*1.5 react*1.5 npm*2 pip*1.5 cli*1.5 "
    "middleware*1.5 async*1.5 unit module*1.5 algorithm*1.5 class*1.5 database server "
    "code*1.5 программу скрипт*1.5 функцию*1.5 funktion*1.5 código*1.5 fonction*1.5",
    maths="equation*2 integral*2.5 derivative*2 polynomial*2.5 probability*1.5 matrix*1.5 theorem*1.5 modulo*2 "
    "divisible*2 remainder*2 triangle*1.5 percent fraction*1.5 sum perimeter*2 radius*1.5 prime*1.5 "
    "integers*2 integer "
    "total altogether*2 average twice half profit per gleichung*2 ecuación*2 уравнение*2",
    reasoning="proof*2 lemma*2 puzzle*2 logic*1.5 contradiction*2 induction*2 paradox*2 equilibrium*1.5 tradeoffs*2 "
    "trade-offs*2 strategy architecture*1.5 implies*1.5 premises*2 deduction*2 step-by-step*1.5 hypothesis pros cons",
    extraction="fields*1.5 entities*2.5 entity*2 invoice*1.5 receipt addresses emails*1.5 dates*1.5 names "
    "mentioned*1.5 "
    "occurrences json columns",
    classification="sentiment*3 category*1.5 categories*2 positive*1 negative*1 neutral*1 spam*2.5 intent*2 label*1.5 "
    "labels*1.5 toxic*2 relevance*1.5 true false",
    summary="summary*3 abstract*1 minutes bullet bullets*1.5 takeaways*2.5 highlights*1.5 overview tl;dr*4 "
    "zusammenfassung*3 résumé*3 resumen*3",
    translation="translation*3 german french spanish italian chinese japanese russian korean portuguese vietnamese "
    "arabic hindi dutch polish deutsch englisch",
    creative="story*2.5 poem*4 haiku*4 lyrics*3.5 song*2 slogan*3 tagline*3 novel*1.5 fiction*2 character*1 joke*3 "
    "blog*1.5 essay*1.5 limerick*4 screenplay*3 dialogue*1.5 names*1 ideas*1.5 speech*1.5 newsletter*1.5 gedicht*4 "
    "geschichte*2 poème*4 histoire cuento*2.5 poema*4 стихотворение*4 рассказ*2.5",
    question="meaning*1.5 difference*1.5 definition*2.5 capital history",
)
"""By their weight anywhere in the text; a word counts once."""


class Shape(msgspec.Struct, frozen=True):
    """A form of a text, and what it speaks for.

    Most texts have few of the forms, and a search goes over all of a text that has not what it looks for. So what a
    form cannot do without is looked for first. words: of each of these sets one stands in the text, whatever its
    case, as a run of letters, digits and underlines. signs: one of these stands in it. first: something that is found
    faster does. asks: it ends in a question mark.
    """

    kind: str
    weight: float
    pattern: re.Pattern[str]
    words: tuple[frozenset[str], ...] = ()
    signs: tuple[str, ...] = ()
    first: re.Pattern[str] | None = None
    asks: bool = False

    def may(self, text: str, runs: frozenset[str], *, asks: bool) -> bool:
        """Whether the text has what the form needs. runs: its words, in lower case."""
        if self.asks and not asks:
            return False
        for words in self.words:
            if words.isdisjoint(runs):
                return False
        if self.signs and not any(sign in text for sign in self.signs):
            return False
        return self.first is None or self.first.search(text) is not None

    def holds(self, text: str, runs: frozenset[str], *, asks: bool) -> bool:
        return self.may(text, runs, asks=asks) and self.pattern.search(text) is not None


SHAPES: tuple[Shape, ...] = (
    Shape(
        "code",
        3.0,
        re.compile(
            r"```|^diff --git |^@@ -\d|<<<<<<< SEARCH|^\s*(?:def|class|import|from|#include|func|fn|public)\s", re.M
        ),
        signs=(
            *("```", "diff --git ", "@@ -", "<<<<<<< SEARCH"),
            *("def", "class", "import", "from", "#include", "func", "fn", "public"),
        ),
    ),
    Shape(
        "code",
        2.5,
        # What stands before a name's end is looked at last: a search is fast that knows which letters begin it.
        re.compile(
            r"Traceback \(most recent|Error(?<=\wError)\b|Exception(?<=\wException)\b|"
            r"\.(?<=\w\.)(?:py|ts|js|rs|go|java|cpp|c|h|sh|rb|sql)\b"
        ),
    ),
    Shape(
        "code",
        1.5,
        re.compile(r"\b\w+\(\)|\b[a-z]+_[a-z_]+\b|\b[a-z]+[A-Z]\w+\b"),
        first=re.compile(r"[_A-Z(](?:(?<=[a-z][_A-Z])|(?<=\w\()\))"),
    ),
    Shape(
        "maths",
        3.0,
        re.compile(r"\\(?:frac|sqrt|sum|int|le|ge|cdot|boxed|begin\{)|\$[^$\n]{1,80}[\\^_=][^$\n]{0,80}\$"),
        signs=("\\", "$"),
    ),
    Shape("maths", 2.0, re.compile(r"\$[^$\n]{1,40}\$|\\[(\[]"), signs=("\\", "$")),  # TeX
    Shape(
        "maths",
        2.0,
        re.compile(r"\d\s*[-+*/^=×÷]\s*\(?[\dx]|\b[xyzn]\s*(?:\^|\*\*|=)\s*\d"),
        first=re.compile(r"[-+*/^=×÷]\s*\(?[\dx]"),
    ),
    Shape(
        "maths",
        3.0,
        re.compile(r"\b[Hh]ow (?:many|much|far|long|old|fast)\b[^?\n]{3,160}\?\s*\Z"),
        words=(words_of("how"), words_of("many much far long old fast")),
        asks=True,
    ),
    Shape("question", 4.0, re.compile(r"^\(?A[.)] .*\n\(?B[.)] ", re.M), signs=("\nB", "\n(B")),  # multiple choice
    Shape("question", 1.0, re.compile(r"\?\s*\Z"), asks=True),
    Shape(
        "translation",
        3.0,
        re.compile(
            r"\b(?:in|into|to|auf|ins|en|al|на) (?:english|german|french|spanish|italian|chinese|japanese|"
            r"russian|korean|portuguese|dutch|polish|arabic|deutsch|englisch|inglés|español|français|английский)\b",
            re.I,
        ),
        words=(
            words_of("in into to auf ins en al на"),
            words_of(
                "english german french spanish italian chinese japanese russian korean portuguese dutch polish arabic "
                "deutsch englisch inglés español français английский"
            ),
        ),
    ),
    Shape(
        "creative",
        3.0,
        re.compile(
            r"\b(?:[Ww]rite|[Tt]ell|[Cc]reate|[Cc]ompose) (?:me )?(?:a|an|the|some|two|three) (?:\w+ ){0,3}"
            r"(?:story|poem|song|haiku|essay|"
            r"letter|email|post|article|speech|joke|tale|slogan|tweet|description|bio|review)\b"
        ),
        words=(
            words_of("write tell create compose"),
            words_of(
                "story poem song haiku essay letter email post article speech joke tale slogan tweet description bio "
                "review"
            ),
        ),
    ),
    Shape(
        "code",
        3.0,
        re.compile(
            r"\b(?:[Ww]rite|[Cc]reate|[Aa]dd|[Rr]eview|[Rr]un) (?:me )?(?:\w+ ){0,4}"
            r"(?:function|script|class|program|query|test|regex|"
            r"parser|module|one-liner|decorator|component|endpoint|server|tests|logic|code|spec)\b"
        ),
        words=(
            words_of("write create add review run"),
            words_of(
                "function script class program query test regex parser module one decorator component endpoint server "
                "tests logic code spec"
            ),
        ),
    ),
    Shape(
        "summary",
        1.0,
        re.compile(
            r"\bin (?:one|two|three|four|five|\d) (?:short )?(?:sentences?|bullet|bullets|lines?|paragraphs?)\b", re.I
        ),
        words=(words_of("in"), words_of("sentence sentences bullet bullets line lines paragraph paragraphs")),
    ),
    Shape(
        "extraction",
        2.5,
        re.compile(r"\b(?:return|output|respond|reply|answer)\b[^.\n]{0,30}\b(?:json|csv|table|xml|yaml)\b", re.I),
        words=(words_of("return output respond reply answer"), words_of("json csv table xml yaml")),
    ),
    Shape(
        "classification",
        3.0,
        re.compile(r"\b(?:as|into|is it|one of|either)\b[^.?\n]{0,60}\b\w+(?:, \w+)*,? or \w+", re.I),
        words=(words_of("as into is one either"),),
        first=re.compile(" or ", re.I),
    ),
    Shape(
        "reasoning",
        3.0,
        re.compile(
            r"\b(?:[Pp]rove|[Ss]how) that\b|\b[Gg]iven that\b|\bif and only if\b|\bmust be true\b|\bwho is lying\b"
        ),
        words=(words_of("prove show given only true lying"), words_of("that if must who")),
    ),
    Shape(
        "reasoning",
        2.0,
        re.compile(r"\bstep[- ]by[- ]step\b|\bpros and cons\b|\btrade-?offs?\b|\bwhat would happen if\b", re.I),
        words=(words_of("step pros trade tradeoff tradeoffs happen"),),
    ),
)
"""What the form of a text tells."""

_DOMAINS = {
    "software": "code function api server database kubernetes docker python javascript compiler algorithm thread "
    "deploy "
    "repository sql linux git",
    "mathematics": "theorem integral polynomial matrix derivative proof equation ring field group topology eigenvalue",
    "medicine": "patient diagnosis symptom symptoms dosage clinical disease drug treatment mg therapy chronic "
    "surgery "
    "medication blood tumor cardiac",
    "law": "plaintiff defendant contract liability statute court clause tort jurisdiction compliance gdpr lawsuit "
    "constitutional legal attorney",
    "finance": "portfolio revenue dividend bond equity hedge tax audit accounting inflation interest derivative "
    "valuation ebitda gaap mortgage",
    "science": "quantum molecule enzyme protein velocity photon chemical reaction physics electron gene genome "
    "thermodynamics "
    "orbital isotope magnetic",
}
DOMAINS: Mapping[str, str] = {word: name for name, words in _DOMAINS.items() for word in words.split()}
"""Words of trades to the trade; two of one trade make a text its own."""

URGENT = Shape(
    "urgent",
    1.0,
    re.compile(
        r"\b(?:urgent(?:ly)?|asap|immediately|right now|emergency|outage|prod(?:uction)? is down|deadline|"
        r"dringend|sofort)\b",
        re.I,
    ),
    words=(
        words_of(
            "urgent urgently asap immediately right emergency outage prod production deadline dringend sofort",
        ),
    ),
)

CONSTRAINTS = Shape(
    "constraints",
    1.0,
    re.compile(
        r"\b(?:must|should|without|at least|at most|exactly|except|only|ensure|support(?:ing)?|including|handle|"
        r"and then|after that)\b",
        re.IGNORECASE,
    ),
    words=(
        words_of(
            "must should without least most exactly except only ensure support supporting including handle then after"
        ),
    ),
)
"""What narrows a task: each makes it look harder."""
