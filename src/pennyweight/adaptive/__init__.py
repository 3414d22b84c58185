"""The adaptive loop: every few minutes, turn a knob a little where the evidence asks for it, and back if that hurt.

Off unless switched on; nothing is turned that could not be written down first. `rule` decides, `loop` acts, `knobs`
says what a knob is, `ttl` is one. See docs/decisions/0008-adaptive-loop.md.
"""

from __future__ import annotations

from .knobs import Harm, Knob, Tunable, Wish
from .loop import Adaptive, Change, Changes, Outcome
from .rule import Settings
from .ttl import TtlKnob

__all__ = ["Adaptive", "Change", "Changes", "Harm", "Knob", "Outcome", "Settings", "Tunable", "TtlKnob", "Wish"]
