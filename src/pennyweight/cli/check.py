"""`pennyweight check`: is the configuration sound, what does it come to, and what should be fixed."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ..app import OPTIMIZERS
from ..config import KNOWN, Config, Problem, Provider, find, inspect, is_loopback
from ..config.cache import problems as written_wrong
from ..config.tiers import choices
from ..errors import PennyweightError
from ..front.auth import Gate
from ..prices import read_overrides
from ..stores.assembly import wrong
from ..stores.virtual_keys import KeyStore
from ..text.embedders import folder_of
from ..text.embedders.folder import absent

__all__ = ["command", "examine"]


@click.command(epilog="Try: pennyweight check --config pennyweight.toml")
@click.option("--config", "path", type=click.Path(path_type=Path), help="The file to check.")
@click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
@click.option("--host", help="As given to serve.")
@click.option("--port", type=int, help="As given to serve.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path | None, data: Path | None, host: str | None, port: int | None, as_json: bool) -> None:
    """Validate the configuration and say what to fix. Exit code 1 when something must be."""
    path = path or find(os.environ)
    config, problems = inspect(path, os.environ, {"data_dir": data, "host": host, "port": port})
    if config is not None:
        problems = [*problems, *examine(config)]
    if as_json:
        click.echo(json.dumps(_as_json(config, path, problems)))
    else:
        _print(config, path, problems)
    sys.exit(1 if any(problem.severity == "error" for problem in problems) else 0)


def examine(config: Config) -> list[Problem]:
    """What reading the configuration cannot tell: keys, the data directory, optimizers that are not installed."""
    problems = []
    store = KeyStore(config.data_dir)
    try:
        Gate.refuse_bind(config, store)
    except PennyweightError as error:
        problems.append(Problem(error.message, ""))
    if not _writable(config.data_dir):
        problems.append(Problem(f"The data directory {config.data_dir} cannot be written.", "Choose another: --data."))
    problems += _caches(config)
    known = {entry.name for entry in entry_points(group="pennyweight.optimizers")} | set(OPTIMIZERS)
    for index, rule in enumerate(config.optimizers):
        if rule.use not in known:
            message = f"optimizers[{index}].use {rule.use!r} is not installed."
            problems.append(Problem(message, f"There are: {', '.join(sorted(known))}."))
    try:
        for number, override in enumerate(read_overrides(config.prices), start=1):
            if override.provider and override.provider not in {*config.providers, *KNOWN}:
                message = f"[[prices]] entry {number} is for provider {override.provider!r}, which is not there."
                remedy = f"There are: {', '.join(sorted(config.providers))}; or leave provider out for any."
                problems.append(Problem(message, remedy, "warning"))
    except PennyweightError as error:
        problems.append(Problem(error.message, ""))
    problems += _embeddings(config)
    if config.fusing.across == "redis" and find_spec("redis") is None:
        message = 'fusing.across is "redis", for which a package is missing.'
        problems.append(Problem(message, "Install it: pip install 'pennyweight[redis]'"))
    if not any(provider.configured for provider in config.providers.values()):
        message = "No provider has a key: only callers on this machine that bring their own are answered."
        problems.append(Problem(message, "Set OPENAI_API_KEY, ANTHROPIC_API_KEY or another.", "warning"))
    return problems


def _embeddings(config: Config) -> list[Problem]:
    """What the optimizers that compare texts by their meaning lack; without it they stay off."""
    settings = config.embeddings
    wanted = settings != type(settings)() or any(rule.use == "semantic_cache" for rule in config.optimizers)
    if not wanted:
        return []
    if settings.elsewhere:
        name = settings.provider or settings.kind
        if name in config.providers:
            return []
        message = f"embeddings.provider {name!r} is not there."
        return [Problem(message, f"There are: {', '.join(sorted(config.providers))}.")]
    problems = []
    missing = [name for name in ("numpy", "onnxruntime", "tokenizers") if find_spec(name) is None]
    if missing:
        message = f"The semantic cache stays off: {', '.join(missing)} is not installed."
        problems.append(Problem(message, "Install pennyweight[semantic].", "warning"))
    if reason := absent(folder_of(settings, config.data_dir)):
        problems.append(Problem(f"The semantic cache stays off: {reason}", "", "warning"))
    return problems


def _caches(config: Config) -> list[Problem]:
    """Packages and keys that the cache tiers lack, where what is written of them is sound."""
    key = config.cache_key.reveal() if config.cache_key else ""
    if any(severity == "error" for *_, severity in written_wrong(config.cache, encrypted=bool(key))):
        return []
    return [Problem(f"cache.{name}: {message}", remedy) for name, message, remedy in wrong(config.cache, key)]


def _writable(directory: Path) -> bool:
    """Whether the directory can be written, or made where it is missing."""
    with suppress(OSError):  # below a folder that this user may not enter
        for place in (directory, *directory.parents):
            if place.exists():
                return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def _print(config: Config | None, path: Path | None, problems: list[Problem]) -> None:
    click.echo(f"configuration  {path or 'no file: environment and defaults'}")
    if config is not None:
        reach = "this machine only" if is_loopback(config.server.host) else "other machines too"
        click.echo(f"listening      {_address(config)} ({reach})")
        click.echo(f"data           {config.data_dir}")
        click.echo(f"cache          {', '.join(config.cache.tiers)}{', encrypted' if config.cache_key else ''}")
        click.echo(f"optimize       {config.optimize}: {_optimizers(config)}")
        for provider in config.providers.values():
            click.echo(f"provider       {provider.name:<11} {_keys(provider)}  {_speaks(provider)}")
        for tier in config.tiers:
            share = f" ({tier.share:.0%})" if tier.share is not None else ""
            click.echo(f"tier           {tier.name}{share}: {', '.join(tier.targets)}")
        if known := choices(config):
            click.echo(f"choices        {', '.join(known)}")
        if config.agents:
            click.echo(f"agents         {len(config.agents)} rules")
        for rule in config.routes:
            if rule.to is not None:
                click.echo(f"route          {rule.model} -> {rule.to}, a choice")
                continue
            model = f" as {rule.rename}" if rule.rename else ""
            then = f", then {', '.join(rule.fallbacks)}" if rule.fallbacks else ""
            click.echo(f"route          {rule.model} -> {rule.provider}{model}{then}")
    for problem in problems:
        click.echo(f"\n{problem.severity}: {problem}")
    errors = sum(problem.severity == "error" for problem in problems)
    click.echo(f"\n{errors} to fix, {len(problems) - errors} to know." if problems else "\nAll is well.")


def _as_json(config: Config | None, path: Path | None, problems: list[Problem]) -> dict[str, Any]:
    errors = sum(problem.severity == "error" for problem in problems)
    told: dict[str, Any] = {
        "ok": errors == 0,
        "file": str(path) if path else None,
        "problems": [
            {
                "severity": problem.severity,
                "where": problem.where,
                "line": problem.line,
                "message": problem.message,
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }
    if config is not None:
        told |= {
            "listening": _address(config),
            "data_dir": str(config.data_dir),
            "cache": {"tiers": list(config.cache.tiers), "encrypted": config.cache_key is not None},
            "optimize": config.optimize,
            "optimizers": [{"use": r.use, "mode": r.mode, "share": r.share} for r in config.optimizers],
            "providers": [_provider(provider) for provider in config.providers.values()],
            "routes": [
                {
                    "model": r.model,
                    "provider": r.provider,
                    "to": r.to,
                    "rename": r.rename,
                    "fallbacks": list(r.fallbacks),
                }
                for r in config.routes
            ],
            "tiers": [{"name": t.name, "targets": list(t.targets), "share": t.share} for t in config.tiers],
            "choices": list(choices(config)),
            "agents": len(config.agents),
            "price_overrides": len(config.prices),
        }
    return told


def _provider(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "configured": provider.configured,
        "keys": [key.masked for key in provider.keys],
        "urls": {wire.value: url for wire, url in provider.urls.items()},
    }


def _address(config: Config) -> str:
    host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
    return f"http://{host}:{config.server.port}"


def _optimizers(config: Config) -> str:
    rules = [f"{r.use} {r.mode}" + (f" for {r.share:.0%}" if r.share < 1 else "") for r in config.optimizers]
    return ", ".join(rules) or "no optimizers"


def _keys(provider: Provider) -> str:
    if provider.keys:
        return ", ".join(key.masked for key in provider.keys)
    return "needs no key" if provider.auth == "none" else "no key, callers bring theirs"


def _speaks(provider: Provider) -> str:
    return ", ".join(f"{wire.value} at {url}" for wire, url in provider.urls.items())
