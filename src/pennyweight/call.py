"""One call on its way through: what was asked, by whom, where it goes, what optimizers said, and what it came to.

All frozen: `call.apply(action)` and `call.note(step)` give the next call.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

import msgspec

from .money import PicoUSD
from .request import Done, Edit, Operation, Request, Response, Usage, Wire

__all__ = [
    "AT_LEISURE",
    "CHARGED",
    "EARLIER",
    "GOING",
    "KEPT",
    "REFUSED",
    "SAID",
    "Action",
    "Answer",
    "Basis",
    "Call",
    "Credential",
    "Housekeeping",
    "Identity",
    "Optimize",
    "Outcome",
    "Proposal",
    "Receipt",
    "Rewrite",
    "Route",
    "Rungs",
    "Step",
    "Target",
    "Verdict",
    "abstain",
]

Optimize = Literal["off", "safe", "max"]
Basis = Literal["", "computed", "estimated", "measured"]
Housekeeping = Literal["heartbeat", "memory_flush", "compaction", "title", "commit_message", "count"]


class Credential:
    """A key or token that the caller brought. It never prints, encodes or compares as its value."""

    __slots__ = ("header", "secret", "subscription")

    def __init__(self, header: str, secret: str, *, subscription: bool = False) -> None:
        self.header = header  # "authorization" or "x-api-key": as it came, so it goes out
        self.secret = secret  # the whole header value
        self.subscription = subscription  # an OAuth token of a plan: metered in tokens, not dollars

    def __repr__(self) -> str:
        return f"Credential({self.header}: …)"


class Identity(msgspec.Struct, frozen=True):
    """Whose call it is. `tenant` is the virtual key's name ("local" without one); the rest is "" when unknown."""

    tenant: str = "local"
    session: str = ""
    agent: str = ""
    task: str = ""
    skill: str = ""
    housekeeping: Housekeeping | None = None
    session_source: str = ""  # which header or rule told the session, for `explain`


class Target(msgspec.Struct, frozen=True):
    """Where a call goes: a configured provider by name, the model as that provider calls it, the protocol it speaks."""

    provider: str
    model: str
    wire: Wire

    @property
    def name(self) -> str:
        """As configurations and reports write it: "provider/model"."""
        return f"{self.provider}/{self.model}"


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    response: Response


class Rewrite(msgspec.Struct, frozen=True, tag="rewrite"):
    edits: tuple[Edit, ...]


class Rungs(msgspec.Struct, frozen=True):
    """What a cascade does after the target of a call has answered: ask a peer, and go up where the answer is doubtful.

    strong: the targets to go up to, in order. peer: one of about the first target's strength, whose agreement counts.
    """

    strong: tuple[Target, ...]
    peer: Target | None = None
    task: str = ""


class Route(msgspec.Struct, frozen=True, tag="route"):
    """To another target, with other parameters, and with what may be asked after it."""

    target: Target
    params: tuple[Edit, ...] = ()
    rungs: Rungs | None = None


Action = Answer | Rewrite | Route


class Proposal(msgspec.Struct, frozen=True):
    """What an optimizer offers: an action, what it would save, what finding it cost, and how likely it does harm."""

    action: Action
    saving: PicoUSD = 0
    spent: PicoUSD = 0
    risk: float = 0.0  # probability in [0, 1] that the caller gets something worse
    why: str = ""
    level: Literal["safe", "max"] = "max"  # "safe": cannot change the answer, allowed under --optimize safe
    tokens: int = 0  # input tokens it takes off the bill, for callers whose bill is not dollars
    invests: bool = False  # `saving` is what it makes possible in calls to come, for a small price now
    forced: bool = (
        False  # the request would soon not be taken as it is: what that costs of a warm cache does not stop it
    )
    restores: bool = False  # it gives the conversation back the form in which the provider was sent it before


class Verdict(StrEnum):
    ABSTAINED = "abstained"  # nothing to offer
    SHADOWED = "shadowed"  # would have been accepted, but the optimizer only watches
    TOO_RISKY = "too_risky"
    NOT_WORTH_IT = "not_worth_it"
    QUEUED = "queued"  # it would pay, but not while the provider's cache is warm: it waits for a cold moment
    NOT_ALLOWED = "not_allowed"  # the call's optimize level forbids it
    ACCEPTED = "accepted"
    FAILED = "failed"  # it raised, or the deadline passed
    LOST = "lost"  # a translation could not carry a field; `why` names it


class Step(msgspec.Struct, frozen=True, omit_defaults=True, cache_hash=True):
    """One line of a call's trail."""

    optimizer: str
    verdict: Verdict
    saving: PicoUSD = 0
    spent: PicoUSD = 0
    risk: float = 0.0
    why: str = ""
    error: str = ""  # the exception's class name, never its text: texts can hold prompts


