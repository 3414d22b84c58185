"""What is probably still in each provider's prompt cache, learned from what it bills.

For each provider, model and account: which prefixes were sent and when, how many of its tokens one of ours makes, and
how often a prefix that was idle for so long was still there. Knows nothing of money or of sessions.

Documented rules (prices/caching.toml) are the prior; every bill corrects it. Times are monotonic seconds, so a clock
that is set back or forth does no harm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from operator import attrgetter

import msgspec

from .prefix import Chain, Mark, Segment
from .prices.caching import CacheRules
from .request import Usage

__all__ = ["Accuracy", "Forecast", "Met", "Scope", "Warmth"]

Scope = tuple[str, str, str]
"""Provider, model, account: whose cache it is. The account is "" for the gateway's own key."""


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """What a provider is expected to bill for a prompt, in its own tokens. Expectations, hence floats."""

    prompt_tokens: float
    read_tokens: float
    write_5m_tokens: float
    write_1h_tokens: float
    warm: float  # probability in [0, 1] that the longest known prefix is still there
    known_tokens: float  # how long that prefix is
    known_to: int  # how many segments it has
    lasting_tokens: float  # what a next call with this beginning finds in the cache, if it comes in time
    lasting_ttl_s: float
    idle_s: float = 0.0
    ttl_s: float = 0.0

    @property
    def likely_read_tokens(self) -> float:
        """The likelier of the two: all of the known prefix, or nothing."""
        return self.known_tokens if self.warm >= 0.5 else 0.0

    @property
    def plain_tokens(self) -> float:
        return max(self.prompt_tokens - self.read_tokens - self.write_5m_tokens - self.write_1h_tokens, 0.0)


class Accuracy(msgspec.Struct):
    """How good forecasts were. `error_tokens`: sum of |predicted - billed| cached tokens."""

    calls: int = 0
    error_tokens: float = 0.0
    prompt_tokens: float = 0.0
    predictions: int = 0  # of whether a known prefix was still warm
    brier_sum: float = 0.0

    @property
    def error_share(self) -> float:
        return self.error_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def brier(self) -> float:
        return self.brier_sum / self.predictions if self.predictions else 0.0


class _Entry:
    """A prefix, or several of one conversation that live and die together (automatic caches)."""

    __slots__ = ("billed", "parent", "tip", "ttl_s", "used_at")

    def __init__(self, used_at: float, ttl_s: float, tip: int, parent: _Entry | None = None) -> None:
        self.used_at = used_at
        self.ttl_s = ttl_s
        self.tip = tip  # the index of its last segment
        self.parent = parent  # what the conversation shares with others before it
        self.billed = 0  # tokens up to `tip` as the provider counted them; 0: never told


class _Table:
    """All that is known of one scope."""

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self.billed = 0.0
        self.counted = 0.0
        self.outcomes: dict[float, list[list[float]]] = {}  # by ttl: [hits, misses] for each bucket of idle time
        self.accuracy = Accuracy()
        self.ratio = 1.0  # the provider's tokens for one of ours

    def told(self, billed: float, counted: float) -> None:
        """How many tokens were billed in all, and how many we have counted."""
        self.billed, self.counted = billed, counted
        self.ratio = billed / counted if counted else 1.0


