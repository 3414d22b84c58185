"""What shortening costs: a new tool result of 10,000 tokens, a turn with nothing new, 50 MB at once.

result_10k_ms: a result of each kind, told, shortened and counted, without a model; the CPU of the slowest kind, the
median of several runs. result_10k_model_ms: prose whose words are scored by the shipped model. idle_turn_ms: what the
optimizers for results and for histories take for a turn of a long session that was seen before, when only a sentence is
new; the body is parsed already, as a gateway has to anyway. peak_mb_50mb: memory above that of the text and the
tokenizer's table, for 50 MB of several kinds, in a process of its own; also where a text is left as it is.

  python -m bench.context_speed [--seed 1] [--runs 7]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.app import OPTIMIZERS, build
from pennyweight.call import Call, Proposal
from pennyweight.client.inprocess import entrance
from pennyweight.config import OptimizerRule, load
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.testing.provider import provider_keys
from pennyweight.text.compression import Ask, compress
from pennyweight.text.tokenizers import BpeTokenizer

from .context_texts import texts
from .made_logs import made_logs
from .result import progress, report

TARGETS = {
    "result_10k_ms": "< 30",
    "result_10k_model_ms": "< 300",
    "idle_turn_ms": "< 1",
    "peak_mb_50mb": "<= 400",
}
TOKENS = 10_000
ROOM_TOKENS = 1_666
LARGE_BYTES = 50_000_000
ASK = Ask("Why is order 4711 lost in orders.py:41, and what does total_77 do?", '{"path": "src/orders.py"}')
REFERENCE = "rabcdefghij"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.context_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--peak", type=Path, metavar="FILE", help="shorten this file, print the peak of memory in MB")
    options = parser.parse_args()
    if options.peak is not None:
        print(json.dumps(peak(options.peak)))
        return 0
    by_kind = results(options.seed, options.runs)
    figures = {"result_10k_ms": max(row["ms"] for row in by_kind.values())}
    skipped = {}
    if find_spec("onnxruntime") is None:
        skipped["result_10k_model_ms"] = "onnxruntime is not installed: pennyweight[semantic]"
    else:
        figures["result_10k_model_ms"] = with_model(options.seed, options.runs)
    figures["idle_turn_ms"] = asyncio.run(idle_turn(options.runs * 20))
    by_text = large(options.seed)
    figures["peak_mb_50mb"] = max(row["peak_mb"] for row in by_text.values())
    targets = {name: target for name, target in TARGETS.items() if name not in skipped}
    return report(
        "context_speed",
        figures=figures,
        targets=targets,
        seed=options.seed,
        by_kind=by_kind,
        large=by_text,
        skipped=skipped,
    )


def cpu_ms(work: Callable[[], object], runs: int) -> float:
    """The median CPU of a piece of work, in ms, after one run that does not count."""
    work()
    spent = []
    for _ in range(runs):
        began = time.process_time_ns()
        work()
        spent.append(time.process_time_ns() - began)
    return round(statistics.median(spent) / 1e6, 2)


def results(seed: int, runs: int) -> dict[str, dict[str, Any]]:
    """Of each kind a result of about 10,000 tokens. Every run counts tokens anew."""
    count = BpeTokenizer(remembered=1).count
    rows: dict[str, dict[str, Any]] = {}
    for name, text in texts(seed, count, TOKENS).items():

        def work(text: str = text) -> Any:
            anew = BpeTokenizer(remembered=64, count=count).count
            return compress(text, count=anew, ask=ASK, room_tokens=ROOM_TOKENS, reference=REFERENCE)

        made = work()
        ms = cpu_ms(work, runs)
        rows[name] = {"told": made.kind, "ms": ms, "tokens": made.tokens_before, "after": made.tokens_after}
        progress(f"{name}: told as {made.kind}, {ms} ms, {made.tokens_before} to {made.tokens_after} tokens")
    return rows


def with_model(seed: int, runs: int) -> float:
    """Prose with the shipped word scorer, which only looks at sentences that are asked about."""
    from pennyweight.text.compression.codecs import prose
    from pennyweight.text.compression.importance.model import Learned

    count = BpeTokenizer(remembered=1).count
    text = texts(seed, count, TOKENS)["prose"]
    scored = prose.codec(Learned.open())
    ms = cpu_ms(lambda: scored.reduced(text, ASK, ROOM_TOKENS * 4, lambda what: f"[{what} left out]"), runs)
    progress(f"prose with the model: {ms} ms")
    return ms


# --- a turn with nothing new ------------------------------------------------------------------------------------


async def idle_turn(turns: int) -> float:
    """The sum of both optimizers' medians, over turns of a session of 60 results, about 80,000 tokens. Every turn goes
    the whole way to a provider on loopback, so that the session is known; what the two propose is timed."""
    uses = [name for name in ("compression", "context") if name in OPTIMIZERS]
    spent: dict[str, list[int]] = {name: [] for name in uses}
    usage = Usage(input_tokens=90_000, cache_read_tokens=80_000, output_tokens=20)

    async def answer(exchange: Exchange) -> None:
        whole = shapes.body_of(Wire.OPENAI_CHAT, shapes.Turn("It is the disk, I think."), model="gpt-5.5")
        done = shapes.finish(Wire.OPENAI_CHAT, whole, usage, model="gpt-5.5")
        await exchange.send(200, json.dumps(done).encode(), headers={"content-type": "application/json"})

    async with LoopbackServer(answer) as server:
        with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
            base = load(None, provider_keys(server.url), {"data_dir": Path(folder), "holdout": 0.0})
            rules = tuple(OptimizerRule(name, mode="on") for name in uses)
            config = msgspec.structs.replace(base, optimize="max", optimizers=rules)
            async with build(config) as app, entrance(app) as gateway:
                for optimizer in (one for one, _ in app.pipeline._optimizers if one.name in uses):
                    _time(optimizer, spent[optimizer.name])
                for turn in range(turns):
                    status, _, body = await gateway.respond("POST", "/v1/chat/completions", "", HEADERS, _session(turn))
                    if status != 200:
                        raise RuntimeError(f"turn {turn} was answered with {status}: {body!r}")
    middles = {name: round(statistics.median(each[4:]) / 1e6, 4) for name, each in spent.items()}
    progress(f"a turn with nothing new, ms: {middles}")
    return round(sum(middles.values()), 4)


HEADERS = (
    ("content-type", "application/json"),
    ("authorization", "Bearer sk-bench"),
    ("x-pennyweight-session", "long"),
)


def _time(optimizer: Any, spent: list[int]) -> None:
    """Have every look of this optimizer timed, by the CPU of its thread."""
    propose = optimizer.propose

    async def timed(call: Call) -> Proposal | None:
        _ = call.request.body
        began = time.thread_time_ns()
        made: Proposal | None = await propose(call)
        spent.append(time.thread_time_ns() - began)
        return made

    optimizer.propose = timed


def _session(turns: int) -> bytes:
    """The task; from the second turn on a tool loop, and after it so many short exchanges of words."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Find out why orders are lost. " * 100}]
    for number in range(60 if turns else 0):
        use = {"id": f"c{number}", "type": "function", "function": {"name": "read", "arguments": '{"path": "a.py"}'}}
        text = "".join(f"{number} line {row} says {row * number}\n" for row in range(300))
        messages.append({"role": "assistant", "content": None, "tool_calls": [use]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": text})
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"It is the disk, I think ({turn})."})
        messages.append({"role": "user", "content": f"Are you sure, for the {turn}. time?"})
    return json.dumps({"model": "gpt-5.5", "messages": messages}).encode()


