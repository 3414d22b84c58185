"""Which local servers a configuration has, and the books that are kept of their models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ..backends.local import Machine, Place
from ..backends.local.asking import Asker
from ..backends.local.servers import tagged
from ..backends.transport import origin
from ..config import Config, Provider
from ..protocols import Clock
from ..request import Wire
from ..routing.resources import MB, Key
from .upstreams import outward

__all__ = ["machine_of", "watched"]


def machine_of(config: Config, clock: Clock, providers: Sequence[Provider] | None = None) -> Machine:
    """The books of the local models, not yet asked for. providers: who is asked; None: those who are `watched`."""
    keep = tuple("/".join(_key(config, name)) for name in config.resources.keep)
    sizes = {_key(config, t.target): t.memory_mb * MB for t in config.targets if t.memory_mb is not None}
    settings = msgspec.structs.replace(config.resources, keep=keep)
    asked = watched(config) if providers is None else providers
    return Machine([_place(config, provider) for provider in asked], settings, clock, sizes=sizes)


def watched(config: Config) -> tuple[Provider, ...]:
    """Those named in [resources]; else the local ones in tiers, or all local ones where there is a memory plan.

    Nobody else is asked anything: a server that only seems to be one of these would not expect it.
    """
    resources = config.resources
    if not resources.watch:
        return ()
    if resources.servers:
        return tuple(config.providers[name] for name in resources.servers)
    local = [provider for provider in config.providers.values() if provider.local]
    if resources.memory_mb is not None:
        return tuple(local)
    named = {target.partition("/")[0] for tier in config.tiers for target in tier.targets}
    return tuple(provider for provider in local if provider.name in named)


def _key(config: Config, name: str) -> Key:
    """ "provider/model" as the provider's server lists it."""
    provider, _, model = name.partition("/")
    known = config.providers.get(provider)
    return provider, tagged(model) if known is not None and Wire.OLLAMA in known.urls else model


def _place(config: Config, provider: Provider) -> Place:
    ollama = Wire.OLLAMA in provider.urls
    base = provider.urls[Wire.OLLAMA if ollama else provider.wires[0]]
    transport = outward(config.proxies, connect_timeout_s=config.resources.ask_s, read_timeout_s=_LONGEST_S)
    ask = Asker(transport, origin(_root(base)), headers=tuple(_headers(provider)), ask_s=config.resources.ask_s)
    return Place(provider.name, ask, ollama=ollama, slots=provider.max_concurrency)


def _root(url: str) -> str:
    """Where the server's own paths begin, beside those that are like a provider's."""
    for ending in ("/api", "/v1"):
        if url.endswith(ending):
            return url[: -len(ending)]
    return url


def _headers(provider: Provider) -> Iterable[tuple[str, str]]:
    yield from provider.headers
    if provider.keys:
        yield "authorization", f"Bearer {provider.keys[0].reveal()}"


_LONGEST_S = 60.0  # of a question; each has a limit of its own
