"""`select` and `feedback`: which of several agents or models is to do a task, learnt from how tasks went.

For programs that only choose; one that also sends calls has both over its gateway. What is learnt is shared with the
gateway and the command line through the store that the configuration names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ..app import open_selection
from ..config import Config, find, load
from ..errors import ConfigError
from ..selection import Candidate, Choice, Selection

__all__ = ["feedback", "select"]

T = TypeVar("T")


def select(
    task_type: str,
    candidates: Iterable[str | Candidate],
    *,
    tenant: str = "local",
    source: str | Path | Config | None = None,
) -> Choice:
    """Who is to do a task of that type. Waits for the store, some milliseconds: not for an event loop's thread.

    candidates: names, or `Candidate(name, model)` where several run on one model. source: as for `Client`.
    Raises BadRequest, ConfigError, StoreError.
    """
    asked = [Candidate(one) if isinstance(one, str) else one for one in candidates]
    return _run(source, lambda selection: selection.select(tenant, task_type, asked))


def feedback(
    choice: Choice,
    success: float,
    *,
    tokens: float = 0.0,
    latency_s: float = 0.0,
    tenant: str = "local",
    source: str | Path | Config | None = None,
) -> None:
    """How it went: success in [0, 1], and what it took. Raises BadRequest, ConfigError, StoreError."""
    _run(source, lambda selection: selection.feedback(tenant, choice, success, tokens=tokens, latency_s=latency_s))


def _run(source: str | Path | Config | None, work: Callable[[Selection], Awaitable[T]]) -> T:
    if not isinstance(source, Config):
        source = load(Path(source) if source is not None else find(os.environ), os.environ)
    if source.selection.store == "memory":
        raise ConfigError(
            'selection.store is "memory": nothing would be learnt from one call to the next. Use "sqlite".'
        )
    config = source

    async def main() -> T:
        async with open_selection(config) as selection:
            return await work(selection)

    return asyncio.run(main())