class Warmth:
    """Two of them stand side by side: what was really sent, and what would have been had nobody changed a call."""

    def __init__(self, *, scopes: int = 512, entries: int = 100_000) -> None:
        """scopes, entries: how many are remembered, entries in all; those not used for longest are forgotten, first
        of the scope that was not used for longest."""
        self._scopes = scopes
        self._limit = entries
        self._entries = 0
        self._tables: OrderedDict[Scope, _Table] = OrderedDict()

    def forecast(
        self,
        scope: Scope,
        rules: CacheRules,
        chain: Chain,
        at: float,
        *,
        places: Sequence[int] = (),
        mark: Mark = "",
        met: Met | None = None,
    ) -> Forecast:
        """What the provider will bill for this prompt at `at`, with marks of that life on these segments too. Changes
        nothing.

        met: what was found of this chain before, where nothing has been learned since: placements of marks that are
        priced one after the other have most of them in common.
        """
        table = self._tables.get(scope) or _NOTHING
        if not chain or rules.kind == "none":
            return _plain(chain[-1].upto * table.ratio if chain else 0.0)
        if rules.kind == "automatic":
            return self._automatic(table, rules, chain, at)
        return self._at_marks(table, rules, chain, at, places, mark, {} if met is None else met)

    def sent(self, scope: Scope, rules: CacheRules, chain: Chain, at: float) -> None:
        """The provider has taken this prompt: what it puts into its cache is there from now on."""
        if not chain or rules.kind == "none":
            return
        table = self._tables.get(scope)
        if table is None:
            table = self._tables[scope] = _Table()
            if len(self._tables) > self._scopes:
                self._entries -= len(self._tables.popitem(last=False)[1].entries)
        else:
            self._tables.move_to_end(scope)
        before = len(table.entries)
        if rules.kind == "automatic":
            _extend(table, chain, at, rules.ttl_s[0])
        else:
            self._write_marks(table, rules, chain, at)
        self._entries += len(table.entries) - before
        self._forget()

    def _forget(self) -> None:
        """Keep to the limit. A scope that has nothing left still knows how long prefixes live there."""
        for table in self._tables.values():
            if self._entries <= self._limit:
                return
            while table.entries and self._entries > self._limit:
                table.entries.popitem(last=False)
                self._entries -= 1

    def learn(self, scope: Scope, rules: CacheRules, chain: Chain, forecast: Forecast, usage: Usage, at: float) -> None:
        """What the bill says of a forecast. Usage that contradicts itself teaches nothing."""
        table = self._tables.get(scope)
        if table is None or not chain or usage.counted or usage.suspect:
            return
        billed, read = usage.input_tokens, usage.cache_read_tokens
        cached = read + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        if billed <= 0 or read < 0 or not 0 <= cached <= billed:
            return
        accuracy = table.accuracy
        accuracy.calls += 1
        accuracy.error_tokens += abs(forecast.likely_read_tokens - read)
        accuracy.prompt_tokens += billed
        counted = max(chain[-1].upto, 1)
        if counted / _ALIKE <= billed <= counted * _ALIKE:
            table.told(table.billed * _MEMORY + billed, table.counted * _MEMORY + counted)
        if rules.kind == "none":
            return
        if forecast.known_to:
            hit = read >= 0.5 * forecast.known_tokens
            accuracy.predictions += 1
            accuracy.brier_sum += (forecast.warm - hit) ** 2
            _count(table, forecast, hit=hit)
        before = len(table.entries)
        self._correct(table, rules, chain, forecast, usage, at)
        self._entries += len(table.entries) - before

    def adopt(self, other: Warmth, scope: Scope) -> None:
        """Take over how another counts tokens in that scope, and how long prefixes live there."""
        theirs, ours = other._tables.get(scope), self._tables.get(scope)
        if theirs is not None and ours is not None:
            ours.told(theirs.billed, theirs.counted)
            ours.outcomes = {ttl_s: [seen.copy() for seen in buckets] for ttl_s, buckets in theirs.outcomes.items()}

    def accuracy(self) -> dict[Scope, Accuracy]:
        """How good the forecasts were, for each scope."""
        return {scope: table.accuracy for scope, table in self._tables.items() if table.accuracy.calls}

    # --- automatic caches: the longest prefix that was ever sent ---------------------------------------------

    def _automatic(self, table: _Table, rules: CacheRules, chain: Chain, at: float) -> Forecast:
        ratio = table.ratio
        place, entry = _deepest(table, chain)
        if (
            entry is not None and at - entry.used_at > entry.ttl_s
        ):  # an old conversation began so: how far did a new one?
            found = _deepest(table, chain[:place], since=at - entry.ttl_s)
            place, entry = found if found[1] is not None else (place, entry)
        known, base, base_upto = 0.0, 0.0, 0
        warm, idle_s, ttl_s = 0.0, 0.0, rules.ttl_s[0]
        if entry is not None:
            exact = entry.billed if entry.tip == place and entry.billed else 0
            base_upto = chain[place].upto
            base = exact or base_upto * ratio
            known = _stepped(base, rules)
            idle_s, ttl_s = max(at - entry.used_at, 0.0), entry.ttl_s
            warm = _alive(table, rules, idle_s, ttl_s) if known else 0.0
        prompt = base + (chain[-1].upto - base_upto) * ratio
        return Forecast(
            prompt_tokens=prompt,
            read_tokens=known * warm,
            write_5m_tokens=0.0,
            write_1h_tokens=0.0,
            warm=warm,
            known_tokens=known,
            known_to=place + 1 if known else 0,
            lasting_tokens=_stepped(prompt, rules),
            lasting_ttl_s=rules.ttl_s[0],
            idle_s=idle_s,
            ttl_s=ttl_s,
        )

    # --- caches that are written at marks ---------------------------------------------------------------------

    def _at_marks(
        self, table: _Table, rules: CacheRules, chain: Chain, at: float, places: Sequence[int], life: Mark, met: Met
    ) -> Forecast:
        ratio = table.ratio
        marks = _marks(rules, chain, ratio, places)
        place, warm, idle_s, ttl_s, base, base_upto = -1, 0.0, 0.0, 0.0, 0.0, 0
        known = _read(table, rules, chain, marks, places, at, met)
        if known is not None:
            place, warm, idle_s, found = known
            ttl_s, base_upto = found.ttl_s, chain[place].upto
            base = found.billed or base_upto * ratio
        warm_done, cold_done, lasting, ours = base, 0.0, 0.0, ""
        write_5m = write_1h = 0.0
        for mark in marks:
            segment = chain[mark]
            lasting = base + (segment.upto - base_upto) * ratio if mark >= place else min(segment.upto * ratio, base)
            written = 0.0  # of what is new if the known prefix is there, and if it is gone
            if lasting > warm_done:
                written, warm_done = warm * (lasting - warm_done), lasting
            if lasting > cold_done:
                written, cold_done = written + (1.0 - warm) * (lasting - cold_done), lasting
            ours = life if mark in places else segment.mark
            if ours == "1h":
                write_1h += written
            else:
                write_5m += written
        # By position: a forecast is made for every placement of marks that is priced.
        return Forecast(
            base + (chain[-1].upto - base_upto) * ratio,
            base * warm,
            write_5m,
            write_1h,
            warm,
            base,
            place + 1,
            lasting,
            _ttl_s(rules, ours),
            idle_s,
            ttl_s,
        )

    def _write_marks(self, table: _Table, rules: CacheRules, chain: Chain, at: float) -> None:
        marks = _marks(rules, chain, table.ratio)
        known = _read(table, rules, chain, marks, (), at, {})
        if known is not None:
            known[3].used_at = at
            table.entries.move_to_end(chain[known[0]].digest)
        for mark in marks:
            digest, ttl_s = chain[mark].digest, _ttl_s(rules, chain[mark].mark)
            entry = table.entries.get(digest)
            if entry is None:
                table.entries[digest] = _Entry(at, ttl_s, mark)
            else:
                entry.used_at, entry.ttl_s = at, ttl_s
                table.entries.move_to_end(digest)

    def _correct(
        self,
        table: _Table,
        rules: CacheRules,
        chain: Chain,
        forecast: Forecast,
        usage: Usage,
        at: float,
    ) -> None:
        """Bring what is remembered to what was billed: exact lengths, entries that were gone, and unknown ones."""
        if rules.kind == "automatic":
            tip = table.entries.get(chain[-1].digest)
            if tip is not None:
                tip.billed, tip.tip = usage.input_tokens, len(chain) - 1
            return
        read = usage.cache_read_tokens
        marks = _marks(rules, chain, table.ratio)
        known = forecast.known_to - 1
        if known >= 0 and read < 0.5 * forecast.known_tokens and known not in marks:
            table.entries.pop(chain[known].digest, None)
        total = read + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        tip = table.entries.get(chain[marks[-1]].digest) if marks else None
        if tip is not None and total:
            tip.billed, tip.tip = total, marks[-1]
        if read > 1.1 * forecast.known_tokens + rules.step_tokens and rules.kind == "explicit":
            ratio = usage.input_tokens / max(chain[-1].upto, 1)
            nearest = min(range(len(chain)), key=lambda index: abs(chain[index].upto * ratio - read))
            table.entries.setdefault(chain[nearest].digest, _Entry(at, rules.ttl_s[0], nearest))


