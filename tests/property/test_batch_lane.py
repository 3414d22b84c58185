"""Whatever callers and the provider do: nobody gets another's answer, and what is billed is told, once."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.backends.lanes.rig import SETTINGS, bench, marked, text_of

from pennyweight.request import Wire
from pennyweight.testing.batches import BatchProvider

MODES = ("", "", "", "[fault]", "[expire]", "[drop]", "[refuse]")
calls = st.lists(st.tuples(st.sampled_from(MODES), st.sampled_from(["waits", "waits", "leaves", "hasty"])), max_size=7)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    calls,
    st.sampled_from([Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES]),
    st.sampled_from(["", "lose_answer", "lose_request", "busy"]),
    st.booleans(),
)
def test_every_bill_is_told_once_and_every_answer_is_its_own(
    asked: list[tuple[str, str]], wire: Wire, trouble: str, stream: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), asked, wire, trouble, stream=stream))


async def _play(folder: Path, asked: list[tuple[str, str]], wire: Wire, trouble: str, *, stream: bool) -> None:
    quick = msgspec.structs.replace(SETTINGS, margin_s=0.05)
    async with BatchProvider(takes_s=0.35) as provider, bench(folder, provider, settings=quick, quick=True) as b:
        provider.lose_answer = int(trouble == "lose_answer")
        provider.lose_request = int(trouble == "lose_request")
        provider.refuse = [429, 503] if trouble == "busy" else []
        tasks = []
        for number, (mode, behaviour) in enumerate(asked):
            deadline_s = 0.35 if behaviour == "hasty" else 3_600.0
            call = marked(f"{mode} q{number}", wire, deadline_s=deadline_s, stream=stream and not mode)
            tasks.append(asyncio.create_task(b.ask(call)))
        await asyncio.sleep(0.2)
        for task, (_, behaviour) in zip(tasks, asked, strict=True):
            if behaviour == "leaves":
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(60):
            while b.lane._carrying or b.lane._gathering:  # noqa: ASYNC110 - batches whose callers have all gone
                await asyncio.sleep(0.01)
        told = [charge for outcome in b.outcomes for charge in outcome.done.charges]
        for number, ((mode, _), answer) in enumerate(zip(asked, answers, strict=True)):
            if isinstance(answer, BaseException):
                assert isinstance(answer, asyncio.CancelledError)
                continue
            reply, content = answer
            assert reply.done is not None
            told += reply.done.charges
            if mode == "[refuse]":
                assert reply.status == 400
            elif stream and not mode:
                assert f"answer to: {mode} q{number}".encode() in content
            else:
                assert text_of(content) == f"answer to: {mode} q{number}"
        billed = sorted(
            tokens for kind, text, tokens in provider.billed if not (kind == "single" and "[refuse]" in text)
        )
        assert sorted(charge.usage.input_tokens for charge in told) == billed
        creations = [batch for batch in provider.jobs.values() if batch.state != "failed"]
        assert len(creations) <= 1
