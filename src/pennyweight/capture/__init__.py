"""Recorded traffic: the format, the recorder, and redaction."""

from __future__ import annotations

from .format import Recorded, write
from .recorder import Recorder
from .rule import Rule, read_rule, write_rule

__all__ = ["Recorded", "Recorder", "Rule", "read_rule", "write", "write_rule"]
