"""Flags, arms and the holdout: for whose calls an optimizer acts, only watches, or is off. Data, not code paths.

A session is drawn once for each optimizer by a hash of its name, so it stays in its arm, and a share that grows keeps
the sessions that it had. Nothing here does I/O: changes are kept by whatever `Changes` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal, Protocol

import msgspec

from .call import Call
from .errors import BadRequest, NotFound

__all__ = ["HOLDOUT", "STEPS", "Change", "Changes", "Exposure", "Flag", "InForce", "Level", "Mode", "Policy", "side_of"]

Mode = Literal["off", "shadow", "on"]
Level = Literal["safe", "max"]
By = Literal["config", "operator", "loop"]
Kind = Literal["set", "reset", "notice"]

HOLDOUT = "holdout"
"""The arm of sessions for which every optimizer is off."""

STEPS = (0.01, 0.05, 0.25, 1.0)
"""The shares that a gradual roll-out goes through."""

_SIGNS: Mapping[Mode, str] = {"on": "+", "shadow": "~", "off": "-"}


class Flag(msgspec.Struct, frozen=True):
    """`share` in [0, 1] of sessions gets `mode`; for the others the optimizer is off.

    rollout: begin with 1% of sessions and go up to `share` as the evidence allows.
    """

    mode: Mode = "on"
    share: float = 1.0
    level: Level | None = None  # what the operator takes its proposals for; None: as each says
    rollout: bool = False

    @property
    def configured(self) -> str:
        """As kept beside a change: a file that says something else since is the newer word."""
        return f"{self.mode} {self.share:g}{' rollout' if self.rollout else ''}"

    @property
    def start(self) -> float:
        """The share before anything was changed."""
        return min(STEPS[0], self.share) if self.rollout else self.share


class Change(msgspec.Struct, frozen=True):
    """One change of a flag, and the notice of it. `figures`: what the loop decided it by."""

    optimizer: str
    mode: Mode
    share: float
    by: By
    kind: Kind = "set"  # "reset": back to the file; "notice": nothing was changed, somebody should know
    reason: str = ""
    figures: dict[str, float] = {}
    configured: str = ""
    at: float = 0.0  # unix seconds
    id: int = 0  # 0: not kept yet
    last_receipt: int = 0  # the newest receipt (its row) when the change was made: what follows is of the new stage


class Changes(Protocol):
    """Where changes are kept. Raises StoreError."""

    async def latest(self) -> Sequence[Change]:
        """The newest of each optimizer that is no notice."""
        ...

    async def add(self, change: Change, *, after: int | None = None) -> Change | None:
        """The change as it was kept; None when `after` is given and is not the id of the optimizer's newest one."""
        ...


class InForce(msgspec.Struct, frozen=True):
    """What holds for one optimizer now, and who said so."""

    mode: Mode
    share: float
    by: By = "config"
    reason: str = ""
    at: float = 0.0
    change: int = 0  # id of the newest change, whether it is in force or not; 0: none
    since: int = 0  # the newest receipt when it came into force


class Exposure(msgspec.Struct, frozen=True):
    """What a call's session was drawn for. `arm` says it in one receipt: "holdout", or a sign after each name.

    "exact_cache+ compress- router~": the first acts, the second is off for this session by its share, the third only
    watches. An optimizer that is off for everybody is not named.
    """

    arm: str
    modes: Mapping[str, Mode]


def side_of(arm: str, optimizer: str) -> Literal["+", "-", "~", ""]:
    """In which arm of that optimizer the session was; "" where it is not told, as in the holdout."""
    for word in arm.split(" "):
        if word[:-1] == optimizer:
            return word[-1]  # type: ignore[return-value]
    return ""