class Call(msgspec.Struct, frozen=True, eq=False):
    """A call. `original` is what came in, `request` what goes out after the rewrites accepted so far."""

    id: str
    identity: Identity
    original: Request
    request: Request
    target: Target
    at: float  # unix seconds
    optimize: Optimize = "safe"
    trail: tuple[Step, ...] = ()
    risk_left: float = 0.05
    credential: Credential | None = None
    arrived: float | None = None  # when the request was here whole, on the monotonic clock
    rungs: Rungs | None = None  # of the cascade that its route asked for
    facts: dict[str, Any] = {}  # what one seam tells a later one (e.g. the arm of an experiment); never prompts

    @property
    def rewritten(self) -> bool:
        return self.request is not self.original

    def sending(self, request: Request) -> Call:
        """The call with another request to send: what a backend below the pipeline does to it."""
        return msgspec.structs.replace(self, request=request)

    def note(self, *steps: Step) -> Call:
        return msgspec.structs.replace(self, trail=self.trail + steps)

    def apply(self, action: Action) -> Call:
        """The call after a Rewrite or a Route; an Answer leaves it as it is."""
        match action:
            case Rewrite(edits=edits):
                return msgspec.structs.replace(self, request=self.request.edit(edits))
            case Route(target=target, params=params, rungs=rungs):
                request = self.request.edit(params) if params else self.request
                credential = self.credential if target.provider == self.target.provider else None  # of nobody else's
                return msgspec.structs.replace(self, request=request, target=target, rungs=rungs, credential=credential)
            case Answer():
                return self


SAID = "said"
"""The key of `Call.facts` under which optimizers that offer nothing leave the steps that say why, by their names."""


AT_LEISURE = "at_leisure"
"""The key of `Call.facts` by which somebody who only wants to know says that optimizers may work out at once what they
prepare between calls otherwise."""

GOING = "going"
"""The key of `Call.facts` that tells to which target an optimizer has sent the call."""

KEPT = "kept_answer"
"""The key of `Call.facts` that tells that the call got a kept answer, and no provider was asked."""

EARLIER = "earlier_charges"
"""The key of `Call.facts` under which a backend that asked more than once leaves what it asked beside the answer: the
bill that a caller is told with its answer has to have it, and the reply's own comes to its end later."""

CHARGED = "charged"
"""The key of `Call.facts` under which a backend that asks more than once leaves the charges so far: an answer that
never came to be has no end that could tell them."""


REFUSED = "refused"
"""The key of `Call.facts` that says that an upstream refused what was made of a call; it was asked with the caller's
own then."""


def abstain(call: Call, optimizer: str, why: str, *, spent: PicoUSD = 0) -> None:
    """Leave a reason for offering nothing, which the call's trail then tells. Never a word of the prompt."""
    call.facts.setdefault(SAID, {})[optimizer] = _abstained(optimizer, why, spent)


@lru_cache(maxsize=256)
def _abstained(optimizer: str, why: str, spent: PicoUSD) -> Step:
    return Step(optimizer, Verdict.ABSTAINED, spent=spent, why=why)


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """A finished call, as the clerk hands it to optimizers and the ledger."""

    call: Call
    done: Done
    status: int
    answered_by: str  # a provider's name, or the optimizer that answered
    headers: tuple[tuple[str, str], ...] = ()
    response: Response | None = None  # kept only when an optimizer asked for it (see Pipeline)
    ttft_s: float | None = None  # first byte of the body
    latency_s: float = 0.0  # to the end of the body
    added_s: float = 0.0  # our own part of it: from the whole request to the upstream asked, or to our own answer
    error: str = ""  # class name of what went wrong
    abandoned: bool = False  # the caller left before the end
    output_text: Callable[[], str] | None = None  # what was streamed, for counting where no usage came
    untouched: Usage | None = None  # what would have been billed for the call as the caller sent it
    reference: Target | None = None  # where that would have been, had nobody routed it; None: where it was billed
    estimated: bool = False  # `untouched` counts tokens of a model whose tokenizer is another
    foreseen_read_tokens: float | None = None  # of the prompt, that its provider was expected to have in its cache
    warm: float | None = None  # how sure that was, in [0, 1]


class Receipt(msgspec.Struct, frozen=True):
    """What one call cost and what it would have cost untouched. Money in PicoUSD; None: no price is known."""

    call_id: str
    at: float
    tenant: str
    session: str
    agent: str
    task: str
    skill: str
    housekeeping: str
    wire: str
    operation: Operation
    provider: str
    model: str  # as asked
    target_model: str  # as sent
    usage: Usage | None
    cost: PicoUSD | None
    baseline: PicoUSD | None
    spent: PicoUSD  # what optimizing cost, already inside `cost`
    pricing: Literal["priced", "unpriced", "local", "subscription", "free"]
    trail: tuple[Step, ...]
    status: int
    finish_reason: str
    arm: str = ""
    ttft_s: float | None = None
    latency_s: float = 0.0
    added_s: float = 0.0
    error: str = ""
    abandoned: bool = False
    answered_by: str = ""  # a provider's name, or the optimizer that answered
    replayed: bool = False  # nothing was billed: `usage` is what the answer stands for, not what was consumed
    basis: Basis = ""  # how baseline - cost was established; "": nobody changed the call
    foreseen_read_tokens: int | None = None  # cached tokens that were expected; None: nothing was
    warm: float | None = None  # the probability with which
