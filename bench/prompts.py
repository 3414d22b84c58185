"""System prompts in parts: how short, how much of what sessions then used is kept, how fast.

Each recorded session's system prompt goes through the optimizer as at its first call; then a prompt of about 19,000
tokens, made of those of several clients, does with each of the sessions. A part that names a tool, file or skill which
the session later calls or reads is needed: it must stand verbatim in what is sent, of a list the entry of that name.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pennyweight.call import Rewrite
from pennyweight.capture.format import Recorded
from pennyweight.economy import Economy
from pennyweight.money import Price
from pennyweight.optimizers.prompts import Parts, Settings, build
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Edit, Request, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.text.prompts import Module, split
from pennyweight.text.prompts.usage import used_in
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire.blocks import Conversation, Reader

from .material import default_data, files_in, label, recorded
from .result import progress, report

TARGETS = {
    "tokens_after": "<= 4500",
    "tokens_after_19k": "<= 8000",
    "needed_kept": ">= 1.0",
    "needed_kept_19k": ">= 1.0",
    "assemble_ms": "< 100",
}
LARGE_TOKENS = 19_000
LEAST_TOKENS = 2_000


class Seen(NamedTuple):
    """A recorded session: its first main call, and the names that it used."""

    name: str
    first: Recorded
    used: frozenset[str]
    tools: frozenset[str]
    system: str


class Made(NamedTuple):
    name: str
    before: int
    after: int
    needed: int
    kept: int
    ms: float
    loosely: int  # parts in which such a name stands anywhere as a word, "read" in prose too
    loosely_kept: int


class _Parts(msgspec.Struct, frozen=True):
    economy: Economy
    kv: MemoryKV


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.prompts", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="PATH", help="recordings: files or folders")
    parser.add_argument("--budget", type=int, default=0, help="tokens of a prompt; default: the optimizer's own")
    asked = parser.parse_args()
    paths = files_in(asked.data or default_data())
    tokenizer = BpeTokenizer()
    sessions = [seen for path in paths if (seen := _seen(path, tokenizer)) is not None]
    own = [_made(seen, seen.first.request, tokenizer, asked.budget) for seen in sessions]
    large = _large(sessions, tokenizer)
    big = (
        [_made(seen, _with_system(seen.first.request, large), tokenizer, asked.budget) for seen in sessions]
        if large
        else []
    )
    for made in (*own, *big):
        progress(
            f"{made.name}: {made.before:,} -> {made.after:,}, needed {made.kept} of {made.needed}, {made.ms:.0f} ms"
        )
    openclaw = [made for made in own if "openclaw" in made.name and made.before >= 7_500] or own
    figures = _figures(openclaw, own, big)
    curve = {str(budget): _share(_made(s, s.first.request, tokenizer, budget) for s in sessions) for budget in _BUDGETS}
    return report(
        "prompts",
        data=[str(path) for path in asked.data or default_data()],
        figures=figures,
        targets={name: target for name, target in TARGETS.items() if name in figures},
        sessions=[made._asdict() for made in (*own, *big)],
        needed_kept_by_budget=curve,
    )


_BUDGETS = (6_000, 4_500, 4_000, 3_500, 3_000)


def _figures(openclaw: Sequence[Made], own: Sequence[Made], big: Sequence[Made]) -> dict[str, float]:
    figures: dict[str, float] = {
        "tokens_before": max((made.before for made in openclaw), default=0),
        "tokens_after": max((made.after for made in openclaw), default=0),
        "needed_kept": _share(own),
        "assemble_ms": max((made.ms for made in (*own, *big)), default=0.0),
    }
    figures["needed_kept_any_word"] = sum(made.loosely_kept for made in own) / max(sum(made.loosely for made in own), 1)
    if big:
        figures["tokens_before_19k"] = max(made.before for made in big)
        figures["tokens_after_19k"] = max(made.after for made in big)
        figures["needed_kept_19k"] = _share(big)
    return figures


def _share(made: Iterable[Made]) -> float:
    found = list(made)
    needed = sum(one.needed for one in found)
    return sum(one.kept for one in found) / needed if needed else 1.0


def _seen(path: Path, tokenizer: BpeTokenizer) -> Seen | None:
    """The session of a recording; None where its system prompt is short or no call is its first."""
    calls = recorded(path)
    first = next((call for call in calls if tokenizer.count(_system(call.request)) >= LEAST_TOKENS), None)
    if first is None:
        return None
    reader = Reader()
    used: set[str] = set()
    tools: set[str] = set()
    for call in calls:
        made = reader.read(call.request).calls.values()
        used |= used_in((block.name, block.text) for _, block in made)
        tools |= {block.name for _, block in made}
    tools |= {name for name in used if "." in name}
    return Seen(label(path), first, frozenset(used), frozenset(tools), _system(first.request))


def _system(request: Request) -> str:
    conversation = Reader().read(request)
    return "\n".join(text for _, text in _texts(conversation))


def _texts(conversation: Conversation) -> list[tuple[Any, str]]:
    found = [(block.place, block.text) for block in conversation.system if block.place is not None]
    for index, message in enumerate(conversation.messages):
        if message.role != "system":
            break
        found += [(conversation.place(index, block), block.text) for block in message.blocks if block.kind == "text"]
    return found


def _made(seen: Seen, request: Request, tokenizer: BpeTokenizer, budget: int) -> Made:
    """The optimizer's proposal for that request, and what became of the parts that the session needed."""
    economy = Economy(blocks=Blocks(count=tokenizer.count), caches=CacheBook(), prices=_no_price)
    parts: Parts = _Parts(economy, MemoryKV(clock=FakeClock()))
    prompts = build(Settings(budget_tokens=budget, wait_s=10.0), parts)
    call = make_call(request.raw, wire=request.wire, path=request.path, session="s", optimize="max")
    prompts._tokenizer.count("loaded")
    started = time.perf_counter()
    proposal = asyncio.run(prompts.propose(call))
    ms = 1000 * (time.perf_counter() - started)
    sent = (
        request.edit(proposal.action.edits)
        if proposal is not None and isinstance(proposal.action, Rewrite)
        else request
    )
    before, after = _system(request), _system(sent)
    own = [text for _, text in _texts(Reader().read(request))]
    needed = [piece for text in own for module in split(text) for piece in _needed(module, seen.used)]
    kept = sum(piece.strip() in after for piece in needed)
    spoken = [
        module.text for text in own for module in split(text) if not module.entries and _says(module.text, seen.tools)
    ]
    there = sum(text.strip() in after for text in spoken)
    tokens = tokenizer.count(before), tokenizer.count(after)
    return Made(seen.name, *tokens, len(needed), kept, ms, len(spoken), there)


