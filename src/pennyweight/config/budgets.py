"""What is wrong with [[budgets]] and [budgeting] that their types do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..backends.budget.limits import compiled, wrong
from ..errors import ConfigError
from . import toml
from .providers import is_loopback
from .settings import Config

__all__ = ["problems"]

Found = tuple[toml.Path, str, str, str]
"""(path, message, remedy, severity)."""


def problems(config: Config) -> Iterator[Found]:
    sound = []
    for index, rule in enumerate(config.budgets):
        found = list(wrong(rule))
        for field, message, remedy in found:
            yield ("budgets", index, field), f"budgets[{index}]: {message}", remedy, "error"
        if not found:
            sound.append((index, rule))
    names: dict[str, int] = {}
    for index, rule in sound:
        try:
            (limit,) = compiled([rule])
        except ConfigError as error:  # nothing that `wrong` knows of
            yield ("budgets", index), error.message, "", "error"
            continue
        if limit.id in names:
            message = f"budgets[{index}] is the same as budgets[{names[limit.id]}]: both are {limit.id!r}."
            yield ("budgets", index, "scope"), message, "Leave one out, or give one a name.", "error"
        names.setdefault(limit.id, index)
    yield from _budgeting(config)


def _budgeting(config: Config) -> Iterator[Found]:
    settings = config.budgeting
    for field in ("direct_tokens", "cron_tokens", "sub_agent_tokens"):
        if not 0 < (value := getattr(settings, field)) <= 10**12:
            yield ("budgeting", field), f"budgeting.{field} {value!r} is no budget.", "Use a number above 0.", "error"
    for field, least in (("repeats", 2), ("idle", 2), ("finish_loop", 0), ("summary_ttl_s", 0)):
        if not (value := getattr(settings, field)) >= least:  # nor nan
            message = f"budgeting.{field} {value!r} must be at least {least}."
            yield ("budgeting", field), message, "Leave it out for the default.", "error"
    if settings.store in ("redis", "postgres") and not getattr(config.cache, settings.store).url:
        message = f"budgeting.store is {settings.store!r}, but there is no address of one."
        remedy = f"Set cache.{settings.store}.url, or PENNYWEIGHT_{settings.store.upper()}_URL."
        yield ("budgeting", "store"), message, remedy, "error"
    shared = [name for name in config.cache.tiers if name in ("redis", "postgres")]
    if shared and (config.budgets or settings.session_types) and settings.store in ("sqlite", "memory"):
        message = f"budgeting.store is {settings.store!r}: each gateway has budgets of its own."
        remedy = f"Replicas that share the {shared[0]} of [cache] share budgets with store = {shared[0]!r}."
        yield ("budgeting", "store"), message, remedy, "warning"
    alerts = settings.alerts
    if alerts.webhook is not None:
        parts = urlsplit(alerts.webhook)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = "budgeting.alerts.webhook is no http(s) address."
            yield ("budgeting", "alerts", "webhook"), message, "Write https://host/path.", "error"
        elif parts.scheme == "http" and not is_loopback(parts.hostname):
            message = "budgeting.alerts.webhook is reached over plain http."
            yield ("budgeting", "alerts", "webhook"), message, "Use https.", "warning"
    for field in ("per_minute", "timeout_s"):
        if not (value := getattr(alerts, field)) > 0:
            message = f"budgeting.alerts.{field} {value!r} must be above 0."
            yield ("budgeting", "alerts", field), message, "Leave it out for the default.", "error"
