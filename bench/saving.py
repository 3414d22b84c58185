"""Plays a recorded session through an App in which only the compression of results is on, and checks what is sent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import App, build
from pennyweight.call import Call
from pennyweight.capture.format import Recorded
from pennyweight.config import OptimizerRule, load
from pennyweight.optimizers.compression.results import results
from pennyweight.optimizers.compression.standing import earlier, written
from pennyweight.references import FACT, NAME_PATTERN
from pennyweight.replay.offline import Engine, TapeClock, run
from pennyweight.request import Charge, Response, Usage
from pennyweight.testing.provider import provider_keys
from pennyweight.text.compression import compress, detect
from pennyweight.text.compression.codecs.json_ import unpacked
from pennyweight.text.compression.codecs.listing import columns_restored, unfoldered
from pennyweight.text.compression.codecs.logs import restored
from pennyweight.text.compression.codecs.search import ungrouped
from pennyweight.text.compression.codecs.shell import shown, uncollapsed
from pennyweight.text.compression.patterns import filled_in
from pennyweight.text.compression.records import NotExact, NotPacked
from pennyweight.text.compression.records.truncated import cut
from pennyweight.text.compression.repeats import Earlier, expanded, is_note
from pennyweight.text.compression.wrappers import enveloped
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire.blocks import Reader

__all__ = ["PLAYS", "Played", "play", "priced"]

PRICED_AS = {"fake-model": "gpt-5.5"}


class Way(msgspec.Struct, frozen=True):
    """`settings` of the compression. `beside`: the optimizers of the default configuration are on, too."""

    settings: dict[str, Any]
    beside: bool = False


PLAYS: Mapping[str, Way] = {
    "always": Way({"recall": "always"}),
    "never": Way({"recall": "never"}),
    "only notes": Way({"recall": "never", "codecs": False}),
    "with all others": Way({"recall": "always"}, beside=True),
}
"""By the name of the row that they give."""


class Played(msgspec.Struct, frozen=True):
    """What one session came to: its input cost before and after, in pico-dollars; `lines` of results that were checked
    and how many of them were `lost`; tokens taken off by `kinds` of forms."""

    name: str
    before: int
    after: int
    lines: int
    lost: int
    kinds: dict[str, int]
    accepted: int
    refused: dict[str, int]
    lost_in: dict[str, int]

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0

    @property
    def told(self) -> str:
        return (
            f"{self.accepted} accepted {self.kinds} refused {self.refused} lost {self.lost}/{self.lines} {self.lost_in}"
        )


async def play(name: str, calls: Sequence[Recorded], way: Way) -> Played:
    """One session, in an App that has learnt nothing yet."""
    calls = [priced(call, name) for call in calls]
    with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        base = load(None, provider_keys("http://127.0.0.1:9"), {"data_dir": Path(folder), "holdout": 0.0})
        config = msgspec.structs.replace(
            base,
            optimize="max",
            optimizers=(
                *(base.optimizers if way.beside else ()),
                OptimizerRule("compression", settings={"work_s": 10.0, **way.settings}),
            ),
            pipeline=msgspec.structs.replace(base.pipeline, propose_s=5.0),
        )
        clock = TapeClock()
        async with build(config, clock=clock) as app:
            return await _played(name, calls, app, clock)


async def _played(name: str, calls: Sequence[Recorded], app: App, clock: TapeClock) -> Played:
    check = _Check()

    async def consult(call: Call) -> tuple[Call, Response | None]:
        call, answer = await app.pipeline.consult(call)
        check.take(call)
        return call, answer

    engine = Engine(
        consult=consult,
        follow=app.pipeline.follow,
        settle=app.pipeline.settle,
        resolve=app.resolve,
        identify=lambda request: app.identify(request, "local"),
        cost=app.accounts.cost,
        count=BpeTokenizer().count,
        advance=clock.wind,
    )
    replay = await run(sorted(calls, key=lambda call: call.at), engine, optimize="max")
    before = after = accepted = 0
    refused: Counter[str] = Counter()
    for line in replay.lines:
        if line.before is None or line.after is None:
            raise ValueError(f"{name}: a call to {line.model} has no price")
        target = app.resolve(line.model, calls[0].wire)
        said = Usage(output_tokens=line.usage.output_tokens)
        output = app.accounts.cost(Charge(target.provider, target.model, said, calls[0].at)) or 0
        before += line.before - output
        after += line.after - output
        ours = [step for step in line.steps if step.optimizer == "compression"]
        accepted += sum(step.verdict == "accepted" and "first sent" not in step.why for step in ours)
        refused.update(
            f"{step.verdict}: {step.why.rpartition(': ')[2]}"
            for step in ours
            if step.verdict not in ("accepted", "abstained")
        )
    return Played(
        name, before, after, check.lines, check.lost, dict(check.kinds), accepted, dict(refused), dict(check.lost_in)
    )


def priced(call: Recorded, name: str) -> Recorded:
    """The call with the model that its own is priced as, and nothing of what was billed when it was recorded."""
    body = {**call.body, "model": PRICED_AS.get(call.body.get("model", ""), call.body.get("model"))}
    return msgspec.structs.replace(call, body=body, session=name, usage=None)


class _Check:
    """Reads what is sent the way a model would have to: by what stands there, by notes and by references."""

    def __init__(self) -> None:
        self.lines = self.lost = 0
        self.kinds: Counter[str] = Counter()
        self.lost_in: Counter[str] = Counter()
        self._reader = Reader()
        self._count = BpeTokenizer().count
        self._seen: set[tuple[str, str]] = set()

    def take(self, call: Call) -> None:
        sent, asked = self._reader.read(call.request), self._reader.read(call.original)
        before: list[Earlier] = []
        for result in results(sent, asked):
            before += written(result)
            if (result.original, result.sent) not in self._seen:
                self._seen.add((result.original, result.sent))
                self._one(call, result.original, result.sent, before)
            source = earlier(result, lambda r: compress(r.original, count=self._count).text == r.sent)
            before += [source] if source is not None else []

    def _one(self, call: Call, original: str, sent: str, before: Sequence[Earlier]) -> None:
        lines = original.split("\n")
        self.lines += len(lines)
        if sent == original:
            return
        kind = "notes" if is_note(sent) else detect(original)
        self.kinds[kind] += self._count(original) - self._count(sent)
        there = set(sent.split("\n"))
        left_out: dict[str, str] = call.facts.get(FACT, {})
        for name in set(re.findall(NAME_PATTERN, sent)) & set(left_out):
            there |= set(left_out[name].split("\n"))
        if is_note(sent):
            sent = expanded(sent, before)
            there |= set(sent.split("\n"))
        lost = sum(line not in there for line in lines)
        if lost and _can_be_read_back(original, sent):
            lost = 0
        if lost:
            self.lost_in[kind] += lost
        self.lost += lost


def _can_be_read_back(original: str, sent: str) -> bool:
    """Whether a form without loss gives the text back: JSON value by value, the others letter by letter."""
    outer, inner = enveloped(original), enveloped(sent)
    if outer is not None and inner is not None and (outer.head, outer.tail) == (inner.head, inner.tail):
        return outer.body == inner.body or _can_be_read_back(outer.body, inner.body)
    for back in (restored, _on_screen, ungrouped, unfoldered, columns_restored):
        try:
            if back(sent) in (original, shown(original)):
                return True
        except (ValueError, IndexError, KeyError):
            continue
    try:
        part = cut(original)  # JSON that breaks off is packed as far as it goes
        whole = unpacked(original) if part is None else unpacked(part.whole).removesuffix(part.shut) + part.rest
        if unpacked(sent) == whole:
            return True
    except (NotPacked, NotExact, ValueError, RecursionError):
        pass
    try:
        return _same_within(msgspec.json.decode(original), msgspec.json.decode(sent))
    except (msgspec.DecodeError, RecursionError):
        return False


def _on_screen(sent: str) -> str:
    return uncollapsed(filled_in(sent))


def _same_within(original: Any, sent: Any) -> bool:
    """Whether two JSON values are equal but for texts in them that can be read back."""
    match original, sent:
        case dict(), dict():
            return list(original) == list(sent) and all(_same_within(original[key], sent[key]) for key in original)
        case list(), list():
            return len(original) == len(sent) and all(map(_same_within, original, sent))
        case str(), str():
            return original == sent or _can_be_read_back(original, sent)
    return type(original) is type(sent) and bool(original == sent)
