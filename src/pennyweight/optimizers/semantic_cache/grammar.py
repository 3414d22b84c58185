"""The closed classes of English: words that bind the others, by what they do in a question. Tables only."""

from __future__ import annotations

__all__ = [
    "AUXILIARIES", "BOUNDS", "FEATURES", "FOREIGN", "KIND_NOUNS", "MARKERS", "NEGATIONS", "NUMBERS", "ORDINALS",
    "POSSESSIVES", "PRONOUNS", "SCALES", "SILENT", "SUBJECTS", "TIME_CLASSES", "TIME_SPANS", "TYPE_NOUNS", "UNITS",
    "WH",
]  # fmt: skip


def _words(text: str) -> list[str]:
    return text.split()


def _table(lines: str) -> dict[str, str]:
    """`value: word word` a line, to word -> value."""
    rows = [line.partition(":") for line in lines.strip().splitlines()]
    return {word: value for value, _, words in rows for word in words.split()}


MARKERS = _table("""
of: of
in: in within inside during
into: into
on: on upon onto
at: at
from: from
to: to towards toward
for: for
by: by
with: with
about: about regarding concerning
before: before
after: after
between: between among
against: against versus
over: over above
under: under below beneath
through: through via
than: than
as: as
since: since
until: until till
near: near around
across: across
per: per
along: along
like: like
behind: behind
without: without
""")

AUXILIARIES = _table("""
present: is am are do does has have been be being 's
past: was were did had
future: will shall gonna
would: would
can: can could
may: may might
should: should ought
must: must
""")

POSSESSIVES = frozenset(("my", "our", "your", "his", "her", "their", "its"))
SUBJECTS = frozenset(("i", "we", "you", "he", "she", "they"))
PRONOUNS = _table("""
i: i me my mine myself we us our ours ourselves
you: you your yours yourself yourselves
he: he him his himself
she: she her hers herself
they: they them their theirs themselves
: it its itself one's
""")

NEGATIONS = frozenset(
    _words("not no never none nobody nothing nowhere neither nor without hardly scarcely barely cannot")
)
WH = frozenset(_words("who whom whose when where why how what which"))

# Words that change what is asked without being about anything: both texts must have them, or neither.
FEATURES = _table("""
quantity some: some
quantity all: all every each everything everyone everybody
quantity most: most mostly
quantity few: few
quantity half: half
quantity both: both
quantity either: either
quantity several: several multiple
only: only solely merely exclusively
except: except excluding besides apart
other: other another else
also: also additionally too
even: even
instead: instead rather
alone: alone
again: again
still: still
already: already
yet: yet
anymore: anymore
together: simultaneously
relation before: before prior preceding
relation after: after following subsequent afterwards
relation since: since
relation until: until till
relation between: between
unless: unless
ever: never
too: excessively
degree more: more
degree less: less
respectively: respectively
""")

SILENT = frozenset(
    _words(
        """
    a an the this that these those there here it its so just please some any such up out off down on as well do does
    did be been being am is are was were has have had having s t if yes once of re ve ll d m mr mrs ms dr prof
    """
    )
)

NUMBERS = {
    word: value
    for value, word in enumerate(
        _words(
            """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
    """
        )
    )
} | {
    word: 10 * n
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
    "k": 1000,
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), 1
    )
} | {"twice": -2, "thrice": -3, "double": -2, "triple": -3, "quadruple": -4}

UNITS = frozenset(
    _words(
        """
    kg g mg lb lbs oz km m cm mm mi ft in gb mb kb tb ms s sec min h hr hrs am pm px fps hz khz mhz ghz v kv w kw
    mah c f l ml x b usd eur gbp p k bit mph kmh
    """
    )
)
# Nouns that say what kind of thing a name beside them is: "the film Titanic", "course 568".
TYPE_NOUNS = frozenset(
    _words(
        """
        course class paper article book film movie show series song album game novel story restaurant hotel place store
        shop company team city town state country river lake mountain street road airport airline flight train user
        customer employee student teacher person author actor director singer player president tool library framework
        language package module method function parameter argument option command variable file table column field
        dataset model order ticket invoice account item product business conference journal organization university
        department school area region
        """
    )
)
TIME_CLASSES = frozenset(("month", "weekday", "season", "daytime", "reltime"))
# Nouns that a name of the class brings along: "Fall term", "French food", "the city of Boston".
KIND_NOUNS = {
    "season": ("season", "term", "semester", "session"),
    "month": ("month",),
    "weekday": ("day",),
    "feature": ("city",),
    "people": ("food", "cuisine", "person", "people", "nationality", "restaurant"),
    "city": ("city", "town"),
    "state": ("state",),
    "country": ("country", "nation"),
    "colour": ("color", "colour"),
    "language": ("language",),
    "code": ("method", "function", "parameter", "class", "command", "flag", "module", "attribute", "variable", "file"),
    "id": ("id", "number", "code"),
    "number": ("number", "course", "class"),
    "company": ("company",),
    "airline": ("airline", "airlines"),
    "computing": ("language",),
}
TIME_SPANS = frozenset(
    _words(
        """
    day week weekend month quarter year decade century semester term season summer winter spring autumn fall night
    morning afternoon evening monday tuesday wednesday thursday friday saturday sunday january february march april
    may june july august september october november december time session
    """
    )
)

_BOUNDS = """
ge: at least, no less than, not less than, no fewer than, minimum of, or more, or higher, or above, or older
le: at most, no more than, not more than, up to, maximum of, or less, or fewer, or under, or younger, or below
gt: more than, greater than, larger than, bigger than, higher than, over, above, exceeding, older than, longer than
lt: less than, fewer than, smaller than, lower than, under, below, younger than, shorter than
near: about, around, approximately, roughly
eq: exactly
"""
BOUNDS = {
    phrase.strip(): bound
    for bound, _, phrases in (line.partition(":") for line in _BOUNDS.strip().splitlines())
    for phrase in phrases.split(",")
}

# Frequent small words of other languages in Latin letters; English homographs left out.
FOREIGN = frozenset(
    _words(
        """
    der das und ist nicht wie kann ich mein eine einen für auf mit wird sind welche wo warum wer le la les est une
    des du et comment puis je mon ma pourquoi quel quelle où sont dans avec pour el los las es cómo puedo mi por qué
    cuál cuáles dónde cuándo una del para con está son il che è di come posso mio perché quale dove quando sono
    della gli o os é como meu minha não qual onde uma das dos são het een hoe ik mijn niet waar wat welke zijn voor
    jak czy jest się nie mogę moje gdzie kiedy och är hur kan jag inte var när ve bir nasıl ne için
    """
    )
)
