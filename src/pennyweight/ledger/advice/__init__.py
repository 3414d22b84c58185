"""Advice: what the last hours' receipts say should be changed, what it costs, and the exact setting that changes it.

`read` sums a span of the ledger; `advise` is a pure function from those sums to findings. It never acts, and it does
not know what a prompt said: a finding about quality is proposed as an experiment.
"""

from __future__ import annotations

from .changes import changes
from .metrics import Metrics, metrics
from .rules import advise
from .settings import Finding, Settings, Severity
from .window import Queue, Window, read, span_s

__all__ = [
    "Finding",
    "Metrics",
    "Queue",
    "Settings",
    "Severity",
    "Window",
    "advise",
    "changes",
    "metrics",
    "read",
    "span_s",
]
