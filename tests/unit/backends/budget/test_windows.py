"""Hours, days and months by the clock of a place: also where it is set forward, back, at midnight, or skips a date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pennyweight.backends.budget.windows import Per, window, zone
from pennyweight.errors import ConfigError


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def told(per: Per, moment: str, name: str) -> tuple[str, str, float]:
    where = zone(name)
    found = window(per, at(moment), where)
    begins, ends = (datetime.fromtimestamp(x, UTC).astimezone(where) for x in (found.begins, found.ends))
    return f"{begins:%Y-%m-%d %H:%M}", f"{ends:%Y-%m-%d %H:%M}", (found.ends - found.begins) / 3600


@pytest.mark.parametrize(
    ("moment", "name", "begins", "ends", "hours"),
    [
        ("2026-03-05T23:59:59+00:00", "UTC", "2026-03-05 00:00", "2026-03-06 00:00", 24),
        ("2026-03-29T12:00:00+02:00", "Europe/Berlin", "2026-03-29 00:00", "2026-03-30 00:00", 23),
        ("2026-10-25T12:00:00+01:00", "Europe/Berlin", "2026-10-25 00:00", "2026-10-26 00:00", 25),
        ("2026-03-28T23:30:00+00:00", "Europe/Berlin", "2026-03-29 00:00", "2026-03-30 00:00", 23),
        # There is no midnight on the day that summer time began in Brazil: it began at one.
        ("2018-11-04T12:00:00-02:00", "America/Sao_Paulo", "2018-11-04 01:00", "2018-11-05 00:00", 23),
        # And the day before it ended had its last hour twice.
        ("2018-02-17T23:30:00-03:00", "America/Sao_Paulo", "2018-02-17 00:00", "2018-02-18 00:00", 25),
        # Samoa went from Thursday to Saturday.
        ("2011-12-31T12:00:00+14:00", "Pacific/Apia", "2011-12-31 00:00", "2012-01-01 00:00", 24),
        ("2011-12-29T12:00:00-10:00", "Pacific/Apia", "2011-12-29 00:00", "2011-12-31 00:00", 24),
    ],
)
def test_days(moment: str, name: str, begins: str, ends: str, hours: float) -> None:
    assert told("day", moment, name) == (begins, ends, hours)


def test_months() -> None:
    assert told("month", "2026-02-14T00:00:00+00:00", "UTC") == ("2026-02-01 00:00", "2026-03-01 00:00", 28 * 24)
    assert told("month", "2026-12-31T23:30:00+01:00", "Europe/Berlin")[:2] == ("2026-12-01 00:00", "2027-01-01 00:00")
    assert told("month", "2026-03-01T00:00:00+01:00", "Europe/Berlin")[2] == 31 * 24 - 1


def test_hours() -> None:
    assert told("hour", "2026-03-05T12:34:56+00:00", "UTC")[:2] == ("2026-03-05 12:00", "2026-03-05 13:00")
    assert told("hour", "2026-03-05T12:34:56+00:00", "Asia/Kolkata")[:2] == ("2026-03-05 18:00", "2026-03-05 19:00")
    first, second = (window("hour", at(f"2026-10-25T02:30:00+0{n}:00"), zone("Europe/Berlin")) for n in (2, 1))
    assert first.ends == second.begins, "the hour that comes twice is two"


def test_a_midnight_that_comes_twice_begins_the_day_once() -> None:
    """Clocks in Newfoundland went back from 00:01 to 23:01: an hour that shows yesterday's date belongs to today."""
    where = zone("America/St_Johns")
    first = window("day", at("2010-11-07T00:00:30-02:30"), where)
    again = window("day", at("2010-11-06T23:30:00-03:30"), where)
    assert first == again


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "Europe", "/etc/localtime", "a\0b"])
def test_a_zone_that_is_none(name: str) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        zone(name)