class Policy:
    """The flags in force: the configured ones, then what was changed while running. Made once per App."""

    def __init__(self, flags: Mapping[str, Flag], *, holdout: float = 0.0, changes: Changes | None = None) -> None:
        self.flags = dict(flags)
        self.holdout = holdout
        self._changes = changes
        self._latest: dict[str, Change] = {}
        self.version = 0  # another one whenever what is in force has changed
        self._build()

    # --- asked for every call -------------------------------------------------------------------------------

    def exposure(self, call: Call) -> Exposure:
        """What this call's session gets. A call without a session is drawn by its own id."""
        if not self._drawn and self.holdout <= 0.0:
            return self._everybody
        identity = call.identity
        unit = f"{identity.tenant}\0{identity.session or call.id}".encode("utf-8", "surrogatepass")
        if self.holdout > 0.0 and _draw(unit, _HOLDOUT_SALT) < self.holdout:
            return _HELD_OUT
        if not self._drawn:
            return self._everybody
        inside = tuple([_draw(unit, salt) < share for salt, share in self._drawn])
        found = self._exposures.get(inside)
        if found is None:
            found = self._exposures[inside] = self._exposed(inside)
        return found

    def mode(self, optimizer: str, call: Call) -> Mode:
        return self.exposure(call).modes.get(optimizer, "off")

    def arm(self, call: Call) -> str:
        return self.exposure(call).arm

    # --- what holds, and changing it ------------------------------------------------------------------------

    def in_force(self, optimizer: str) -> InForce:
        """Raises NotFound."""
        flag = self._flag(optimizer)
        change = self._latest.get(optimizer)
        if change is None:
            return InForce(flag.mode, flag.start)
        if change.kind == "reset" or change.configured != flag.configured:
            since = change.last_receipt if change.kind == "reset" else 0
            return InForce(flag.mode, flag.start, change=change.id, since=since)
        return InForce(
            change.mode, change.share, change.by, change.reason, change.at, change.id, since=change.last_receipt
        )

    def held(self, optimizer: str) -> bool:
        """Whether the operator set it by hand: the loop then keeps its hands off."""
        return self.in_force(optimizer).by == "operator"

    async def load(self) -> None:
        """Take up what was changed before, or elsewhere. Raises StoreError."""
        if self._changes is not None:
            found = {c.optimizer: c for c in await self._changes.latest() if c.optimizer in self.flags}
            newest = max((change.id for change in found.values()), default=0)
            since = {name: held for name, held in self._latest.items() if held.id > newest}  # while that was read
            self._latest = found | since
            self._build()

    async def set(
        self,
        optimizer: str,
        *,
        by: By,
        mode: Mode | None = None,
        share: float | None = None,
        reason: str = "",
        figures: Mapping[str, float] | None = None,
        kind: Kind = "set",
    ) -> InForce | None:
        """Change what holds, and keep the change; what is not named stays. Gives what holds now.

        by "operator": in force until they reset it or the file says something new. by "loop": None, and nothing
        changes, where an operator set the flag or somebody changed it since it was looked at.
        Raises NotFound, BadRequest for a share outside [0, 1], StoreError when it cannot be kept.
        """
        now = self.in_force(optimizer)
        if share is not None and not 0 <= share <= 1:
            raise BadRequest(f"share {share!r} is no share of sessions. Use 0 to 1; 0.25 is a quarter.")
        if by == "loop" and now.by == "operator" and kind != "notice":
            return None
        flag = self.flags[optimizer]
        if kind == "reset":
            mode, share = flag.mode, flag.start
        change = Change(
            optimizer,
            mode or now.mode,
            now.share if share is None else share,
            by,
            kind,
            reason,
            dict(figures or {}),
            flag.configured,
        )
        kept: Change | None = change
        if self._changes is not None:
            kept = await self._changes.add(change, after=now.change if by == "loop" and kind != "notice" else None)
        if kept is None:
            await self.load()
            return None
        if kind != "notice":
            self._latest[optimizer] = kept
            self._build()
        return self.in_force(optimizer)

    async def reset(self, optimizer: str, *, by: By = "operator", reason: str = "") -> InForce | None:
        """Back to what the file says; the loop may act again."""
        return await self.set(optimizer, by=by, reason=reason, kind="reset")

    def _flag(self, optimizer: str) -> Flag:
        found = self.flags.get(optimizer)
        if found is None:
            known = ", ".join(sorted(self.flags)) or "none"
            raise NotFound(f"There is no optimizer {optimizer[:80]!r} in this configuration. There are: {known}.")
        return found

    # --- made anew whenever a flag changes ------------------------------------------------------------------

    def _build(self) -> None:
        self.version += 1
        self._now = {name: self.in_force(name) for name in self.flags}
        self._names = [name for name, now in self._now.items() if now.mode != "off" and 0.0 < now.share < 1.0]
        self._drawn = [(_salt(name), self._now[name].share) for name in self._names]
        self._exposures: dict[tuple[bool, ...], Exposure] = {}
        self._everybody = self._exposed(())

    def _exposed(self, inside: tuple[bool, ...]) -> Exposure:
        drawn = dict(zip(self._names, inside, strict=False))
        modes: dict[str, Mode] = {}
        for name, now in self._now.items():
            if now.mode != "off":
                modes[name] = now.mode if drawn.get(name, now.share > 0.0) else "off"
        return Exposure(" ".join(f"{name}{_SIGNS[mode]}" for name, mode in modes.items()) or "none", modes)


_HELD_OUT = Exposure(HOLDOUT, {})


def _salt(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=16).digest()


_HOLDOUT_SALT = _salt(HOLDOUT)


def _draw(unit: bytes, salt: bytes) -> float:
    """A number in [0, 1) that is always the same for this unit and salt, and independent between salts.

    A keyed hash: with a checksum such as CRC-32 two salts differ by a constant, so that all optimizers would share
    one draw.
    """
    return int.from_bytes(blake2b(unit, digest_size=8, person=salt).digest(), "big") / 2**64
