"""`pennyweight demo`: recorded agent sessions through a real gateway, answered by the replay provider, in two acts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ...money import PicoUSD, format_usd
from . import bill, budget
from .played import DemoFailed

__all__ = ["DemoFailed", "command"]


@click.command(epilog="Try: pennyweight demo --json --exit")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--exit", "leave", is_flag=True, help="End when the sessions are over; else the gateway goes on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the gateway. Default: a free one.")
@click.option("--optimize", type=click.Choice(["off", "safe", "max"]), default="safe", show_default=True)
@click.option("--act", type=click.Choice(["1", "2", "both"]), default="both", show_default=True, help="What to play.")
def command(as_json: bool, leave: bool, port: int, optimize: str, act: str) -> None:
    """Play recorded agent sessions through a gateway: the bill before and after, then a day's budget that runs out.

    Needs no key and no network: a provider on this machine answers as recorded, keeps a model of the provider's prompt
    cache and bills at list prices. The tables' figures are the gateway's own ledger, held against that invoice.
    In the second act an agent asks for `auto`: three tiers, and a daily limit that warns, saves and halts.
    """
    with TemporaryDirectory(prefix="pennyweight-demo-") as folder:
        main = _demo(Path(folder), as_json=as_json, leave=leave, port=port, optimize=optimize, act=act)
        if sys.platform == "win32":
            asyncio.run(main)
        else:
            import uvloop

            uvloop.run(main)


async def _demo(folder: Path, *, as_json: bool, leave: bool, port: int, optimize: str, act: str) -> None:
    told: dict[str, object] = {}
    async with contextlib.AsyncExitStack() as stack:
        gateway = None
        if act != "2":
            result, gateway = await stack.enter_async_context(bill.play(folder / "1", port=port, optimize=optimize))
            told = bill.as_object(result)
            if not as_json:
                bill.show(result)
            _balance(result.balances, result.total.cost, result.invoice)
        if act != "1":
            places = (folder / "2", 0 if gateway is not None else port)
            ended, second = await stack.enter_async_context(budget.play(places[0], port=places[1], optimize=optimize))
            gateway = gateway or second
            told = {**told, "second_act": budget.as_object(ended)}
            if not as_json:
                budget.show(ended)
            _balance(ended.balances, ended.cost, ended.invoice)
            if ended.over:
                spent, limit = format_usd(ended.cost, exact=True), format_usd(ended.limit)
                raise DemoFailed(f"{spent} was spent of a limit of {limit}. Please report this.")
        if as_json:
            click.echo(json.dumps(told))
        if not leave and gateway is not None:
            click.echo(f"The gateway goes on at {gateway.url}/ (its dashboard). Ctrl-C ends it.", err=True)
            await _until_told()


def _balance(balances: bool, cost: PicoUSD, invoice: PicoUSD) -> None:
    if not balances:
        raise DemoFailed(
            f"The ledger says {format_usd(cost, exact=True)}, the provider's invoice "
            f"{format_usd(invoice, exact=True)}. Please report this."
        )


async def _until_told() -> None:
    """Until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM"):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(getattr(signal, name), stop.set)
    await stop.wait()
