"""Sends recorded and odd requests through the gateway and compares bytes at the upstream and at the caller.

Under `off` nothing may differ; under `safe` nothing may where the trail shows no accepted edit. Bodies go out as the
client's JSON library wrote them (compact, keys in order); answers are made from what the recording's upstream said, in
the protocol's shape, streams cut in odd places.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from pennyweight.request import Wire

from .crossing import cross
from .faithful_cases import Case, odd_cases, recorded_cases
from .process import Gateway, gateway
from .rawhttp import Answer, Arrived, Caller, Came, Headers, upstream
from .recorded import files, load
from .result import progress, report

EXAMPLES = """examples:
  python -m bench.faithful --data recordings/            every file below a folder
  python -m bench.faithful --data chat_debug20.jsonl.gz --modes off
  python -m bench.faithful                               only the odd bodies and answers of its own"""

KEY = "sk-bench"  # the caller's and the gateway's are the same, so that a replaced header still is the same header
SHOWN = 40

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "content-length", "date"})
_WITHHELD = frozenset({"set-cookie"})  # on purpose: a provider's cookies are about its connection with the gateway


class Difference(NamedTuple):
    case: str
    mode: str
    what: str


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faithful",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", nargs="+", default=[], metavar="PATH", help="recordings: files or folders")
    parser.add_argument("--modes", nargs="+", choices=["off", "safe"], default=["off", "safe"])
    parser.add_argument("--seed", type=int, default=1, help="of the places where answers are cut")
    parser.add_argument("--no-crossing", action="store_true", help="leave out the report on crossed protocols")
    options = parser.parse_args()
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    cases = list(_cases(options.data, options.seed))
    differences: list[Difference] = []
    counts: Counter[str] = Counter()
    async with upstream() as provider:
        base = f"http://127.0.0.1:{provider.port}"
        upstreams = {"OPENAI": f"{base}/v1", "ANTHROPIC": base}
        for mode in options.modes:
            with gateway(upstreams, optimize=mode) as ours:
                caller = Caller(ours.port)
                for number, case in enumerate(cases):
                    provider.next = case.answer
                    try:
                        came = await caller.send("POST", case.target, (*case.headers, *_key(case)), case.body)
                    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
                        caller.close()
                        provider.take()
                        found = [f"no answer: {type(error).__name__}"]
                    else:
                        edited = await _edited(ours, came) if mode == "safe" else ""
                        counts[f"{mode} {edited or 'compared'}"] += 1
                        arrived = provider.take()
                        counts[f"{mode} sent again"] += len(arrived) > 1
                        found = list(_compare(case, arrived, came, edited))
                    differences += [Difference(case.name, mode, what) for what in found]
                    if number % 100 == 99:
                        progress(f"{mode}: {number + 1} of {len(cases)} requests, {len(differences)} differences")
                caller.close()
        lost = {} if options.no_crossing else await cross(provider, cases)
    for one in differences[:SHOWN]:
        progress(f"{one.mode} {one.case}: {one.what}")
    kinds = Counter(f"{one.mode}: {one.what.partition(':')[0]}" for one in differences)
    return report(
        "faithful",
        data=[str(path) for path in options.data],
        seed=options.seed,
        figures={
            "requests": len(cases) * len(options.modes),
            "differences": len({(one.case, one.mode) for one in differences}),
        },
        targets={"requests": ">= 1", "differences": "== 0"},
        handled=dict(counts),
        withheld_on_purpose=sorted(_WITHHELD),
        kinds=dict(kinds),
        crossing_lost=lost,
    )


def _cases(paths: list[str], seed: int) -> Iterator[Case]:
    chance = random.Random(seed)
    for file in files(paths):
        yield from recorded_cases(load(file), f"{file.parent.name}/{file.name.partition('.')[0]}", chance)
    yield from odd_cases(chance)


def _key(case: Case) -> Headers:
    return (("x-api-key", KEY),) if case.wire is Wire.ANTHROPIC_MESSAGES else (("authorization", f"Bearer {KEY}"),)


def _compare(case: Case, arrived: list[Arrived], came: Came, edited: str) -> Iterator[str]:
    if edited != "answered":
        if not arrived:
            yield f"request never sent: the caller got {came.status} {came.body[:150]!r}"
            return
        for one in arrived:
            yield from _at_upstream(case, one, edited)
    if edited == "":
        yield from _at_caller(case.answer, came)


def _at_upstream(case: Case, one: Arrived, edited: str) -> Iterator[str]:
    if (one.method, one.target) != ("POST", case.target):
        yield f"target: {one.method} {one.target} instead of {case.target}"
    if one.body != case.body and not edited:
        yield f"request body: {_where(case.body, one.body)}"
    yield from _headers("request header", (*case.headers, *_key(case)), one.headers)


def _at_caller(answer: Answer, came: Came) -> Iterator[str]:
    sent = b"".join(answer.pieces)
    if came.status != answer.status:
        yield f"status: {came.status} instead of {answer.status}"
    if came.body != sent:
        yield f"answer body: {_where(sent, came.body)}"
    if came.clean == answer.cut:
        yield "end: a cut stream looks whole" if answer.cut else "end: a whole answer looks cut"
    yield from _headers("answer header", answer.headers, came.headers)


def _headers(kind: str, sent: Headers, got: Headers) -> Iterator[str]:
    """Each name's values in order; nothing lost, changed or added but what belongs to the connection or is ours."""
    want, have = _by_name(sent), _by_name(got)
    for name in want.keys() | have.keys():
        if name in _HOP or name in _WITHHELD or name.startswith("x-pennyweight-"):
            continue
        if want.get(name) != have.get(name):
            yield f"{kind} {name}: {have.get(name)} instead of {want.get(name)}"


def _by_name(headers: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def _where(sent: bytes, got: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(sent, got, strict=False)) if a != b), min(len(sent), len(got)))
    start = max(0, at - 20)
    had, wanted = got[start : at + 30], sent[start : at + 30]
    return f"{len(got)} bytes instead of {len(sent)}, from byte {at}: {had!r} not {wanted!r}"


async def _edited(ours: Gateway, came: Came) -> str:
    """What the trail says was done to the call: "" nothing, "edited", or "answered" without asking the upstream."""
    names = dict(came.headers)
    call = names.get("x-pennyweight-call")
    if call is None:
        return ""
    caller = Caller(ours.port)
    told = await caller.send("GET", f"/pennyweight/calls/{call}", (), b"")
    caller.close()
    if told.status != 200:
        return ""
    receipt: dict[str, Any] = json.loads(told.body)
    if not any(step.get("verdict") == "accepted" for step in receipt.get("trail", ())):
        return ""
    return "edited" if receipt.get("answered_by") in ("openai", "anthropic") else "answered"


if __name__ == "__main__":
    sys.exit(main())
