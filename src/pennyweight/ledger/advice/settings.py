"""The thresholds of advice, and a finding."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...call import Basis
from ...money import PicoUSD

__all__ = ["SEVERITIES", "Finding", "Settings", "Severity"]

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[advice]`: from where on something is worth saying. Shares are in [0, 1], money is in US dollars."""

    min_calls: int = 20  # fewer calls say nothing
    slow_s: float = 5.0  # mean seconds to the end of an answer
    hit_share: float = 0.2  # of either cache; below it is low
    switches: int = 50  # changes of model within sessions, per window
    heartbeat_share: float = 0.1  # of what the agent spends
    heartbeat_usd: float = 0.25  # per day; either of the two is enough
    session_usd: float = 10.0  # what one session may cost within the window; 0: no bound
    short_tokens: int = 300  # mean output of answers that a smaller model may do as well
    least_usd: float = 0.01  # per day: a finding about money that costs less is not worth reading
    newest: int = 20_000  # calls looked at; a busier window is read back only so far


class Finding(msgspec.Struct, frozen=True):
    """One piece of advice. `id` stays the same as long as it is about the same thing.

    cost: what leaving it costs, in PicoUSD a day; None where nobody can say. basis: how that is known; "computed" is
    priced from receipts of at least a day, "estimated" has an assumption or an extrapolation in it.
    """

    id: str
    code: str
    severity: Severity
    title: str
    detail: str
    evidence: dict[str, int | float | str]
    cost: PicoUSD | None = msgspec.field(name="cost_pico_per_day")
    basis: Basis
    remedy: str
    setting: str