def _needed(module: Module, used: frozenset[str]) -> list[str]:
    if module.entries:
        return [entry.text for entry in module.entries if entry.name.lower() in used]
    return [module.text] if module.text.strip() and not used.isdisjoint(module.names) else []


def _says(text: str, used: frozenset[str]) -> bool:
    return any(word in used for word in re.findall(r"[\w./-]*\w", text))


def _large(sessions: Sequence[Seen], tokenizer: BpeTokenizer) -> str:
    """System prompts of several clients, one after another, until they have LARGE_TOKENS; "" where they do not."""
    clients: dict[str, list[str]] = {}
    for seen in sessions:
        texts = clients.setdefault(seen.name.split("/")[0], [])
        if seen.system not in texts:
            texts.append(seen.system)
    waiting = [texts[0] for texts in clients.values()] + [text for texts in clients.values() for text in texts[1:]]
    large = ""
    for text in waiting:
        if tokenizer.count(large) >= LARGE_TOKENS:
            break
        for module in split(text if text.endswith("\n") else text + "\n"):
            if tokenizer.count(large) < LARGE_TOKENS:
                large += module.text
    return large if tokenizer.count(large) >= 0.9 * LARGE_TOKENS else ""


def _with_system(request: Request, system: str) -> Request:
    """The request with that system prompt in place of its own."""
    texts = _texts(Reader().read(request))
    edits = [Edit(texts[0][0], system)] + [Edit(place, " ") for place, _ in texts[1:]]
    if request.wire is Wire.ANTHROPIC_MESSAGES:
        edits = [Edit(("system",), [{"type": "text", "text": system}])]
    return request.edit(edits)


def _no_price(provider: str, model: str, at: float) -> Price | None:
    return None


if __name__ == "__main__":
    raise SystemExit(main())