_NOTHING = _Table()
_TAIL = 4  # a conversation whose last blocks are other ones now is the same conversation
_MEMORY = 0.9  # of ten calls ago a third is remembered: prompts of one session are much alike
_ALIKE = 8.0  # a prompt billed at more or less than so many times what we count has documents in it, or is a slip
_GONE = 0.02


def _plain(tokens: float) -> Forecast:
    return Forecast(tokens, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)


def _stepped(tokens: float, rules: CacheRules) -> float:
    """What of so many tokens an automatic cache keeps."""
    return tokens // rules.step_tokens * rules.step_tokens if tokens >= rules.min_tokens else 0.0


def _marks(rules: CacheRules, chain: Chain, ratio: float, places: Sequence[int] = ()) -> Sequence[int]:
    """The segments behind which the provider writes, shorter prompts than it takes left out. places: of further
    marks."""
    marks: Sequence[int] = sorted({*chain.marks, *places}) if places else chain.marks
    if rules.kind == "marked":
        newest = next((index for index in range(len(chain) - 1, -1, -1) if _ends(chain[index])), -1)
        marks = sorted({*marks[-(rules.max_marks - 1) :], newest} - {-1})
    short = 0  # mostly none: what stands behind one that is long enough is longer
    while short < len(marks) and chain[marks[short]].upto * ratio < rules.min_tokens:
        short += 1
    return marks[short:] if short else marks


