"""Writes the traffic of chosen sessions to files, off the request path: one file for each session and run.

`wants` says before a call whether its answer must be kept; `take` gets the finished call from the clerk. Files are
0600 in a folder 0700. A capture that cannot be written is given up with one line in the log, never an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ..call import Call, Outcome
from ..errors import ConfigError
from ..protocols import Clock
from ..request import Operation
from .filler import Filler
from .format import Recorded, delta, line
from .redact import HEADERS, redact
from .rule import FILE, Rule, read_rule

__all__ = ["Recorder"]

log = logging.getLogger(__name__)

OPEN_SESSIONS = 64  # whose latest bodies are remembered, to write only what is new
BASES = 4
LOOK_S = 1.0  # how often the rule's file is looked at


class _Open(msgspec.Struct):
    """A file that is being written: where, when it began, its number of lines, and the bodies of the latest ones."""

    path: Path
    began: float
    lines: int = 0
    latest: list[tuple[int, Recorded]] = []


class Recorder:
    """`always`: the configuration's own rule, which holds beside the one that the command line sets."""

    def __init__(self, data_dir: Path, *, clock: Clock, always: Rule | None = None) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._always = always or Rule()
        self._rule = Rule()
        self._active = tuple(rule for rule in (self._rule, self._always) if rule.on)
        self._look_at = float("-inf")  # on the monotonic clock
        self._stamp: tuple[int, int] | None = None
        self._open: OrderedDict[tuple[str, str, str, bool], _Open] = OrderedDict()
        self._filler: Filler | None = None
        self._salt = secrets.token_bytes(32)
        self._writing = asyncio.Lock()  # one after the other, in their order: each line rests on those before it

    def wants(self, call: Call) -> bool:
        """Whether the call is recorded, so that its answer must be kept. Looks at the rule's file once a second."""
        if self._clock.monotonic() >= self._look_at:
            self._look()
        return bool(self._active) and self._rule_for(call) is not None

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        """Records finished calls if their sessions are chosen. Never raises."""
        if self._clock.monotonic() >= self._look_at:
            self._look()
        for outcome in outcomes if self._active else ():
            rule = self._rule_for(outcome.call)
            if rule is None:
                continue
            try:
                async with self._writing:
                    await asyncio.to_thread(self._write, outcome, rule)
            except Exception as error:  # noqa: BLE001 - a full disk or an odd body: the gateway goes on
                log.warning("capture failed", extra={"error": type(error).__name__})

    def _rule_for(self, call: Call) -> Rule | None:
        if call.original.operation is not Operation.GENERATE:
            return None
        for rule in self._active:
            if rule.covers(call.identity):
                return rule
        return None

    def _look(self) -> None:
        self._look_at = self._clock.monotonic() + LOOK_S
        try:
            status = (self._data_dir / FILE).stat()
            stamp: tuple[int, int] | None = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._rule = read_rule(self._data_dir) or Rule()
        except ConfigError:
            log.warning("capture.json is not valid: nothing is recorded")
            self._rule = Rule()
        self._active = tuple(rule for rule in (self._rule, self._always) if rule.on)

    def _write(self, outcome: Outcome, rule: Rule) -> None:
        recorded = _recorded(outcome)
        if rule.redact:
            self._filler = self._filler or Filler(self._salt)
            recorded = redact(recorded, self._filler)
        file = self._file(outcome, rule)
        recorded = msgspec.structs.replace(recorded, t=recorded.at - file.began)
        changes = [
            (index, delta(base.body, recorded.body)) for index, base in file.latest if base.wire is recorded.wire
        ]
        best = min(changes, key=lambda change: len(msgspec.json.encode(change[1])), default=None)
        descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as stream:
            stream.write(line(recorded, best) + b"\n")
        file.latest = [*file.latest[-(BASES - 1) :], (file.lines, recorded)]
        file.lines += 1

    def _file(self, outcome: Outcome, rule: Rule) -> _Open:
        identity = outcome.call.identity
        folder = rule.folder(self._data_dir)
        key = (identity.tenant, identity.session, str(folder), rule.redact)
        file = self._open.get(key)
        if file is None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            began = outcome.call.at
            file = _Open(_free(folder, f"{_safe(identity.tenant, identity.session)}-{_stamp(began)}"), began)
            self._open[key] = file
            if len(self._open) > OPEN_SESSIONS:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return file


def _recorded(outcome: Outcome) -> Recorded:
    call, response = outcome.call, outcome.response
    answer: Any = None
    if response is not None:
        try:
            answer = msgspec.json.decode(response.raw)
        except msgspec.DecodeError:
            answer = None  # an upstream's HTML: the status says enough
    return Recorded(
        session=call.identity.session,
        wire=call.original.wire,
        body=call.original.body,
        at=call.at,
        path=call.original.path,
        headers={key: value for key, value in call.original.headers if key in HEADERS},
        status=outcome.status,
        answer=answer if isinstance(answer, dict) else None,
        usage=outcome.done.usage,
    )


def _safe(tenant: str, session: str) -> str:
    """A file name that shows the session and cannot leave the folder or fall together with another's."""
    digest = hashlib.blake2b(f"{tenant}\0{session}".encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', session)[:60] or 'session'}-{digest}"


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%S")


def _free(folder: Path, name: str) -> Path:
    """A path that no file has yet: an earlier run's lines would be counted otherwise."""
    path = folder / f"{name}.jsonl"
    number = 2
    while path.exists():
        path = folder / f"{name}-{number}.jsonl"
        number += 1
    return path
