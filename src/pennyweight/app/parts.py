"""What optimizers may use of an App, and how one is found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec

from ..backends.summaries import Summaries
from ..call import Call, Target
from ..economy import Economy
from ..errors import ConfigError, PennyweightError
from ..hits import CacheRule
from ..ledger.accounts import Accounts
from ..ledger.hits import HitBook
from ..protocols import KV, Clock, Leases, Optimizer, Tokenizer
from ..request import Wire
from ..routing.agents import Agents
from ..routing.background import Background
from ..routing.choose import Chances, Priors
from ..routing.virtual import Live, Lookout, Virtual
from ..selection import Selection
from ..standing import Standings
from ..stores.vectors.lazy import LazyVectors
from ..text.embedders.lazy import Embeddings

__all__ = ["OPTIMIZERS", "Parts", "optimizer"]

OPTIMIZERS: Mapping[str, str] = {
    "exact_cache": "pennyweight.optimizers.exact_cache:build",
    "routing": "pennyweight.optimizers.routing:build",
    "agent_tiers": "pennyweight.optimizers.agent_tiers:build",
    "billing_header": "pennyweight.optimizers.billing_header:build",
    "heartbeat": "pennyweight.optimizers.heartbeat:build",
    "prompt_cache": "pennyweight.optimizers.prompt_cache:build",
    "parameters": "pennyweight.optimizers.parameters:build",
    "output_limit": "pennyweight.optimizers.output_limit:build",
    "prompt_rules": "pennyweight.optimizers.prompt_rules:build",
    "prompts": "pennyweight.optimizers.prompts:build",
    "compression": "pennyweight.optimizers.compression:build",
    "templates": "pennyweight.optimizers.templates:build",
    "context": "pennyweight.optimizers.context:build",
    "semantic_cache": "pennyweight.optimizers.semantic_cache.optimizer:build",
}
"""Built-in optimizers by name. Other packages offer theirs through the entry-point group `pennyweight.optimizers`."""


class Parts(msgspec.Struct, frozen=True):
    """What the App owns and an optimizer may use."""

    kv: KV
    clock: Clock
    book: Accounts
    tokenizer: Tokenizer
    economy: Economy
    vectors: LazyVectors
    hits: HitBook
    rule: Callable[[Call], CacheRule]  # what the call's route says of keeping answers
    leases: Leases  # who does a thing, among all replicas that share a store
    embeddings: Embeddings
    summaries: Summaries  # of long texts by a model, written ahead of need
    standings: Standings  # what caches that answer by likeness have learnt
    virtual: Callable[[Call], Virtual | None] = lambda _call: None  # the choice that the call's model stands for
    resolve: Callable[[str, Wire], Target] = lambda model, wire: Target("", model, wire)  # where a model's name leads
    lookout: Lookout = lambda _target: Live()  # how targets are now
    pressure: Callable[[Call], float] = lambda _call: 0.0  # the share spent of the tightest budget; never waits
    background: Callable[[Call], Background | None] = lambda _call: None  # whether a call can wait, and until when
    lane_target: str = ""  # "provider/model" that calls which can wait are meant for; "": none
    agents: Agents = msgspec.field(default_factory=Agents)
    chances: Chances = msgspec.field(default_factory=Priors)
    aimed: Callable[[str, Wire], Target | None] = lambda _name, _wire: None  # "provider/model" as a target
    forced: Callable[[Call], bool] = lambda _call: False  # whether a budget of the call's asks for compression
    selection: Selection | None = None  # which of several, learnt from outcomes
    pairs: Callable[..., None] = lambda *_told, **_named: None  # one task done both ways: `ledger.shadows.Shadows.tell`


def optimizer(use: str, settings: dict[str, Any], parts: Parts) -> Optimizer:
    """The optimizer of that name with its settings. Raises ConfigError that names what is known."""
    offered = {point.name: point.value for point in entry_points(group="pennyweight.optimizers")}
    place = OPTIMIZERS.get(use) or offered.get(use)
    if place is None:
        known = ", ".join(sorted({*OPTIMIZERS, *offered}))
        raise ConfigError(f"optimizers: {use!r} is not known. Known: {known}. A plugin must be installed first.")
    module_name, _, function = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"optimizers: {use!r} cannot be loaded: {error}. Install what it needs.") from None
    except Exception as error:
        raise ConfigError(f"optimizers: {use!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    for name in ("Settings", function):
        if not hasattr(module, name):
            raise ConfigError(f"optimizers: {use!r} is no optimizer: {module_name} has no {name!r}. See its docs.")
    try:
        values = msgspec.convert(settings, module.Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"optimizers: the settings of {use!r} are not valid: {error}.") from None
    try:
        made = getattr(module, function)(values, parts)
    except PennyweightError:
        raise
    except Exception as error:
        raise ConfigError(f"optimizers: {use!r} cannot be built: {type(error).__name__}: {error}.") from error
    if not isinstance(made, Optimizer):
        raise ConfigError(f"optimizers: {use!r} gives a {type(made).__name__}, which is no optimizer. See its docs.")
    return made