def _ends(segment: Segment) -> bool:
    """Whether an implicit breakpoint may stand there: at the end of what a user or a tool said."""
    return segment.kind == "message" and (segment.tool or segment.role in ("user", "tool"))


Met = dict[int, tuple[int, float, float, "_Entry"] | None]
"""By mark: what is read where it is the deepest, as `_read` tells it."""


def _read(
    table: _Table, rules: CacheRules, chain: Chain, marks: Sequence[int], places: Sequence[int], at: float, met: Met
) -> tuple[int, float, float, _Entry] | None:
    """The deepest older entry that is probably still there, of those that are found from the marks: where it is, how
    probably, and for how long it was idle. places: of further marks."""
    if not table.entries:
        return None
    if rules.kind == "marked":
        marked = {*chain.marks, *places}
        ends = (index for index in range(len(chain) - 1, -1, -1) if index in marked or _ends(chain[index]))
        latest = (index for index in islice(ends, _LATEST) if chain[index].digest in table.entries)
        return _living(table, rules, chain, latest, at)
    reach = max(rules.look_back, 1)
    for mark in reversed(marks):
        if mark in met:
            found = met[mark]
        else:
            within = _known(table.entries, chain, range(mark, max(mark - reach, -1), -1))
            found = met[mark] = _living(table, rules, chain, within, at)
        if found is not None:
            return found
    return None


def _living(
    table: _Table, rules: CacheRules, chain: Chain, places: Iterable[int], at: float
) -> tuple[int, float, float, _Entry] | None:
    """The first of these entries that is probably still there."""
    for index in places:
        found = table.entries[chain[index].digest]
        idle_s = max(at - found.used_at, 0.0)
        chance = _alive(table, rules, idle_s, found.ttl_s)
        if chance > _GONE:
            return index, chance, idle_s, found
    return None


def _known(entries: Mapping[bytes, _Entry], chain: Sequence[Segment], places: Sequence[int]) -> Iterator[int]:
    """The places that have an entry. Without a step of Python's for each: most have none."""
    return compress(places, map(entries.__contains__, map(_DIGEST, map(chain.__getitem__, places))))


