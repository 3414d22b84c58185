"""All experiments of a ledger, brought up to date from its new receipts: a bounded piece of reading at a time.

What they come to is a function of the receipts, in their order, and of the flags: a state that is lost is made anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any
from zlib import crc32

import msgspec

from ..policy import Policy
from .evidence import Scale
from .experiment import TOTAL, Levels, Row, Signal, Trial
from .reading import of_session

__all__ = ["Trials", "advance", "kept", "restored"]

_ROWS = 2_000  # receipts per look
_SIGNALS = 500
_VERSION = 1  # of the state: another one is made anew
_CALLS_PER_S = 100.0  # to look at: 100 sessions of one call cost about 5 ms of CPU
_LEAP_S = 300.0  # the most that a receipt takes the time forward: one jump of a clock ends no session


class Trials(msgspec.Struct):
    """The state. `row` and `signal`: what was read last. `now`: logical seconds, which never go back."""

    version: int = _VERSION
    row: int = 0
    signal: int = 0
    now: float = 0.0
    last_at: float = 0.0
    one_in: int = 1  # of so many sessions one is followed
    levels: Levels = msgspec.field(default_factory=Levels)
    trials: dict[str, Trial] = {}
    revealed: list[str] = []  # experiments that had two arms before: whoever was there then is known

    def align(self, policy: Policy) -> None:
        """One trial for each optimizer that is on for a part of the sessions, and one for all against the holdout."""
        wanted = {}
        for name in policy.flags:
            now = policy.in_force(name)
            if now.mode == "on" and 0.0 < now.share < 1.0:
                wanted[name] = (f"on {now.share:g} #{now.change}", now.share, now.since)
        in_force = {name: policy.in_force(name) for name in policy.flags}
        acting = [f"{name} {now.share:g} #{now.change}" for name, now in in_force.items() if now.mode == "on"]
        since = max((now.since for now in in_force.values()), default=0)
        wanted[TOTAL] = (", ".join([f"holdout {policy.holdout:g}", *acting]), 1.0 - policy.holdout, since)
        for name in set(self.trials) - set(wanted):
            del self.trials[name]
        for name, (stage, q, start) in wanted.items():
            held = self.trials.get(name)
            if held is None or held.stage != stage:
                self.trials[name] = self._trial(name, stage, max(start, self.row), q)

    def _trial(self, name: str, stage: str, start: int, q: float) -> Trial:
        history = self.trials.get(name) or self.trials.get(TOTAL)
        scales = {key: _copy(scale) for key, scale in history.scales.items()} if history is not None else {}
        trial = Trial(name, stage, start, q, scales=scales, admits_old=name not in self.revealed)
        if history is not None and history.name == name:
            trial.before = history.q
        if 0.0 < q < 1.0 and name not in self.revealed:
            self.revealed.append(name)
        return trial

    def take(self, row: Row, earlier: Callable[[Row, int], bool]) -> None:
        told = self.levels.tell(row)
        for trial in self.trials.values():
            trial.take(row, told, self.now, earlier)

    def hear(self, signal: Signal) -> None:
        for trial in self.trials.values():
            trial.hear(signal)

    def pass_time(self, seconds: float) -> None:
        self.now += max(seconds, 0.0)
        for trial in self.trials.values():
            trial.pass_time(self.now)


class Earlier:
    """Whether a session has receipts before a row and after another, by the ledger's index of sessions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._runs = json.dumps([run for (run,) in connection.execute("SELECT run FROM receipt_runs")])
        self._last: tuple[Row | None, int, bool] = (None, 0, False)  # several trials ask the same one after the other

    def __call__(self, row: Row, after: int) -> bool:
        if self._last[0] is not row or self._last[1] != after:
            values = (self._runs, row.tenant, row.unit, after, row.first)
            self._last = row, after, self._connection.execute(_EARLIER, values).fetchone() is not None
        return self._last[2]


_EARLIER = """
SELECT 1 FROM receipts
WHERE run IN (SELECT value FROM json_each(?)) AND tenant = ? AND session = ? AND rowid > ? AND rowid < ? LIMIT 1
"""


def _copy(scale: Scale) -> Scale:
    return msgspec.structs.replace(scale)


# --- reading ------------------------------------------------------------------------------------------------

