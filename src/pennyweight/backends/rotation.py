"""Several keys for one provider: a session keeps one, and a key that is refused rests.

Providers keep prompt caches per account or workspace, so changing keys in a session throws away its cached prefix.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from ..errors import ConfigError
from ..protocols import Clock
from .cooldown import Cooldown

__all__ = ["ROTATE_ON", "Keys"]

ROTATE_ON = frozenset({401, 402, 429})
"""Refusals of one key, after which another may be taken."""

_MOST_SESSIONS = 10_000


class Keys:
    """The keys of one provider. It never prints one."""

    def __init__(self, secrets: Sequence[str], clock: Clock) -> None:
        """Raises ConfigError when there is no key."""
        if not secrets:
            raise ConfigError("A provider with key rotation has no key. Set its key or keys.")
        self._secrets = tuple(dict.fromkeys(secrets))
        self._cooldown: Cooldown[int] = Cooldown(clock)
        self._pins: OrderedDict[str, int] = OrderedDict()
        self._turn = 0

    def __repr__(self) -> str:
        return f"Keys({len(self._secrets)})"

    def pick(self, session: str) -> str:
        """The key for this session: its last one while that is well. "" takes the keys in turn.

        When all rest, the one that is ready soonest: the provider decides, not we.
        """
        if len(self._secrets) == 1:
            return self._secrets[0]
        index = self._choose(session)
        self._cooldown.trying(index)
        if session:
            self._pins[session] = index
            self._pins.move_to_end(session)
            if len(self._pins) > _MOST_SESSIONS:
                self._pins.popitem(last=False)
        return self._secrets[index]

    def failed(self, key: str, status: int, *, retry_after_s: float | None = None) -> bool:
        """The provider refused a call with this key; whether another key that is well is left to try.

        Other statuses than those of `ROTATE_ON` say nothing about the key.
        """
        index = self._index(key)
        if index is None:
            return False
        if status not in ROTATE_ON:
            self._cooldown.left(index)
            return False
        self._cooldown.failed(index, retry_after_s=retry_after_s)
        return any(not self._cooldown.cooling(i) for i in range(len(self._secrets)))

    def answered(self, key: str) -> None:
        """The provider took this key."""
        if self._cooldown.quiet:
            return
        index = self._index(key)
        if index is not None:
            self._cooldown.answered(index)

    def _choose(self, session: str) -> int:
        pinned = self._pins.get(session)
        if pinned is not None and not self._cooldown.cooling(pinned):
            return pinned
        count = len(self._secrets)
        if session:
            # Highest digest wins, so that sessions spread evenly and come back to the same key after a restart.
            ranked = sorted(range(count), key=lambda i: blake2b(f"{i}/{session}".encode(), digest_size=8).digest())
        else:
            self._turn = (self._turn + 1) % count
            ranked = [(self._turn + i) % count for i in range(count)]
        return self._cooldown.order(ranked)[0]

    def _index(self, key: str) -> int | None:
        return self._secrets.index(key) if key in self._secrets else None
