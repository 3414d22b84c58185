"""`pennyweight references show`: a text that was left out of a session's requests."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from ..app import build
from ..config import Config, find, load
from ..errors import NotFound

__all__ = ["command"]


@click.group("references")
def command() -> None:
    """Texts that were left out of requests, and kept for the models that ask for them."""


@command.command("show")
@click.argument("reference")
@click.option("--session", required=True, help="The session in whose requests it stands.")
@click.option("--tenant", default="local", show_default=True, help="The virtual key of that session.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
def show(reference: str, session: str, tenant: str, data: Path | None, config_path: Path | None) -> None:
    """Print the text that REFERENCE stands for.

    \b
    pennyweight references show rk3v7qm2xpa --session 7f0c1b
    """
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data})
    text = asyncio.run(_text(config, tenant, session, reference))
    if text is None:
        raise NotFound(
            f"No text {reference[:40]!r} is kept for session {session[:80]!r} of {tenant[:80]!r}. It may have lapsed."
        )
    click.echo(text)


async def _text(config: Config, tenant: str, session: str, reference: str) -> str | None:
    async with build(config) as app:
        return await app.references.get(tenant, session, reference)
