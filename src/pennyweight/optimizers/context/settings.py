"""What an operator may say of compaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ...errors import ConfigError

__all__ = ["Settings", "checked"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """session_tokens, turns, result_tokens: a session is compacted that has more than so many tokens, turns of the
    model, or tokens in one old result. window_share: of its model's window, from which on it is compacted even where
    that costs more. windows: tokens by model pattern, before those known. target: the share of its tokens that a
    session is brought to. least_share: less than that saved is not worth a rewrite. keep_turns: the model's last turns,
    that stay as they are.

    lossy: also without the recall tool in the request, leave out what cannot be had back. provider: let the provider
    clear old results or truncate, when the window is nearly full, where the caller's headers allow it and he has not
    said how himself. summary_model: writes summaries ahead of need; "": sentences are picked instead. summary_tokens:
    of a text from which on one is written. sessions: remembered at most.
    """

    session_tokens: int = 50_000
    turns: int = 20
    result_tokens: int = 5_000
    window_share: float = 0.8
    windows: Mapping[str, int] = {}
    target: float = 0.4
    least_share: float = 0.2
    keep_turns: int = 4
    lossy: bool = False
    provider: Literal["off", "auto"] = "off"
    summary_model: str = ""
    summary_tokens: int = 2_000
    sessions: int = 1_000


_SHARES = ("window_share", "target", "least_share")
_COUNTS = ("session_tokens", "turns", "result_tokens", "keep_turns", "summary_tokens", "sessions")


def checked(settings: Settings) -> Settings:
    """The settings. Raises ConfigError for those that cannot be."""
    for name in _SHARES:
        if not 0.0 < getattr(settings, name) <= 1.0:
            raise ConfigError(f"context: {name} {getattr(settings, name)} is no share. Use more than 0 and at most 1.")
    for name in _COUNTS:
        if getattr(settings, name) < 1:
            raise ConfigError(f"context: {name} {getattr(settings, name)} is too few. Use 1 or more.")
    return settings
