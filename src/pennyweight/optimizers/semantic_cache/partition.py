"""One kind of call of one tenant: its entries, what comparing their answers has taught, and what it decides by that.

Fed with vectors and answers, and pure but for its own state: the optimizer and the benches run the same. It draws no
lots of its own and knows no time. Needs numpy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from ...standing import State
from . import linear, neighbours
from .calibration import Line, draw_line
from .linear import Linear
from .neighbours import Floats, entry_name, group_in
from .panel import Panel

__all__ = ["Decision", "Looked", "Partition", "Rules"]

_VERSION = 1
_DIMENSIONS = len(neighbours.FEATURES) + len(linear.FEATURES)
_TRAFFIC = 2000  # questions of late, by which shares of traffic are told
_FIRST = 100  # labels before the first line is drawn
_GROWTH = 1.12  # of labels until the next one
_MORE = 30
_WARNED = 400.0  # see `_warn`
_AT_LEAST = 5.0  # a stale cache is wrong at least so many times as often as allowed: what the alarm listens for
_PROBATION = 20  # would-be hits after opening, half of which are audited


class Rules(msgspec.Struct, frozen=True):
    """error_target: share of hits that may be wrong. audit_share: of would-be hits, asked upstream instead.

    alpha: probability that a threshold allows more than the target. It is looked at again and again as labels come, a
    few dozen times in a partition's life; half of the usual 0.05 makes up for that as far as was measured. floor:
    cosine below which nothing is a hit, whatever was learnt. most_entries: the oldest give way.
    """

    error_target: float = 0.02
    audit_share: float = 0.05
    alpha: float = 0.025
    floor: float = 0.5
    most_entries: int = 8000


class Looked(msgspec.Struct, frozen=True):
    """What the neighbours of a question say: the answer they speak for, the entries that give it, how sure that is."""

    group: str
    entries: tuple[str, ...]  # names, nearest first
    cosine: float
    features: tuple[float, ...]


class Decision(msgspec.Struct, frozen=True):
    """`why` is a phrase without a word of any prompt."""

    act: Literal["hit", "audit", "miss"]
    why: str


class _Learnt(msgspec.Struct, frozen=True, array_like=True):
    """A partition as it is kept. Arrays are little-endian: float16 vectors, int32 groups, float32 traffic."""

    version: int
    dimensions: int
    names: list[str]
    groups: list[str]
    of: bytes
    vectors: bytes
    traffic: bytes
    line: Line | None
    counts: dict[str, int]
    state: State
    reason: str
    since_line: int
    due: int
    doubt: float
    opened: int
    epoch: int


class Partition:
    def __init__(self, dimensions: int, rules: Rules) -> None:
        self.rules = rules
        self.state: State = "learning"
        self.reason = "no answers compared yet"
        self.line: Line | None = None
        self.epoch = 0  # counts how often everything was forgotten: names the space of the entries
        self.counts = dict.fromkeys(("asked", "hits", "audited", "audited_wrong", "labels"), 0)
        self._groups: dict[str, int] = {}
        self._panel = Panel(dimensions, most=rules.most_entries)
        self._linear = Linear(dimensions)
        self._traffic: deque[tuple[float, ...]] = deque(maxlen=_TRAFFIC)
        self._labels = 0  # since everything was forgotten
        self._due = _FIRST
        self._doubt = 1.0
        self._opened = 0  # would-be hits since it opened

    # --- asked for every call -------------------------------------------------------------------------------

    @property
    def entries(self) -> int:
        return len(self._panel)

    @property
    def is_open(self) -> bool:
        return self.state == "open" and self.line is not None and self.line.threshold is not None

    def nearest(self, vector: Floats) -> list[tuple[str, float]]:
        """What a vector store that has all entries would give."""
        return self._panel.nearest(vector)

    def look(self, vector: Floats, nearest: Sequence[tuple[str, float]]) -> Looked | None:
        """nearest: (name, cosine), nearest first. None: nobody is near. Entries of unknown answers are passed over."""
        names: list[str] = []
        cosines: list[float] = []
        of: list[int] = []
        for name, cosine in nearest:
            number = self._groups.get(group_in(name))
            if number is not None and len(of) < neighbours.LOOK_AT:
                names.append(name)
                cosines.append(cosine)
                of.append(number)
        if not names:
            return None
        chosen, features = neighbours.look_once(cosines, of)
        mine = of[chosen]
        entries = tuple([name for name, number in zip(names, of, strict=True) if number == mine])
        joined = (*features, *self._linear.opinion(vector, mine))
        return Looked(group_in(names[chosen]), entries, cosines[chosen], joined)

    def decide(self, looked: Looked, draw: float) -> Decision:
        """draw: a number in [0, 1), drawn for this call, that decides about audits."""
        line = self.line
        if not self.is_open or line is None or line.threshold is None:
            return Decision("miss", f"{self.state}: {self.reason}")
        if looked.cosine < self.rules.floor:
            return Decision("miss", f"cosine {looked.cosine:.2f} under {self.rules.floor:.2f}")
        score = line.score(looked.features)
        if score < line.threshold:
            return Decision("miss", f"score {score:.1f} under {line.threshold:.1f}")
        share = line.audit_share(score, self.rules.audit_share)
        if self._opened < _PROBATION:
            share = max(share, 0.5)
        if draw < share:
            return Decision("audit", f"score {score:.1f}, asked upstream to be compared")
        return Decision("hit", f"score {score:.1f}, wrong at most {line.bound:.1%} of the time")

    # --- told what came of it -------------------------------------------------------------------------------

    def served(self, looked: Looked) -> None:
        """A stored answer was given."""
        self._saw(looked)
        self.counts["hits"] += 1
        self._opened += 1

    def learn(
        self, text_id: str, vector: Floats, group: str, looked: Looked | None, *, audited: bool
    ) -> tuple[str, str | None]:
        """The upstream answered: keep the entry, and compare it with what would have been given.

        text_id: the same for equal texts. audited: it would have been a hit. Gives the name of the entry, and of the
        one that gave way to it.
        """
        if looked is not None:
            self._saw(looked)
            self.counts["labels"] += 1
            self._labels += 1
            if audited:
                self._opened += 1
                self.counts["audited"] += 1
                self._warn(wrong=looked.group != group)
        name = entry_name(group, text_id)
        if name in self._panel:  # the same again is no new evidence, or one caller could make all of it
            return name, None
        number = self._groups.setdefault(group, len(self._groups))
        gone = self._panel.add(name, vector, number)
        self._linear.add(vector, number)
        if gone is None:
            return name, None
        self._linear.add(gone[1], gone[2], -1.0)
        return name, gone[0]

    @property
    def due(self) -> bool:
        """Whether enough was learnt since the line was drawn to draw it anew."""
        return self._labels >= self._due

    def redraw(self) -> None:
        """Draw the line by everything known: every entry is held against all others, as they are now.

        Takes 0.1 s for 1,000 entries, 2 s for 8,000: not for an event loop.
        """
        self._due = int(self._labels * _GROWTH) + _MORE
        if self.entries < 2 or not self._traffic:
            return
        self._linear.solve()
        places = np.arange(self.entries)
        chosen, features = neighbours.look(*(found := self._panel.among_others(places)))
        groups = found[1][places, chosen]
        own = self._panel.groups
        opinions = self._linear.opinions(self._panel.vectors, groups, own)
        line = draw_line(
            np.hstack([features, opinions]),
            (groups != own).astype(np.float64),
            np.array(self._traffic),
            target=self.rules.error_target,
            alpha=self.rules.alpha,
        )
        was_open, self.line = self.is_open, line
        if line is not None and line.threshold is not None:
            self.state, self.reason = "open", ""
            if not was_open:
                self._opened, self._doubt = 0, 1.0
        elif was_open or self.state == "closed":
            self.state, self.reason = "closed", f"no threshold keeps wrong hits under {self.rules.error_target:.1%}"
        else:
            self.state, self.reason = "learning", f"{self.entries} answers show no threshold that is safe enough"

    def forget(self) -> None:
        """Everything learnt and kept, but the counts."""
        fresh = Partition(self._panel.dimensions, self.rules)
        fresh.counts, fresh.epoch = self.counts, self.epoch + 1
        fresh.state, fresh.reason = self.state, self.reason
        self.__dict__.update(fresh.__dict__)

    def _saw(self, looked: Looked) -> None:
        self._traffic.append(looked.features)
        self.counts["asked"] += 1

    def _warn(self, *, wrong: bool) -> None:
        """Listen for answers that have gone stale: a running likelihood ratio of audits (Page's CUSUM).

        It compares "wrong `_AT_LEAST` times as often as allowed" with "as often as allowed"; a few wrong audits in a
        row end it. What was learnt before says nothing then, and neither do the entries.
        """
        target = min(self.rules.error_target, 0.99 / _AT_LEAST)
        self.counts["audited_wrong"] += wrong
        ratio = _AT_LEAST if wrong else (1.0 - _AT_LEAST * target) / (1.0 - target)
        self._doubt = max(self._doubt, 1.0) * ratio
        if self._doubt >= _WARNED:
            self.state, self.reason = "closed", "audits found it wrong too often: everything is learnt anew"
            self.forget()

    # --- kept -----------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """No text is in it."""
        return msgspec.msgpack.encode(
            _Learnt(
                _VERSION,
                self._panel.dimensions,
                self._panel.names,
                list(self._groups),
                self._panel.groups.astype("<i4").tobytes(),
                self._panel.vectors.astype("<f2").tobytes(),
                np.array(self._traffic, "<f4").tobytes(),
                self.line,
                self.counts,
                self.state,
                self.reason,
                self._labels,
                self._due,
                self._doubt,
                self._opened,
                self.epoch,
            )
        )

    @classmethod
    def load(cls, learnt: bytes, dimensions: int, rules: Rules) -> Partition | None:
        """What `dump` gave; None for what another version gave, or something else did."""
        try:
            kept = msgspec.msgpack.decode(learnt, type=_Learnt)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if kept.version != _VERSION or kept.dimensions != dimensions:
            return None
        try:
            of = np.frombuffer(kept.of, "<i4")
            vectors = np.frombuffer(kept.vectors, "<f2").reshape(len(kept.names), dimensions).astype(np.float32)
            traffic = np.frombuffer(kept.traffic, "<f4").reshape(-1, _DIMENSIONS)
        except ValueError:
            return None
        if len(of) != len(vectors) or (len(of) and not 0 <= of.min() <= of.max() < len(kept.groups)):
            return None
        made = cls(dimensions, rules)
        made._groups = {group: number for number, group in enumerate(kept.groups)}
        for name, vector, number in zip(kept.names, vectors, of.tolist(), strict=True):
            made._panel.add(name, vector, number)
            made._linear.add(vector, number)
        made._linear.solve()
        made._traffic.extend(tuple(row) for row in traffic.tolist())
        made.line, made.state, made.reason, made.epoch = kept.line, kept.state, kept.reason, kept.epoch
        made.counts.update(kept.counts)
        made._labels, made._due, made._doubt, made._opened = kept.since_line, kept.due, kept.doubt, kept.opened
        return made