# --- 50 MB ------------------------------------------------------------------------------------------------------


def large(seed: int) -> dict[str, dict[str, Any]]:
    """Each large text in a process of its own."""
    rows = {}
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        for name, pieces in _large(seed).items():
            file = Path(folder) / "large.txt"
            with file.open("w", encoding="utf-8") as out:
                out.writelines(pieces)
            ran = subprocess.run(
                [sys.executable, "-m", "bench.context_speed", "--peak", str(file)],
                capture_output=True,
                text=True,
                check=True,
            )
            rows[name] = json.loads(ran.stdout)
            progress(f"{name}: {rows[name]}")
    return rows


def _large(seed: int) -> dict[str, Iterator[str]]:
    rng = random.Random(seed)
    log = [f"{line}\n" for log in made_logs(seed) if log.name == "service" for line in log.lines]
    encoded = base64.b64encode(rng.randbytes(750_000)).decode()
    row = json.dumps({"id": 4711, "name": "order", "tags": ["a", "b"], "note": "x" * 40})
    return {
        "log": _until(f"2026-03-{n % 28 + 1:02d} {n:09d} {line}" for n in range(10**9) for line in log),
        "lines of their own": _until(
            f"{rng.getrandbits(64):x} {' '.join(rng.choices(_WORDS, k=9))}\n" for _ in range(10**9)
        ),
        "one line of JSON": _until(f"{'[' if n == 0 else ','}{row}" for n in range(10**9)),
        "base64": _until(encoded for _ in range(10**9)),
        "one line": _until("a b" * 1_000 for _ in range(10**9)),
    }


_WORDS = [f"w{'abcdefghijklmnopqrstuvwxyz'[n % 26]}{'aeiou'[n % 5]}{chr(97 + n // 26)}" for n in range(600)]


def _until(pieces: Iterator[str]) -> Iterator[str]:
    size = 0
    for piece in pieces:
        yield piece
        size += len(piece)
        if size >= LARGE_BYTES:
            return


def peak(path: Path) -> dict[str, Any]:
    """The most memory that shortening this file took above what was held before, in MB, and how long it took."""
    text = path.read_text(encoding="utf-8")
    count = BpeTokenizer(remembered=1).count
    count("The table is loaded now, and not counted. " * 4)
    before = _peak_mb(anew=True)
    began = time.process_time()
    made = compress(text, count=count, ask=ASK, room_tokens=ROOM_TOKENS, reference=REFERENCE)
    return {
        "told": made.kind,
        "peak_mb": round(_peak_mb() - before, 1),
        "seconds": round(time.process_time() - began, 1),
        "tokens": made.tokens_before,
        "after": made.tokens_after,
    }


def _peak_mb(*, anew: bool = False) -> float:
    """The peak of resident memory, from /proc (proc(5): writing 5 to clear_refs sets it back to what is held now)."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1_024


if __name__ == "__main__":
    sys.exit(main())
