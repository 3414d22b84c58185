"""`pennyweight cache warm`: asks what is in a file beforehand, so that answers are there."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...app import App, build
from ...call import Call
from ...capture.format import Recorded
from ...client.inprocess import Entrance, entrance
from ...config import Config, find, load
from ...errors import PennyweightError
from ...money import PicoUSD, format_usd, parse_usd
from ...replay.readers import read
from ...request import Charge, Request, Usage
from ...testing.prefix_cache import blocks
from ...text.tokenizers import BpeTokenizer

__all__ = ["warm"]

_ANSWER_TOKENS = 500  # of an answer whose request names no limit, for the estimate
_PATIENCE_S = 5.0  # for one look into one cache tier


class Plan(msgspec.Struct, frozen=True):
    """What a file comes to. `cost`: of asking, estimated; the unpriced ones are not in it."""

    asked: tuple[Request, ...]
    kept: int = 0  # already there
    unfit: int = 0  # whose answers would not be kept
    cost: PicoUSD = 0
    unpriced: int = 0


class Done(msgspec.Struct, frozen=True):
    """answered: and kept, if it ended well. failed: by status or exception, what the first said. spent: as billed."""

    answered: int = 0
    failed: int = 0
    failure: str = ""
    spent: PicoUSD = 0
    left: int = 0  # not asked, because of the limit


@click.command(epilog="Try: pennyweight cache warm requests.jsonl --limit-usd 1")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--yes", is_flag=True, help="Do not ask before spending.")
@click.option("--limit-usd", help="Stop when so much is spent. Calls under way then are still billed.")
@click.option("--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Calls at the same time.")
@click.option("--optimize", type=click.Choice(["safe", "max"]), help="As the calls will come. Default: as configured.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Sent with each, such as a virtual key.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory of the gateway whose cache is filled.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def warm(
    path: Path,
    yes: bool,
    limit_usd: str | None,
    at_once: int,
    optimize: str | None,
    headers: tuple[str, ...],
    config_path: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Ask what is in FILE, so that the answers are there when it is asked for.

    FILE holds requests, one JSON object a line: bodies of any protocol, or a capture (pennyweight capture). What is
    there already and what would not be kept is left out. What it will cost is said before; nothing is asked twice.
    """
    config = load(config_path or find(os.environ), os.environ, {"data_dir": data, "optimize": optimize, "holdout": 0.0})
    limit = None if limit_usd is None else int(parse_usd(limit_usd))
    calls = read(path)
    extra = tuple((name.strip().lower(), value.strip()) for name, _, value in (h.partition(":") for h in headers))
    done = asyncio.run(_warm(config, calls, extra, limit=limit, at_once=at_once, yes=yes, as_json=as_json))
    if done is not None and done.failed and not done.answered:
        raise SystemExit(1)


async def _warm(
    config: Config,
    calls: Sequence[Recorded],
    headers: tuple[tuple[str, str], ...],
    *,
    limit: PicoUSD | None,
    at_once: int,
    yes: bool,
    as_json: bool,
) -> Done | None:
    async with build(_patient(config)) as app, entrance(app) as gateway:
        plan = await planned(app, calls, headers)
        if not as_json:
            click.echo(_told(plan))
        if not plan.asked:
            if as_json:
                click.echo(json.dumps(_object(plan, Done())))
            return None
        if not yes:
            click.confirm("Ask them?", abort=True, err=True)
        done = await ask(gateway, plan.asked, limit=limit, at_once=at_once)
        await app.clerk.flush()
        click.echo(json.dumps(_object(plan, done)) if as_json else _ended(done))
        return done


def _patient(config: Config) -> Config:
    """With time to look everything up: no caller waits here, and what is not found in time would be paid for again."""
    cache, replace = config.cache, msgspec.structs.replace
    cache = replace(
        cache,
        redis=replace(cache.redis, timeout_s=max(cache.redis.timeout_s, _PATIENCE_S)),
        postgres=replace(cache.postgres, timeout_s=max(cache.postgres.timeout_s, _PATIENCE_S)),
        files=replace(cache.files, timeout_s=max(cache.files.timeout_s, _PATIENCE_S)),
    )
    return replace(config, cache=cache, pipeline=replace(config.pipeline, propose_s=2 * _PATIENCE_S))


