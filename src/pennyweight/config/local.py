"""What is wrong with [resources]: pure, over a configuration that is otherwise read."""

from __future__ import annotations

from collections.abc import Iterator

from . import toml
from .settings import Config

__all__ = ["problems"]


def problems(config: Config) -> Iterator[tuple[toml.Path, str, str, str]]:
    """Each with its place, what is wrong, the remedy, and how bad it is."""
    resources = config.resources
    for field in ("memory_mb", "every_s", "ask_s"):
        value = getattr(resources, field)
        if value is not None and value <= 0:
            yield _wrong(field, value, "must be above 0", "Leave it out for the default.")
    for field in ("small_mb", "wait_s"):
        if (value := getattr(resources, field)) < 0:
            yield _wrong(field, value, "cannot be negative", "Leave it out for the default.")
    if not 0 < resources.unload_at <= 1:
        yield _wrong(
            "unload_at", resources.unload_at, "is no share of the memory", "Use a number up to 1, such as 0.9."
        )
    yield from _order(config)
    names = sorted(config.providers)
    for name in resources.servers:
        if name not in names:
            yield _wrong("servers", name, "is no provider", toml.similar(name, names))
    for name in resources.keep:
        provider, slash, model = name.partition("/")
        if not (slash and model and provider in names):
            remedy = 'Write "provider/model", such as "ollama/qwen3:4b".'
            yield _wrong("keep", name, "names no model of a provider", remedy)


def _order(config: Config) -> Iterator[tuple[toml.Path, str, str, str]]:
    """What is set by the target must know it."""
    uses = [rule.use for rule in config.optimizers]
    if "routing" in uses and "parameters" in uses and uses.index("parameters") < uses.index("routing"):
        place = ("optimizers", uses.index("parameters"), "use")
        message = "optimizers: `parameters` stands before `routing`, and does not see the target that it chooses."
        yield place, message, "Put it behind.", "warning"


def _wrong(field: str, value: object, what: str, remedy: str) -> tuple[toml.Path, str, str, str]:
    return ("resources", field), f"resources.{field} {value!r} {what}.", remedy, "error"
