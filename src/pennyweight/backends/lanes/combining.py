"""Tiny classifications of one caller asked in one call, which sends their common instructions once.

Only where the configuration names model and agent: prompts that have nothing to do with each other are never merged by
themselves. Of one tenant, account, agent and set of instructions alone. An answer that is missing, or that its own
schema does not allow, is asked for once more alone, and costs nobody else theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from ...call import CHARGED, Call, Step, Verdict
from ...errors import PennyweightError
from ...money import PicoUSD
from ...protocols import Backend, Tokenizer
from ...request import Charge, Done, Headers, Operation, Reply, Usage
from ...routing.background import CombineTable, LaneSettings, matches
from ...wire.sameness import origin
from ..refusals import add_charges
from . import forms
from .apart import charges, usages
from .gathering import Gatherer, Member

__all__ = ["Combine"]

NAME = "combine"


class Combine:
    """A Backend. What no rule of [[lanes.combine]] names is handed on."""

    def __init__(
        self,
        inner: Backend,
        tokenizer: Tokenizer,
        settings: LaneSettings,
        *,
        cost: Callable[[Charge], PicoUSD | None] = lambda _charge: None,
    ) -> None:
        """cost: of one bill, for the saving; None without a price."""
        self._inner = inner
        self._tokenizer = tokenizer
        self._cost = cost
        self._rules = [
            (rule, Gatherer(self._send, window_s=rule.window_ms / 1000, size=rule.size, eager=False))
            for rule in settings.combine
        ]

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        if call.request.operation is not Operation.GENERATE or call.optimize == "off" or call.request.stream:
            return self._inner.open(call)
        for rule, gatherer in self._rules:
            if _meant(call, rule):
                found = forms.small(call.request, rule)
                if found is None:
                    return self._inner.open(call)
                call.facts[NAME] = found
                return gatherer.join(_key(call, found), Member(call, self._tokenizer.count(found.text)))
        return self._inner.open(call)

    async def aclose(self) -> None:
        for _, gatherer in self._rules:
            await gatherer.aclose()

    async def _send(self, members: Sequence[Member]) -> None:
        wanted = [member.call.facts[NAME] for member in members]
        if len(members) == 1 or not forms.cheaper(wanted, self._tokenizer.count):
            await asyncio.gather(*(self._as_it_is(member) for member in members))
            return
        first = members[0].call
        try:
            async with await self._inner.open(first.sending(forms.combined(first.request, wanted))) as reply:
                content = await reply.read()
        except PennyweightError:
            await self._alone(members, "all together failed")
            return
        if not reply.ok:  # what the provider says of all together, it need not say of each
            await self._alone(members, f"all together were refused with {reply.status}")
            return
        await self._share(members, forms.answers(content, wanted), reply, content)

    async def _share(
        self, members: Sequence[Member], answers: Sequence[str | None], reply: Reply, content: bytes
    ) -> None:
        """Those who have left meanwhile leave their share of the bill to the others."""
        told = reply.done or Done(complete=False)
        there = [at for at, member in enumerate(members) if not member.left]
        outputs = [self._tokenizer.count(answers[at] or "") + 1 for at in there]
        sizes = [members[at].size for at in there]
        parts = usages(told.usage or Usage(), _prompts(told.usage, sizes), outputs)
        bills = [
            charges(charge, usages(charge.usage, _prompts(charge.usage, sizes), outputs)) for charge in told.charges
        ]
        alone = []
        for number, at in enumerate(there):
            billed: tuple[Charge, ...] = tuple(bill[number] for bill in bills)
            answer = answers[at]
            if answer is None:
                alone.append((members[at], billed))
                continue
            usage = parts[number]
            tokens = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.total_tokens,
            }
            done = Done(usage if told.usage is not None else None, "stop", billed, told.complete)
            body = forms.body(content, at + 1, answer, tokens)
            given = Reply(reply.status, _headers(reply.headers), wire=reply.wire, content=body, done=done)
            together = f"classified together with {len(members) - 1} other calls"
            saving = self._saving(members[at], usage, billed)
            given.notes.append(Step(NAME, Verdict.ACCEPTED, saving=saving, why=together))
            given.asked_at = reply.asked_at
            await members[at].give(given)
        why = "its answer was not what its schema allows"
        await asyncio.gather(*(self._once_more(member, why, billed) for member, billed in alone))

    def _saving(self, member: Member, usage: Usage, billed: Sequence[Charge]) -> PicoUSD:
        """What it would have cost alone, by our count of its prompt, less its part of the bill. It may have lost."""
        if len(billed) != 1:
            return 0
        small: forms.Small = member.call.facts[NAME]
        tokens = self._tokenizer.count(small.system) + self._tokenizer.count(small.text) + 2 * forms.MESSAGE_TOKENS
        output = max(usage.output_tokens - forms.ANSWER_TOKENS, 1)
        single = Usage(input_tokens=tokens, output_tokens=output, tier=usage.tier)
        alone = self._cost(msgspec.structs.replace(billed[0], usage=single, part=None))
        together = self._cost(billed[0])
        return alone - together if alone is not None and together is not None else 0

    async def _alone(self, members: Sequence[Member], why: str) -> None:
        await asyncio.gather(*(self._once_more(member, why, ()) for member in members))

    async def _as_it_is(self, member: Member) -> None:
        try:
            await member.give(await self._inner.open(member.call))
        except Exception as error:  # noqa: BLE001 - its own, and nobody else's
            member.fail(error)

    async def _once_more(self, member: Member, why: str, billed: Sequence[Charge]) -> None:
        """Asked alone, once; what it had of the bill for all is its own."""
        if member.left:
            return
        try:
            reply = await self._inner.open(member.call)
        except Exception as error:  # noqa: BLE001 - its own, and nobody else's
            member.call.facts[CHARGED] = tuple(billed)
            member.fail(error)
            return
        add_charges(reply, billed)
        reply.notes.append(Step(NAME, Verdict.FAILED, why=f"asked alone: {why}"))
        await member.give(reply)


def _meant(call: Call, rule: CombineTable) -> bool:
    return matches(call.original.model, (rule.model,)) and matches(call.identity.agent, (rule.agent,))


def _key(call: Call, found: forms.Small) -> bytes:
    digest = blake2b(origin(call, call.request), digest_size=16)
    digest.update(msgspec.json.encode((call.identity.agent, found.key)))
    return digest.digest()


def _prompts(usage: Usage | None, sizes: Sequence[int]) -> list[int]:
    """The prompt's tokens as each caller's: its own text, and an equal part of what is common to all."""
    common = max((usage.input_tokens if usage is not None else 0) - sum(sizes), 0)
    return [size * len(sizes) + common for size in sizes]


def _headers(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0] != "content-length")