_BAD = "(status >= 400 OR (error <> '' AND NOT abandoned))"
_GOOD = "(status < 400 AND error = '' AND NOT abandoned)"
_READ = f"""
SELECT tenant, iif(session = '', call_id, session) AS unit, session = '', arm, model, finish_reason,
  min(rowid) AS first, max(rowid), count(*), sum({_BAD}), sum({_GOOD}), total(iif({_GOOD}, latency_s, 0)),
  coalesce(sum(cost_pico / 1000000) * 1000000 + sum(cost_pico % 1000000), 0), sum(cost_pico IS NOT NULL),
  sum(instr(trail, '"optimizer":"retry"') > 0)
FROM receipts WHERE rowid > ? AND rowid <= ? AND arm <> '' AND operation IN ('generate', 'embed')
GROUP BY tenant, unit, arm, model, finish_reason ORDER BY first
"""
_HEARD = f"""
SELECT s.id, s.tenant, s.session, s.call_id, s.kind, s.value, r.arm,
  (SELECT min(rowid) FROM receipts f WHERE {of_session("s.tenant", "s.session", table="f")} AND s.session <> ''),
  r.rowid,
  EXISTS (SELECT 1 FROM signals e WHERE e.tenant = s.tenant AND e.session = s.session AND e.session <> ''
          AND e.kind = s.kind AND e.id < s.id)
FROM signals s LEFT JOIN receipts r ON r.rowid = iif(s.call_id <> '',
  (SELECT c.rowid FROM receipts c WHERE c.call_id = s.call_id AND c.tenant = s.tenant),
  (SELECT max(c.rowid) FROM receipts c WHERE {of_session("s.tenant", "s.session", table="c")} AND c.arm <> ''))
WHERE s.id > ? ORDER BY s.id LIMIT ?
"""


def advance(state: Trials, connection: sqlite3.Connection, *, elapsed_s: float = 0.0) -> bool:
    """Take in the next receipts and signals; whether there are more.

    elapsed_s: since the last look, if that one had come to the end, else 0. Where more calls come in a second than are
    worth their while, one in 2, 4, 8… sessions is followed, by a hash that knows no arm.
    Time passes with the receipts' own or with ours, whichever went further; a clock that is set back stands still.
    """
    newest = connection.execute("SELECT coalesce(max(rowid), 0) FROM receipts").fetchone()[0]
    if newest < state.row:  # the ledger is another one, or all of it was forgotten
        state.row = newest
    compared = any(0.0 < trial.q < 1.0 for trial in state.trials.values())
    if not compared:  # nobody is told apart: a few of the newest show what is usual, for later
        state.row = max(state.row, newest - _USUAL_ROWS)
    if elapsed_s > 0.0:
        most = _CALLS_PER_S if compared else _CALLS_PER_S / 10  # else only what is usual is learnt, for later
        state.one_in = _one_in((newest - state.row) / elapsed_s / most)
    end = min([state.row + _ROWS, newest, *(t.start for t in state.trials.values() if t.start > state.row)])
    passed = 0.0
    if end > state.row:
        passed = _passed(state, connection, end)
        earlier = Earlier(connection)
        for values in connection.execute(_READ, (state.row, end)).fetchall():
            row = Row(*values)
            if state.one_in == 1 or crc32(row.key.encode("utf-8", "surrogatepass")) % state.one_in == 0:
                state.take(row, earlier)
        state.row = end
    heard = connection.execute(_HEARD, (state.signal, _SIGNALS)).fetchall()
    for values in heard:
        if not _hear(state, values):
            break
    state.pass_time(max(passed, min(elapsed_s, _LEAP_S)))
    return end < newest or len(heard) == _SIGNALS


_USUAL_ROWS = 100


def _passed(state: Trials, connection: sqlite3.Connection, end: int) -> float:
    """Seconds between the receipts up to that row, without the leaps of a clock."""
    passed, before = 0.0, state.last_at
    for (at,) in connection.execute("SELECT at FROM receipts WHERE rowid > ? AND rowid <= ?", (state.row, end)):
        if before:
            passed += min(max(at - before, 0.0), _LEAP_S)
        before = at
    state.last_at = before
    return passed


def _one_in(times: float) -> int:
    """The smallest power of 2 that is not below: with powers, who is followed at 8 was followed at 4."""
    found = 1
    while found < times and found < 1 << 16:
        found *= 2
    return found


def _hear(state: Trials, values: tuple[Any, ...]) -> bool:
    """False: it is about a receipt that is still to be read, and waits for it."""
    number, tenant, session, call_id, kind, value, arm, first, own, known = values
    if own is not None and own > state.row:
        return False
    state.signal = number
    if arm:  # else its receipt is gone, or the call was no part of an experiment
        row = first if first is not None else own
        state.hear(Signal(f"{tenant}\0{session or call_id}", kind, value, arm, row, bool(known)))
    return True


# --- keeping ------------------------------------------------------------------------------------------------


def kept(state: Trials) -> bytes:
    return msgspec.json.encode(state)


def restored(connection: sqlite3.Connection) -> Trials:
    """The state as it was kept, or a new one where there is none that can be read."""
    row = connection.execute("SELECT state FROM experiment_state WHERE id = 1").fetchone()
    if row is None:
        return Trials()
    try:
        state = msgspec.json.decode(row[0], type=Trials)
    except (msgspec.DecodeError, RecursionError):
        return Trials()
    return state if state.version == _VERSION else Trials()
