"""Several answers made one: where a model asked for left-out text, the gateway gave it and asked again.

Each answer of the upstream is a leg. The caller sees the legs as one answer, without the calls of our tool: whole
(`joined`) or as a stream (a `Weaver`, which passes on what it can as it comes). `turn` is what a leg and the results of
its calls add to the conversation when the model is asked again. Pure; every wire is one module with these functions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import msgspec

from ...request import Edit, Request, Usage, Wire

__all__ = ["Called", "Exchange", "Leg", "Legs", "Said", "Weaver", "legs"]


class Called(msgspec.Struct, frozen=True):
    """A call of our tool. `arguments`: as the model wrote them, parsed where the protocol has them parsed."""

    id: str
    arguments: Any


class Said(msgspec.Struct, frozen=True):
    """What a leg calls. `others`: ids of calls that the client is to run. `cut`: it came to no end of its own."""

    ours: tuple[Called, ...] = ()
    others: tuple[str, ...] = ()
    cut: bool = False

    @property
    def asks(self) -> bool:
        """Whether the model waits for us alone. With calls of the client's beside, it waits for those first."""
        return bool(self.ours) and not self.others and not self.cut


Leg = tuple[dict[str, Any], Sequence[str]]
"""A whole answer, and what its calls of our tool gave."""


class Exchange(msgspec.Struct, frozen=True):
    """What really stood in the place of an answer of which the caller has only a part, to be put back into its next
    requests: the model then knows what it read, the prompt begins as it did, and signed thinking fits.

    ids: of the client's calls at its end, by which it is found. text: what the caller got said and called. items:
    what is sent in its place. results: of our calls that stand beside the client's. tokens: that the caller's own
    prompt has not.
    """

    ids: tuple[str, ...]
    text: str
    items: tuple[Any, ...]
    results: tuple[Any, ...] = ()
    tokens: int = 0


class Weaver(Protocol):
    """One answer as a stream, out of the streams of its legs, cut anywhere. What is not touched keeps its bytes."""

    called: bool
    """Whether this leg has called our tool so far."""

    asks: bool
    """After the end of a leg: whether the model waits for us. What would end the answer is then held back."""

    def feed(self, chunk: bytes) -> bytes:
        """What the caller may see now."""
        ...

    def close(self) -> bytes:
        """The same, at the end of a leg's stream."""
        ...

    def next(self, usage: Usage | None) -> None:
        """Another leg follows. usage: of the one that ended."""
        ...


class Legs(Protocol):
    """The functions of a wire's module."""

    def weaver(self) -> Weaver: ...

    def said(self, answer: dict[str, Any]) -> Said:
        """Of a whole answer. Raises ValueError where it does not have its protocol's shape."""
        ...

    def joined(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The one answer of these legs, as the caller gets it: output summed, the prompt as it was at last."""
        ...

    def turn(self, request: Request, answer: dict[str, Any], results: Sequence[str]) -> tuple[Edit, ...]:
        """What brings a leg and the results of its calls of our tool, in their order, into the conversation."""
        ...

    def exchange(self, legs: Sequence[Leg]) -> Exchange | None:
        """What of these legs is to be put back; None where the answer calls nothing of the client's."""
        ...

    def restored(self, request: Request, kept: Sequence[Exchange]) -> tuple[tuple[Edit, ...], tuple[Exchange, ...]]:
        """The edits that put exchanges back, and which: those whose answer the caller sends as it got it."""
        ...


def legs(wire: Wire) -> Legs:
    """The module of that wire, imported when first asked for."""
    name = f"{__name__}.{wire.value}"
    return cast(Legs, sys.modules.get(name) or import_module(name))
