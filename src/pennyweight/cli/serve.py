"""`pennyweight serve`."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from ..config import Config, find, load
from ..errors import ConfigError
from ..gateway.memory import keep_freed
from ..gateway.run import Gateway, run


@click.command(epilog="Try: pennyweight serve --port 8787, then pennyweight connect claude-code")
@click.option("--host", help="Address to listen on. Anything but loopback needs virtual keys. Default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one. Default 8787.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder for the ledger, keys and caches.")
@click.option("--optimize", type=click.Choice(["off", "safe", "max"]), help="One switch over all optimizers.")
@click.option(
    "--holdout",
    type=click.FloatRange(0, 0.5),
    help="Share of sessions for which every optimizer is off, to measure the others against. Default 0.05.",
)
@click.option("--verbose", is_flag=True, help="Log more. Prompts, answers and keys are never logged.")
def command(
    host: str | None,
    port: int | None,
    config_path: Path | None,
    data: Path | None,
    optimize: str | None,
    holdout: float | None,
    verbose: bool,
) -> None:
    """Run the gateway with the keys in your environment.

    OPENAI_API_KEY, ANTHROPIC_API_KEY, OPENROUTER_API_KEY and the like are read from the environment, and
    OPENAI_BASE_URL and the like move an upstream. No configuration file is needed; `pennyweight check` shows what is
    understood. SIGHUP or a changed file takes a new configuration; SIGTERM lets answers in flight end.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    keep_freed(os.environ)
    path = config_path or find(os.environ)
    overrides: dict[str, Any] = {"host": host, "port": port, "data_dir": data, "optimize": optimize}
    overrides["holdout"] = holdout

    def loaded() -> Config:
        return load(path, os.environ, overrides)

    try:
        _run(loaded, path)
    except OSError as error:
        if error.errno is None or not error.strerror or error.filename is not None:
            raise
        why = "Ports below 1024 are for root." if error.errno == errno.EACCES else "Is another gateway running?"
        message = f"cannot listen: {error.strerror}. {why} Choose a port with --port."
        raise ConfigError(message) from None


def _run(loaded: Any, path: Path | None) -> None:
    def ready(gateway: Gateway) -> None:
        config = gateway.app.config
        click.echo(f"Pennyweight listens on {gateway.url}", err=True)
        click.echo(f"  dashboard {gateway.url}/", err=True)
        names = [name for name, provider in config.providers.items() if provider.configured]
        click.echo(f"  providers {', '.join(names) or 'none configured: callers bring their own keys'}", err=True)
        share = config.experiments.holdout
        holdout = f", for all but {share * 100:.3g}% of sessions" if share else ""
        click.echo(f"  optimize {config.optimize}{holdout}    data {config.data_dir}", err=True)
        sys.stderr.flush()

    main = run(loaded, ready=ready, watch=path)
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)
