"""How fast the gateway starts and how much memory it takes: medians of several runs.

serve_answers_s: from starting the process to its first answer. import_ms: `import pennyweight` beyond what Python
itself takes. idle_mb: a second after the first answer. loaded_mb: the most seen under 32 connections of agent bodies
(80 kB), whole and streamed. Memory is the resident size in 10^6 bytes (proportional set sizes if there are children).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from .gateway.bodies import body, request
from .gateway.tools import Upstream, load, upstream
from .process import gateway, memory_mb
from .result import progress, report

TARGETS = {"serve_answers_s": "<= 1.0", "import_ms": "<= 150", "idle_mb": "<= 90", "loaded_mb": "<= 260"}
EXAMPLES = """examples:
  python -m bench.start
  python -m bench.start --runs 9"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.start",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each measurement (default 5)")
    runs: int = parser.parse_args().runs
    imports = [_import_ms() for _ in range(runs)]
    progress(f"import_ms {_shown(imports)}")
    starts, idle, loaded = [], [], []
    with upstream() as provider:
        for number in range(runs):
            start, at_rest, at_work = _serve(provider)
            starts.append(start)
            idle.append(at_rest)
            loaded.append(at_work)
            progress(f"run {number + 1}: answers after {start:.3f} s, {at_rest:.1f} MB idle, {at_work:.1f} MB loaded")
    return report(
        "start",
        figures={
            "serve_answers_s": round(median(starts), 3),
            "import_ms": round(median(imports), 1),
            "idle_mb": round(median(idle), 1),
            "loaded_mb": round(median(loaded), 1),
        },
        targets=TARGETS,
        runs=runs,
    )


def _import_ms() -> float:
    """Python with the import, less Python without it, each the fastest of three: the rest is the machine's noise."""
    return (_seconds("import pennyweight") - _seconds("pass")) * 1000


def _seconds(code: str) -> float:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def _serve(provider: Upstream) -> tuple[float, float, float]:
    """Seconds to the first answer, megabytes at rest, and the most megabytes seen under load."""
    before = time.perf_counter()
    with gateway({"OPENAI": provider.url}) as ours:
        start = time.perf_counter() - before
        time.sleep(1)
        at_rest = memory_mb(ours.pid)
        seen: list[float] = []
        for stream in (False, True):
            provider.pace(5 if stream else 0)
            content = request(ours.port, "/v1/chat/completions", body("agent", stream=stream))
            expect = "[DONE]" if stream else '"choices"'
            with ThreadPoolExecutor(1) as aside:
                loading = aside.submit(load, ours.port, content, connections=32, seconds=3, expect=expect)
                while not loading.done():
                    seen.append(memory_mb(ours.pid))
                    time.sleep(0.1)
            if loading.result()["failed"]:
                raise RuntimeError(f"requests failed: {loading.result()['first_failure']}")
        return start, at_rest, max(seen)


def _shown(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