_DIGEST = attrgetter("digest")


_LATEST = 80  # breakpoints of a conversation among which OpenAI looks for an entry


def _ttl_s(rules: CacheRules, mark: str) -> float:
    return rules.long_ttl_s or rules.ttl_s[0] if mark == "1h" else rules.ttl_s[0]


def _deepest(table: _Table, chain: Sequence[Segment], *, since: float = float("-inf")) -> tuple[int, _Entry | None]:
    """The longest prefix that was sent `since` then. From the end: what is new stands there."""
    entries = table.entries
    if not entries:
        return -1, None
    last = len(chain) - 1
    for index in range(last, max(last - _TAIL, -1), -1):  # nearly always it is one of these
        entry = entries.get(chain[index].digest)
        if entry is not None and entry.used_at >= since:
            return index, entry
    for index in _known(entries, chain, range(last - _TAIL, -1, -1)):
        entry = entries[chain[index].digest]
        if entry.used_at >= since:
            return index, entry
    return -1, None


def _extend(table: _Table, chain: Chain, at: float, ttl_s: float) -> None:
    """Remember a whole prompt. What goes on with a conversation joins its entry, so that a turn costs its new part."""
    entries = table.entries
    place, entry = _deepest(table, chain)
    if entry is not None and entry.tip > place + _TAIL:  # it parts from a conversation: they share a head
        head = _Entry(at, ttl_s, place, entry.parent)
        for index in range(place, -1, -1):
            if entries.get(chain[index].digest) is not entry:
                break
            entries[chain[index].digest] = head
        entry.parent = head
        entry = _Entry(at, ttl_s, place, head)
    if entry is None:
        entry = _Entry(at, ttl_s, len(chain) - 1)
    if entry.tip != len(chain) - 1:
        entry.billed = 0
    entry.tip = len(chain) - 1
    for index in range(place + 1, len(chain)):
        entries[chain[index].digest] = entry
    shared: _Entry | None = entry
    while shared is not None:
        shared.used_at = at
        shared = shared.parent


# --- how long prefixes live -----------------------------------------------------------------------------------

_EDGES = (0.1, 0.5, 0.8, 0.95, 1.0, 1.05, 1.5, 2.0, 4.0, 12.0)  # idle time as a multiple of the documented life
_EXPLICIT = (0.99, 0.99, 0.98, 0.95, 0.8, 0.2, 0.01, 0.005, 0.002, 0.001, 0.001)
_AUTOMATIC = (0.98, 0.97, 0.95, 0.93, 0.9, 0.5, 0.4, 0.3, 0.15, 0.08, 0.02)
_PRIOR_CALLS = 6.0
_RECENT_CALLS = 200.0


def _alive(table: _Table, rules: CacheRules, idle_s: float, ttl_s: float) -> float:
    """The probability that a prefix that was idle for so long is still there: a Beta posterior mean per bucket.

    The prior is the documentation's, worth six calls; what the provider bills outweighs it soon.
    """
    bucket = bisect_right(_EDGES, idle_s / ttl_s)
    prior = (_AUTOMATIC if rules.kind == "automatic" else _EXPLICIT)[bucket]
    seen = table.outcomes.get(ttl_s)
    if seen is None:
        return prior
    hits, misses = seen[bucket]
    return (prior * _PRIOR_CALLS + hits) / (_PRIOR_CALLS + hits + misses)


def _count(table: _Table, forecast: Forecast, *, hit: bool) -> None:
    seen = table.outcomes.get(forecast.ttl_s)
    if seen is None:
        seen = table.outcomes[forecast.ttl_s] = [[0.0, 0.0] for _ in range(len(_EDGES) + 1)]
    bucket = seen[bisect_right(_EDGES, forecast.idle_s / forecast.ttl_s)]
    bucket[0 if hit else 1] += 1.0
    if sum(bucket) > _RECENT_CALLS:
        bucket[0] /= 2
        bucket[1] /= 2
