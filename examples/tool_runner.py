"""A tool runner that asks the gateway first: python examples/tool_runner.py [http://127.0.0.1:8787]

The gateway's pennyweight.toml declares the tool:

    [[tools]]
    name = "word_count"
    read_only = true
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

GATEWAY = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787"


def ask(what: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to the cache; {} when it cannot be had, since a tool must run without it too."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{GATEWAY}/v1/tools/cache/{what}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except urllib.error.HTTPError as error:
        print(f"the gateway refuses: {json.load(error)['error']['message']}")
    except OSError as error:
        print(f"no gateway: {error}")
    return {}


def run(tool: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The tool's result, from the cache if it is there."""
    call = {"name": tool.__name__, "arguments": arguments}
    found = ask("lookup", call)
    if found.get("hit"):
        print(f"{tool.__name__}: from the cache, {found['age_s']} s old")
        return found["content"]
    began = time.perf_counter()
    result = tool(**arguments)
    ask("store", {**call, "content": result, "took_s": time.perf_counter() - began})
    return result


def word_count(text: str) -> dict[str, int]:
    time.sleep(0.5)
    return {"words": len(text.split())}


if __name__ == "__main__":
    for _ in range(2):
        print(run(word_count, {"text": "Ask first, then run."}))
