"""What a configuration says of tiers, targets and virtual models: the shapes of [[tiers]], [[targets]], [[virtual]]."""

from __future__ import annotations

from typing import Literal

import msgspec

from .background import Lane

__all__ = ["Aim", "CascadeTable", "TargetTable", "TierTable", "VirtualTable"]

Aim = Literal["balanced", "cheap", "quality", "fast", "local"]
"""What a virtual model is for. balanced: the cheapest target whose chance of success clears the bar; cheap: the same
with a lower bar; quality: the target most likely to succeed; fast: the one that answers first; local: none on other
machines."""


class TierTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[tiers]], the cheapest first. `targets`: "provider/model", in the order of preference.

    share: of calls that are routed, in [0, 1], a soft goal that is steered to and reported; None: no goal.
    """

    name: str
    targets: tuple[str, ...]
    share: float | None = None


class TargetTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[targets]]: what is so of a target beside its price. None: as is known of that model, else not limited.

    target: "provider/model", `*` standing for any run of characters. A quota of a pattern is one for all that fit it
    together, as free tiers have it for an account.
    """

    target: str
    context_tokens: int | None = None
    output_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    per_minute: int | None = None  # requests, of a free tier's quota
    per_day: int | None = None
    memory_mb: int | None = None  # that the model takes when it is loaded; None: measured
    success: float | None = None  # the chance that its answer is good, before anything was learnt


class VirtualTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[virtual]]: a model name that stands for a choice among tiers.

    tiers: () for all. reference: "provider/model" that the call would go to without routing, by which savings are
    reckoned; None: the first target of the last tier. bar: the chance of success that a cheaper target must clear;
    None: as the aim says. task: its calls are of this type; "": told from each call. peer: "provider/model" of about
    the first target's strength, whose agreement is asked for in a cascade; None: no cascade by agreement.
    """

    name: str
    tiers: tuple[str, ...] = ()
    aim: Aim = "balanced"
    bar: float | None = None
    reference: str | None = None
    task: str = ""
    cascade: bool = False
    peer: str | None = None
    lane: Lane | None = None  # "background": its calls can wait; None: as [lanes] says


class CascadeTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[cascade]: when the answer of a routed call's first target is kept, and when a stronger one is asked.

    mode: "bound" keeps what the evidence allows, so that at most the share `epsilon` of all calls gets a worse answer
    than the strongest target's, with a probability of 1 - `delta`; "verify" keeps what is well formed and not
    contradicted, and promises nothing. compare: the share of calls that ask all targets, by which the rest is judged;
    compare_first: the same until there are enough of them.
    """

    mode: Literal["bound", "verify"] = "bound"
    epsilon: float = 0.02
    delta: float = 0.1
    compare: float = 0.05
    compare_first: float = 0.25
    window: int = 2_000  # compared answers of one kind that count, the newest
    ask_peer: Literal["at_once", "in_doubt"] = "at_once"  # in_doubt: once nothing was found wrong with the first answer
    peer_wait_s: float = 30.0  # how long a whole answer waits for the peer's
    hold_bytes: int = 1 << 20  # an answer that is longer cannot be judged, and the stronger target is asked
    pulse_s: float = 5.0  # a caller of a stream hears something about this often while its answer is held
    logprobs: bool = True  # ask the first target how sure it is of its words, where its protocol has that
