"""Which calls can wait."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from pennyweight.call import Call, Housekeeping, Identity
from pennyweight.request import Operation
from pennyweight.routing.background import Background, LaneSettings, background, matches
from pennyweight.testing.backend import make_call

NOW = 1_800_000_000.0
ALL = LaneSettings(
    marked=True, chores=("heartbeat", "title", "evaluation", "cron"), agents=("nightly-*",), deadline_s=600.0
)


def call(headers: dict[str, str] | None = None, operation: Operation = Operation.GENERATE, **identity: str) -> Call:
    made = make_call(headers=tuple((headers or {}).items()), operation=operation)
    chore: Housekeeping | None = identity.pop("housekeeping", None)  # type: ignore[assignment]
    return msgspec.structs.replace(made, identity=Identity(housekeeping=chore, **identity), at=NOW)


def marked(**headers: str) -> dict[str, str]:
    told = {f"x-pennyweight-{name.replace('_', '-')}": value for name, value in headers.items()}
    return {"x-pennyweight-lane": "background"} | told


def test_as_it_stands_nothing_waits() -> None:
    nothing = LaneSettings()
    for one in (call(), call(marked()), call(housekeeping="heartbeat"), call(session="agent:main:cron:x")):
        assert background(one, nothing) is None


@pytest.mark.parametrize(
    ("headers", "until"),
    [
        ({}, NOW + 600),
        ({"deadline_s": "30"}, NOW + 30),
        ({"deadline_s": "1e4"}, NOW + 10_000),
        ({"deadline": str(NOW + 5)}, NOW + 5),
        ({"deadline": datetime.fromtimestamp(NOW + 60, UTC).isoformat()}, NOW + 60),
        ({"deadline": datetime.fromtimestamp(NOW + 60, UTC).isoformat().replace("+00:00", "Z")}, NOW + 60),
        ({"deadline_s": "soon"}, None),  # what cannot be read is not made to wait
        ({"deadline_s": "-1"}, None),
        ({"deadline_s": "inf"}, None),
        ({"deadline_s": "nan"}, None),
        ({"deadline": str(NOW - 5)}, None),
        ({"deadline": "tomorrow"}, None),
    ],
)
def test_a_marked_call_waits_until_its_deadline(headers: dict[str, str], until: float | None) -> None:
    expected = Background(until, "marked") if until is not None else None
    assert background(call(marked(**headers)), ALL) == expected


@pytest.mark.parametrize(
    ("identity", "by"),
    [
        ({"housekeeping": "heartbeat"}, "heartbeat"),
        ({"housekeeping": "title"}, "title"),
        ({"housekeeping": "compaction"}, None),  # known, and not among those that may wait
        ({"session": "agent:main:cron:1234"}, "cron"),
        ({"session": "cron-nightly"}, "cron"),
        ({"session": "acronym"}, None),
        ({"task": "evaluation"}, "evaluation"),
        ({"task": "eval-42"}, "evaluation"),
        ({"task": "evaluate this"}, None),
        ({"agent": "nightly-report"}, "agent"),
        ({"agent": "daily-report"}, None),
        ({}, None),
    ],
)
def test_what_is_told_by_its_looks(identity: dict[str, str], by: str | None) -> None:
    found = background(call(**identity), ALL)
    assert (found.by if found is not None else None) == by
    if found is not None and by != "agent":
        assert found.until == NOW + ALL.chore_deadline_s  # its client does not know that it waits


def test_now_goes_before_everything() -> None:
    for word in ("now", "NOW", "later", ""):
        assert background(call({"x-pennyweight-lane": word}, housekeeping="heartbeat"), ALL, lane="background") is None
    assert background(call(agent="nightly-1"), ALL, lane="now") is None


def test_a_route_lets_its_calls_wait() -> None:
    assert background(call(), LaneSettings(), lane="background") == Background(NOW + 21_600, "route")


@pytest.mark.parametrize("operation", [Operation.COUNT, Operation.OTHER])
def test_what_nobody_batches_does_not_wait(operation: Operation) -> None:
    assert background(call(marked(), operation), ALL) is None


def test_patterns() -> None:
    assert matches("a-b.c", ["x", "a*c"])
    assert not matches("a-bXc", ["a-b.c"])
    assert not matches("abc", [])
