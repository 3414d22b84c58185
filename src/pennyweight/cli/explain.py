"""`pennyweight explain`: what would happen to a request: who answers it, what it costs, what each optimizer says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..app import App, build
from ..call import AT_LEISURE, Call
from ..capture.format import PATHS
from ..config import Config, find, load
from ..errors import BadRequest, ConfigError
from ..money import PicoUSD, format_usd
from ..policy import HOLDOUT
from ..replay.bodies import wire_of
from ..request import Charge, Request, Usage, Wire
from ..routing.choose import Choice
from ..testing.prefix_cache import blocks
from ..text.tokenizers import BpeTokenizer
from .offline import opened


class Explained(msgspec.Struct, frozen=True):
    """`input_cost`: of the counted prompt with nothing in the provider's cache. `rewritten`: the bytes would change."""

    call: Call
    answered_by: str
    input_tokens: int
    input_cost: PicoUSD | None
    most_output_tokens: int | None
    most_output_cost: PicoUSD | None
    rewritten: bool


@click.command(epilog="Try: pennyweight explain request.json --optimize max")
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True), metavar="REQUEST.json")
@click.option("--wire", type=click.Choice(["auto", *(wire.value for wire in Wire)]), default="auto", show_default=True)
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header that came with it.")
@click.option("--optimize", type=click.Choice(["off", "safe", "max"]), help="Default: as configured.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder, whose caches are looked into.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    path: Path,
    wire: str,
    headers: tuple[str, ...],
    optimize: str | None,
    config_path: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Say what each optimizer would do with a request and why, where it would go, and what it would cost.

    REQUEST.json is a request body of any protocol; "-" reads it from stdin. Nothing is sent and nothing is stored.
    """
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data, "optimize": optimize})
    request = _request(path, wire, headers)
    explained = asyncio.run(_explain(request, config))
    if as_json:
        click.echo(json.dumps(as_object(explained)))
    else:
        _print(explained)


def _request(path: Path, wire: str, headers: tuple[str, ...]) -> Request:
    """Raises ConfigError for a file that is no request."""
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Cannot be read: {error.strerror}.", where=str(path)) from None
    pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in headers))
    try:
        body = Request(Wire.OPENAI_CHAT, raw).body
    except BadRequest as error:
        raise ConfigError(error.message, where=str(path)) from None
    found = wire_of(body) if wire == "auto" else Wire(wire)
    if found is None:
        keys = ", ".join(list(body)[:8]) or "no members"
        raise ConfigError(f"An object with {keys} is no request body. Name its protocol with --wire.", where=str(path))
    return Request(found, raw, pairs, PATHS[found])


@asynccontextmanager
async def _app(config: Config) -> AsyncIterator[App]:
    """Over the gateway's own data, where there is any: what its caches hold is part of the answer."""
    if (config.data_dir / "pennyweight.db").exists():
        async with build(config) as app:
            await app.learned.started()  # its outcomes are part of the answer, too
            yield app
    else:
        async with opened(config) as (app, _):
            yield app


async def _explain(request: Request, config: Config) -> Explained:
    async with _app(config) as app:
        target = app.resolve(request.model, request.wire)
        identity = app.identify(request, "local")
        call = Call(
            "explain", identity, request, request, target, time.time(), config.optimize, facts={AT_LEISURE: True}
        )
        call, answer = await app.pipeline.consult(call)
        return _estimate(app, call, call.trail[-1].optimizer if answer is not None else "")


def _estimate(app: App, call: Call, answered_by: str) -> Explained:
    count = BpeTokenizer().count
    request = call.request
    tokens = sum(count(text) for block in blocks(request.wire, request.body) for text in block.texts)
    limits = [request.body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    most = next((limit for limit in limits if isinstance(limit, int) and not isinstance(limit, bool)), None)

    def cost(usage: Usage) -> PicoUSD | None:
        return app.accounts.cost(Charge(call.target.provider, call.target.model, usage, call.at))

    prompt = cost(Usage(input_tokens=tokens, counted=True))
    whole = cost(Usage(input_tokens=tokens, output_tokens=most, counted=True)) if most is not None else None
    return Explained(
        call=call,
        answered_by=answered_by,
        input_tokens=tokens,
        input_cost=prompt,
        most_output_tokens=most,
        most_output_cost=whole - prompt if whole is not None and prompt is not None else None,
        rewritten=call.rewritten,
    )


def as_object(explained: Explained) -> dict[str, Any]:
    call = explained.call
    return {
        "wire": call.original.wire.value,
        "model": call.original.model,
        "target": {"provider": call.target.provider, "model": call.target.model, "wire": call.target.wire.value},
        "identity": {name: value for name, value in msgspec.to_builtins(call.identity).items() if value},
        "optimize": call.optimize,
        "input_tokens": explained.input_tokens,
        "input_usd": _usd(explained.input_cost),
        "max_output_tokens": explained.most_output_tokens,
        "max_output_usd": _usd(explained.most_output_cost),
        "basis": "estimated",
        "arm": call.facts.get("arm", ""),
        "answered_by": explained.answered_by,
        "routing": _routing(call),
        "rewritten": explained.rewritten,
        "optimizers": [
            {
                "name": step.optimizer,
                "verdict": step.verdict.value,
                "why": step.why or step.error,
                "saving_usd": step.saving / 1e12,
                "spent_usd": step.spent / 1e12,
                "risk": step.risk,
            }
            for step in call.trail
        ],
    }


def _usd(amount: PicoUSD | None) -> float | None:
    return None if amount is None else amount / 1e12


def _routing(call: Call) -> dict[str, Any] | None:
    """How the target was chosen, where the caller named a choice."""
    choice: Choice | None = call.facts.get("routing")
    if choice is None:
        return None
    return {
        "why": choice.why,
        "chosen": choice.option.target.name if choice.option is not None else None,
        "candidates": [
            {
                "target": option.target.name,
                "tier": option.candidate.tier,
                "success": round(option.success, 3),
                "usd": None if option.cost is None or option.guessed else option.cost / 1e12,
                "seconds": round(option.seconds, 1),
                "excluded": option.excluded,
            }
            for option in choice.options
        ],
        "fallbacks": [target.name for target in call.facts.get("fallbacks", ())],
    }


def _print_routing(console: Console, call: Call) -> None:
    told = _routing(call)
    if told is None:
        return
    table = Table("candidate", "tier", "success", "cost", "excluded")
    for row in told["candidates"]:
        mark = "→ " if row["target"] == told["chosen"] else ""
        cost = "unknown" if row["usd"] is None else format_usd(round(row["usd"] * 1e12))
        table.add_row(
            mark + escape(row["target"]),
            escape(row["tier"]),
            f"{row['success']:.2f}",
            "" if row["excluded"] and row["usd"] is None else cost,
            escape(row["excluded"]),
        )
    console.print(table)


def _print(explained: Explained) -> None:
    call, identity = explained.call, explained.call.identity
    console = Console()
    told = f"{call.target.provider}/{call.target.model} ({call.target.wire.value})"
    console.print(f"[bold]goes to[/]    {escape(told)}", highlight=False)
    who = [f"session {identity.session} ({identity.session_source})" if identity.session else "no session"]
    who += [
        f"{name} {value}" for name in ("agent", "task", "skill", "housekeeping") if (value := getattr(identity, name))
    ]
    console.print(f"[bold]belongs to[/] {escape(', '.join(who))}", highlight=False)
    price = "unpriced" if explained.input_cost is None else format_usd(explained.input_cost)
    console.print(
        f"[bold]prompt[/]     {explained.input_tokens:,} tokens (o200k), {price} uncached, estimated", highlight=False
    )
    if explained.most_output_tokens is not None:
        most = "unpriced" if explained.most_output_cost is None else format_usd(explained.most_output_cost)
        console.print(f"[bold]answer[/]     at most {explained.most_output_tokens:,} tokens, {most}", highlight=False)
    if call.facts.get("arm") == HOLDOUT:
        console.print(
            "[bold]arm[/]        holdout: this session is one of the few for which every optimizer is off, so that "
            "what the others save can be measured (experiments.holdout in the configuration; 0 for none).",
            highlight=False,
        )
        return
    _print_routing(console, call)
    if not call.trail:
        console.print(f"No optimizer is asked: --optimize is {call.optimize}, or none is configured.", highlight=False)
        return
    table = Table("optimizer", "verdict", "saving", "risk", "why")
    for step in call.trail:
        saving = format_usd(step.saving - step.spent) if step.saving or step.spent else ""
        risk = f"{step.risk:.3f}" if step.risk else ""
        table.add_row(step.optimizer, step.verdict.value, saving, risk, escape(step.why or step.error))
    console.print(table)
    outcome = f"answered by {explained.answered_by}" if explained.answered_by else "sent"
    console.print(
        f"It would be {outcome}{', rewritten' if explained.rewritten else ', bytes unchanged'}.", highlight=False
    )
