"""The backends around the providers: what is retried, shared, counted and limited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..backends.answers import Answers
from ..backends.ask_usage import AskUsage
from ..backends.budget.amounts import Bounds
from ..backends.budget.budgeted import Budgeted
from ..backends.budget.budgets import Budgets
from ..backends.budget.fitting import OUTPUT_LIMITS, above_0
from ..backends.cascade import AskLogprobs, Cascade
from ..backends.coalesce import Fuse
from ..backends.cooldown import Cooldown
from ..backends.crossing import Crossing
from ..backends.fallback import Fallback
from ..backends.fitting import Fitting
from ..backends.fusing.across import Across
from ..backends.limits import Limits
from ..backends.local import Machine, Room
from ..backends.ollama import Ollama
from ..backends.ollama import Settings as OllamaSettings
from ..backends.retry import Retry
from ..backends.upstream import Dispatch
from ..call import Call, Outcome, Target
from ..config import Config, Resolver
from ..config.tiers import choices
from ..errors import ConfigError
from ..ledger.accounts import Accounts, counted
from ..protocols import Backend, Clock, Tokenizer
from ..request import Charge, Done, Operation, Reply, Usage, Wire
from ..stores.comparisons import SQLiteComparisons
from ..stores.sealed import Codec, read_keys
from ..stores.sqlite import Database
from ..wire import codec

if TYPE_CHECKING:
    from ..stores.relay import RedisRelay

__all__ = ["across_replicas", "bounds_of", "cascaded", "charges_of", "compose", "fuse_rule", "relay_of"]


def compose(
    config: Config,
    upstreams: Mapping[str, Backend],
    resolver: Resolver,
    tokenizer: Tokenizer,
    clock: Clock,
    machine: Machine,
    budgets: Budgets,
    *,
    meter: Callable[[Backend], Backend] = lambda inner: inner,
    lanes: Callable[[Backend], Backend] = lambda inner: inner,
    cooldown: Cooldown[Target] | None = None,
    answers: Answers | None = None,
) -> Backend:
    """The backends around the providers, innermost first, without wrappers that this configuration needs not.

    meter: puts a count of quotas around one. lanes: what holds calls back for a cheaper way, put where they are in
    their provider's own protocol. cooldown: of targets that fail. answers: those that were translated.
    """
    at_once = {name: p.max_concurrency for name, p in config.providers.items() if p.max_concurrency is not None}
    by_name = dict(upstreams)
    for name, provider in config.providers.items():
        if Wire.OLLAMA in provider.urls:
            settings = OllamaSettings(
                num_ctx=provider.num_ctx, keep_alive=provider.keep_alive, keep=machine.kept(provider.name)
            )
            by_name[name] = Ollama(by_name[name], settings, tokenizer)
    by_name |= {name: Room(by_name[name], machine, clock) for name in machine.places}
    limited = {name: Limits(by_name[name], {name: count}) for name, count in at_once.items() if name in by_name}
    machine.waiting = lambda name: limited[name].waiting(name) if name in limited else 0
    backend: Backend = AskUsage(Dispatch(by_name | limited))
    if _cascades(config):
        backend = AskLogprobs(backend)
    backend = Budgeted(lanes(meter(backend)), budgets)
    if config.tiers:
        backend = Fitting(backend, lambda call: _chosen(resolver, call))
    backend = Crossing(backend, tokenizer, answers=answers)
    chained = any(rule.fallbacks for rule in config.routes) or bool(choices(config))

    def chain(call: Call) -> tuple[Target, ...]:
        routed: tuple[Target, ...] | None = call.facts.get("fallbacks")  # what can take this very call
        if routed is not None:
            return routed
        return resolver.of(call).fallbacks

    backend = Retry(
        backend, clock, fallback_behind=(lambda call: bool(chain(call))) if chained else lambda _call: False
    )
    if chained:
        backend = Fallback(backend, chain, clock, cooldown=cooldown or Cooldown(clock))
    return backend


def _chosen(resolver: Resolver, call: Call) -> bool:
    """Whether the call goes where its caller did not send it."""
    named = resolver.of(call)
    return named.virtual is not None or named.target != call.target


def cascaded(
    config: Config,
    inner: Backend,
    clock: Clock,
    *,
    database: Database,
    accounts: Accounts,
    tokenizer: Tokenizer,
    pairs: Callable[..., None],
) -> Backend:
    """Above what retries and translates, so that all targets' replies are in the caller's protocol. pairs: told of each
    call that asks all targets, as one task done both ways: `ledger.shadows.Shadows.tell`."""
    if not _cascades(config):
        return inner

    return Cascade(
        inner,
        clock,
        settings=config.cascade,
        store=SQLiteComparisons(database),
        cost=accounts.cost,
        charges=charges_of(tokenizer),
        tell=lambda call, new, old: pairs("routing", new=new, old=old, route=call.original.model),
    )


def charges_of(tokenizer: Tokenizer) -> Callable[[Call, Reply], tuple[Charge, ...]]:
    """What a reply that has ended was billed, counted by its texts where its provider did not say."""

    def charges(call: Call, reply: Reply) -> tuple[Charge, ...]:
        done = reply.done or Done(complete=False)
        outcome = Outcome(call, done, reply.status, call.target.provider, output_text=reply.output_text)
        return counted(outcome, tokenizer).done.charges

    return charges


def _cascades(config: Config) -> bool:
    return any(table.cascade for table in choices(config).values())


def fuse_rule(config: Config, resolver: Resolver) -> Callable[[Call], Fuse]:
    """Which of a call's route's calls may share an answer in flight."""
    always = config.fusing.identical
    if all(rule.fuse is None for rule in config.routes):
        return lambda _call: always

    def fuse(call: Call) -> Fuse:
        return resolver.of(call).fuse or always

    return fuse


def relay_of(config: Config) -> RedisRelay:
    """What carries answers between replicas: connections of its own, as each waits for news. Raises ConfigError."""
    try:
        from ..stores.redis import connect
        from ..stores.relay import RedisRelay
    except ImportError as error:
        remedy = "Install it: pip install 'pennyweight[redis]'"
        raise ConfigError(f'fusing.across = "redis" needs the package {error.name}. {remedy}') from None
    key = config.cache_key.reveal() if config.cache_key else ""
    codec = Codec(read_keys(key) if key else (), limit_bytes=2 * config.fusing.buffer_bytes)
    client = connect(config.cache.redis.url or "", connections=_RELAY_CONNECTIONS)
    return RedisRelay(client, codec=codec, timeout_s=config.fusing.store_s)


def across_replicas(config: Config, backend: Backend, relay: RedisRelay, fuse: Callable[[Call], Fuse]) -> Across:
    settings = config.fusing
    return Across(
        backend,
        relay,
        fuse=fuse,
        lease_s=settings.lease_s,
        store_s=settings.store_s,
        most_bytes=settings.buffer_bytes,
    )


_RELAY_CONNECTIONS = 256  # as many answers of other replicas can be read at once; further calls ask by themselves


def bounds_of(accounts: Accounts, tokenizer: Tokenizer) -> Callable[[Call], Bounds]:
    """What a call can come to. At worst its whole body as input, written to the cache, and all the output it may ask
    for; at least its texts, read from the cache, and no answer."""

    def bounds(call: Call) -> Bounds:
        if call.request.operation is Operation.OTHER:  # images, speech, files: nothing is known of what they cost
            return Bounds(Usage(), Usage(), None, None)
        body = call.request.body
        output = _most_output(body) * (above_0(body.get("n")) or 1)
        counted = sum(map(tokenizer.count, codec(call.request.wire).view(call.request).texts))  # each remembered
        tokens = min(len(call.request.raw), int(counted * _TOKENIZER_MARGIN) + _UNSEEN_TOKENS)
        long = tokens if _may_keep_long(call.request.raw) else 0
        worst = Usage(
            input_tokens=tokens,
            cache_write_5m_tokens=tokens - long,
            cache_write_1h_tokens=long,
            output_tokens=output,
        )
        least = Usage(input_tokens=counted, cache_read_tokens=counted)
        worst_usd, least_usd = (
            accounts.cost(Charge(call.target.provider, call.target.model, usage, call.at)) for usage in (worst, least)
        )
        price = accounts.price(call.target.provider, call.target.model, call.at)
        return Bounds(worst, least, worst_usd, least_usd, price)

    return bounds


def _may_keep_long(raw: bytes) -> bool:
    """Whether the request may ask for its prompt to be kept for an hour, which costs more than five minutes."""
    return any(said in raw for said in (b'"1h"', b"\\u0031", b"\\u0068"))  # the latter two: escaped


def _most_output(body: Mapping[str, Any]) -> int:
    """The most tokens that an answer may have."""
    options = body.get("options")
    asked = [body.get(name) for name in OUTPUT_LIMITS]
    asked.append(options.get("num_predict") if isinstance(options, dict) else None)
    return max(map(above_0, asked)) or _DEFAULT_OUTPUT_TOKENS


_DEFAULT_OUTPUT_TOKENS = 32_000  # for a call that names no limit
_TOKENIZER_MARGIN = 1.5  # other providers' tokenizers against ours
_UNSEEN_TOKENS = 4_000  # what a provider adds around texts, and a few images