async def planned(app: App, calls: Sequence[Recorded], headers: tuple[tuple[str, str], ...]) -> Plan:
    """Which of the calls are worth asking, each once."""
    count, seen = BpeTokenizer().count, set()
    asked: list[Request] = []
    kept = unfit = unpriced = 0
    cost: PicoUSD = 0
    for recorded in calls:
        request = recorded.request
        request = msgspec.structs.replace(request, headers=(*request.headers, *headers))
        if (question := (request.wire, request.path, request.raw)) in seen:
            continue
        seen.add(question)
        target = app.resolve(request.model, request.wire)
        call = Call("warm", app.identify(request, "local"), request, request, target, time.time(), app.config.optimize)
        if not app.pipeline.keeps(call):
            unfit += 1
            continue
        _, answer = await app.pipeline.consult(call)
        if answer is not None:
            kept += 1
            continue
        asked.append(request)
        tokens = sum(count(text) for block in blocks(request.wire, request.body) for text in block.texts)
        usage = Usage(input_tokens=tokens, output_tokens=_output(recorded), counted=True)
        one = app.accounts.cost(Charge(target.provider, target.model, usage, call.at))
        cost, unpriced = cost + (one or 0), unpriced + (one is None)
    return Plan(tuple(asked), kept, unfit, cost, unpriced)


def _output(recorded: Recorded) -> int:
    """As recorded, else what the request allows, at most a usual answer."""
    if recorded.usage is not None and recorded.usage.output_tokens:
        return recorded.usage.output_tokens
    limits = [recorded.body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return min([limit for limit in limits if isinstance(limit, int) and limit > 0] + [_ANSWER_TOKENS])


async def ask(gateway: Entrance, requests: Sequence[Request], *, limit: PicoUSD | None, at_once: int) -> Done:
    """Ask them all, or until the limit is reached, with a bar on stderr."""
    counts = {"answered": 0, "failed": 0, "left": 0}
    failure, spent = "", 0
    waiting = iter(requests)

    async def one(request: Request) -> None:
        nonlocal failure, spent
        headers = (*request.headers, ("content-type", "application/json"))
        try:
            status, told, body = await gateway.respond(request.method, request.path, "", headers, request.raw)
            raw = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        except PennyweightError as error:
            counts["failed"] += 1
            failure = failure or str(error)
            return
        counts["answered" if status == 200 else "failed"] += 1
        if status != 200:
            failure = failure or f"{status}: {raw[:200].decode('utf-8', 'replace')}"
        call_id = dict(told).get("x-pennyweight-call", "")
        receipt = await gateway.receipt(call_id) if call_id else None
        spent += (receipt.cost or 0) if receipt is not None else 0

    with _bar(len(requests)) as advance:

        async def work() -> None:
            for request in waiting:
                if limit is not None and spent >= limit:
                    counts["left"] += 1
                else:
                    await one(request)
                advance()

        await asyncio.gather(*(work() for _ in range(at_once)))
    return Done(failure=failure, spent=spent, **counts)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking", total=total)
        yield lambda: progress.advance(task)


def _told(plan: Plan) -> str:
    parts = []
    if plan.asked:
        cost = f"about {format_usd(plan.cost)} (estimated)" if plan.unpriced < len(plan.asked) else "unpriced"
        some = f", without {plan.unpriced:,} unpriced ones" if 0 < plan.unpriced < len(plan.asked) else ""
        parts.append(f"{_calls(len(plan.asked))} to ask: {cost}{some}.")
    else:
        parts.append("There is nothing to ask.")
    if plan.kept:
        parts.append(f"{plan.kept:,} answered already.")
    if plan.unfit:
        parts.append(f"{plan.unfit:,} whose answers would not be kept (`pennyweight explain` says why).")
    return " ".join(parts)


def _ended(done: Done) -> str:
    parts = [f"{_calls(done.answered)} answered, {format_usd(done.spent)} spent."]
    if done.failed:
        parts.append(f"{done.failed:,} failed, the first with {done.failure}")
    if done.left:
        parts.append(f"{done.left:,} not asked: the limit is reached.")
    return " ".join(parts)


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _object(plan: Plan, done: Done) -> dict[str, object]:
    return {
        "to_ask": len(plan.asked),
        "already_kept": plan.kept,
        "not_kept": plan.unfit,
        "estimated_usd": plan.cost / 1e12,
        "unpriced": plan.unpriced,
        "answered": done.answered,
        "failed": done.failed,
        "failure": done.failure,
        "spent_usd": done.spent / 1e12,
        "left": done.left,
    }
