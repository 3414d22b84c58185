"""`pennyweight sessions summary`: what a session was about that a budget has halted."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import click

from ..app import build
from ..config import Config, find, load
from ..errors import NotFound

__all__ = ["command"]


@click.group("sessions")
def command() -> None:
    """Sessions that budgets have halted: what they were about, for going on in a new one."""


@command.command("summary")
@click.argument("session")
@click.option("--tenant", default="local", show_default=True, help="The virtual key of that session.")
@click.option("--data", type=click.Path(path_type=Path), help="The data directory.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def summary(session: str, tenant: str, data: Path | None, config_path: Path | None, as_json: bool) -> None:
    """Print what SESSION was about, in its own sentences: the first message of the session that goes on.

    It is made of the request that was refused, when it was, and kept for [budgeting] summary_ttl_s.

    \b
    pennyweight sessions summary 7f0c1b
    """
    found = asyncio.run(
        _summary(load(config_path or find(os.environ), os.environ, {"data_dir": data}), tenant, session)
    )
    if found is None:
        raise NotFound(
            f"No summary is kept of session {session[:80]!r} of {tenant[:80]!r}. A session gets one when a budget "
            "halts it; it may have lapsed, or is kept in the memory of a running gateway (cache.tiers)."
        )
    click.echo(json.dumps({"session": session, "tenant": tenant, "summary": found}) if as_json else found)


async def _summary(config: Config, tenant: str, session: str) -> str | None:
    async with build(config) as app:
        return await app.halted.summary(tenant, session)
