"""What can be turned: a knob says what the evidence asks for, and what harm the last turn did. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

__all__ = ["Harm", "Knob", "Tunable", "Wish"]


class Wish(msgspec.Struct, frozen=True):
    """The value that the evidence asks for, and why, in figures. `math.inf` means: no limit."""

    value: float
    reason: str


class Harm(msgspec.Struct, frozen=True):
    """What was seen since the knob was turned: `bad` of `seen` calls, where a share of `allowed` was so before."""

    seen: int = 0
    bad: int = 0
    allowed: float = 0.0


class Knob(Protocol):
    """Something that can be turned while calls run. `low` and `high` bound it; `start` is what the operator set."""

    @property
    def name(self) -> str: ...

    @property
    def start(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def value(self) -> float:
        """What is in force."""
        ...

    def wish(self) -> Wish | None:
        """None: the evidence asks for nothing, or there is too little of it."""
        ...

    def harm(self) -> Harm:
        """Since the last `turn`."""
        ...

    def turn(self, value: float) -> None:
        """Takes effect with the next call. Starts the counting of harm."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """What has knobs. Asking for them is what makes it learn, so that nothing is gathered while the loop is off."""

    def knobs(self) -> Sequence[Knob]: ...
