"""A tool result of about 10,000 tokens of each kind, made from a seed, for measuring what shortening one costs."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from .made_logs import made_logs

__all__ = ["texts"]


def texts(seed: int, count: Callable[[str], int], tokens: int) -> Mapping[str, str]:
    """By kind; each of about so many tokens, cut at a line where it has lines; JSON is whole."""
    rng = random.Random(seed)
    made = _whole(rng, seed, 6 * tokens)
    made["json"] = json.dumps(_orders(rng, len(_cut(made["json"], count, tokens)) // 135), indent=2)
    return {name: text if name == "json" else _cut(text, count, tokens) for name, text in made.items()}


def _orders(rng: random.Random, count: int) -> list[dict[str, Any]]:
    return [{"id": n, "name": rng.choice(WORDS), "price": n / 7, "tags": rng.choices(WORDS, k=2)} for n in range(count)]


def _cut(text: str, count: Callable[[str], int], tokens: int) -> str:
    chars = min(len(text), round(len(text) * tokens / max(count(text), 1)))
    end = text.rfind("\n", 0, chars)
    return text[: end + 1] if end > chars // 2 else text[:chars]


WORDS = ("gateway", "keeps", "what", "sent", "asks", "again", "answer", "needs", "others", "wait", "line", "session")


def _whole(rng: random.Random, seed: int, chars: int) -> dict[str, str]:
    """Longer than will be wanted."""
    rows = chars // 24
    log = next(log for log in made_logs(seed, rows) if log.name == "service")
    return {
        "log": "\n".join(log.lines),
        "json": json.dumps(_orders(rng, rows // 4), indent=2),
        "blob": "data:image/png;base64," + base64.b64encode(rng.randbytes(chars)).decode(),
        **{name: head + "".join(row(rng, n) for n in range(rows)) for name, (head, row) in KINDS.items()},
    }


def _shell(rng: random.Random, n: int) -> str:
    return f"Collecting lib{n}==1.{n}\n  Downloading lib{n}-1.{n}-py3-none-any.whl ({rng.randrange(900)} kB)\n"


def _terminal(rng: random.Random, n: int) -> str:
    return f"\x1b[32m{n}%\x1b[0m {'#' * (n % 40)}\r" + ("" if n % 9 else "\n")


def _tests(rng: random.Random, n: int) -> str:
    return f"test_{n} (tests.test_a.CaseA.test_{n}) ... ok\n"


def _trace(rng: random.Random, n: int) -> str:
    library = '  File "/usr/lib/python3.11/site-packages/web/{}.py", line {}, in call\n    return self.app({})\n'
    frames = "".join(library.format(rng.choice(WORDS), place, place) for place in range(4))
    own = f'  File "/w/app/{rng.choice(WORDS)}.py", line {n}, in step_{n}\n    return self.next({n})\n'
    return f"Traceback (most recent call last):\n{frames}{own}ValueError: order {n} has no price\n\n"


def _bundle(rng: random.Random, n: int) -> str:
    return f"var a{n}=function(n){{return n*{n}+t(e[{n}])}};"


def _table(rng: random.Random, n: int) -> str:
    return f"{n},{rng.choice(WORDS)},{n / 7:.2f},{rng.choice(WORDS)}\n"


def _code(rng: random.Random, n: int) -> str:
    body = f"    due = [order.price * rate for order in orders if order.id != {n}]\n    return sum(due)\n"
    return f"def total_{n}(orders, rate={n}):\n{body}\n\n"


def _diff(rng: random.Random, n: int) -> str:
    return f"@@ -{3 * n + 1},3 +{3 * n + 1},3 @@\n a = {n}\n-b = {n}\n+b = {n + 1}\n c = 3\n"


def _search(rng: random.Random, n: int) -> str:
    return f"src/{rng.choice(WORDS)}.py:{n}:    def {rng.choice(WORDS)}_{n}(self):\n"


def _listing(rng: random.Random, n: int) -> str:
    return f"-rw-r--r-- 1 user user {n * 7} Nov 20 21:24 {rng.choice(WORDS)}-{n}.py\n"


def _html(rng: random.Random, n: int) -> str:
    return f'<div class="row"><a href="/o/{n}">{rng.choice(WORDS)} {n}</a></div>\n'


def _markdown(rng: random.Random, n: int) -> str:
    return f"## {rng.choice(WORDS)} {n}\n\n- {' '.join(rng.choices(WORDS, k=9))}.\n\n"


def _prose(rng: random.Random, n: int) -> str:
    return " ".join(rng.choices(WORDS, k=12)).capitalize() + ". "


KINDS: Mapping[str, tuple[str, Callable[[random.Random, int], str]]] = {
    "shell": ("$ pip install -r requirements.txt\n", _shell),
    "terminal": ("", _terminal),
    "tests": ("", _tests),
    "trace": ("", _trace),
    "bundle": ("!function(e,t){", _bundle),
    "table": ("id,name,price,city\n", _table),
    "code": ('"""Totals."""\n\n', _code),
    "diff": ("diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n", _diff),
    "search": ("", _search),
    "listing": ("total 9000\n", _listing),
    "html": ("<!DOCTYPE html>\n<html><body>\n", _html),
    "markdown": ("# Notes\n\n", _markdown),
    "prose": ("", _prose),
}
"""What stands first, and a row by number."""
