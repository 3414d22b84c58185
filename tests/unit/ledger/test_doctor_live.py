"""The doctor in a gateway: finished calls in, rows of the ledger's file out, and no prompt text among them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.unit.optimizers.loops import House, loop
from tests.unit.replay.doctor_seeds import a_clock_in_the_system_prompt, heartbeats, without_markers

from pennyweight.call import Call, Credential, Outcome, Target
from pennyweight.capture.format import Recorded
from pennyweight.identity import identify
from pennyweight.ledger.doctor import Finding, grouped, pricing
from pennyweight.ledger.doctor.live import Rounds
from pennyweight.ledger.doctor.sent import text_of
from pennyweight.ledger.doctor.stored import read, store
from pennyweight.prefix import Blocks
from pennyweight.prices import open_book
from pennyweight.prices.caching import CacheBook
from pennyweight.replay.demo import demo_session
from pennyweight.request import Charge, Done, Usage, Wire
from pennyweight.stores.database import FILE, Database
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer

COUNT = BpeTokenizer().count


def outcomes(calls: list[Recorded], *, session: str = "s", subscription: bool = False) -> list[Outcome]:
    """The calls as a gateway would have finished them, billed by the model of the provider's cache."""
    cache = PrefixCache(COUNT)
    made = []
    for number, recorded in enumerate(calls):
        request = recorded.request
        usage = cache.account(recorded.wire, recorded.body, at=recorded.t)
        target = Target("anthropic", request.model, request.wire)
        identity = msgspec.structs.replace(identify(request), session=session)
        credential = Credential("authorization", "Bearer x", subscription=subscription)
        call = Call(f"{session}{number}", identity, request, request, target, 1e9 + recorded.t, credential=credential)
        done = Done(usage, charges=(Charge("anthropic", request.model, usage, call.at),))
        made.append(Outcome(call, done, 200, "anthropic"))
    return made


def rounds(database: Database, *, held_bytes: int = 32 << 20) -> Rounds:
    blocks = Blocks(count=COUNT)
    return Rounds(
        rules=CacheBook().rules,
        pricing=pricing(open_book().price),
        chain=lambda request, session: blocks.chain(request, session=session),
        write=database.write,
        held_bytes=held_bytes,
    )


def seen(folder: Path, calls: list[Outcome], *, held_bytes: int = 32 << 20) -> tuple[Finding, ...]:
    return asyncio.run(examine(folder, calls, held_bytes))


async def examine(folder: Path, calls: list[Outcome], held_bytes: int) -> tuple[Finding, ...]:
    database = Database(folder / FILE)
    try:
        doctor = rounds(database, held_bytes=held_bytes)
        for outcome in calls:
            await doctor.take([outcome])
        await doctor.close()
        return read(folder / FILE)
    finally:
        await database.close()


def test_what_a_gateway_sees_is_stored_with_its_cost(tmp_path: Path) -> None:
    (finding,) = seen(tmp_path, outcomes(without_markers()))
    assert finding.code == "marker_missing"
    assert finding.session == "s"
    assert finding.calls == 20
    assert finding.cost is not None
    assert 1_200_000_000_000 < finding.cost < 1_500_000_000_000  # of $1.76 for the prompts
    assert grouped([finding])[0].severity == "high"


def test_nothing_is_stored_of_a_healthy_session(tmp_path: Path) -> None:
    assert seen(tmp_path, outcomes(demo_session())) == ()


@pytest.mark.parametrize("wire", [Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT])
def test_of_a_call_that_was_only_marked_the_callers_own_body_is_held(tmp_path: Path, wire: Wire) -> None:
    """Which others hold too: the one with marks is as long, and would be kept for nothing."""
    house = House(optimize="max")
    calls = [call for call in house.run(list(loop(12, system="Be brief.")), wire=wire) if call.rewritten]
    assert calls

    async def main() -> None:
        database = Database(tmp_path / FILE)
        doctor = rounds(database)
        try:
            for call in calls:
                usage = Usage(input_tokens=5_000)
                done = Done(usage, charges=(Charge(call.target.provider, call.target.model, usage, call.at),))
                await doctor.take([Outcome(call, done, 200, call.target.provider)])
            held = [one.request for one in doctor._doctor._held]
            assert [id(request.raw) for request in held if request] == [id(call.original.raw) for call in calls]
        finally:
            await doctor.close()
            await database.close()

    asyncio.run(main())
    for call in calls:
        for segment in Blocks(count=COUNT).chain(call.request):
            told = text_of(call.original, segment)
            assert told
            if wire is Wire.ANTHROPIC_MESSAGES:  # in Chat a text becomes a list where a mark is put on it
                assert text_of(call.request, segment) == told


def test_no_text_of_a_prompt_is_stored(tmp_path: Path) -> None:
    (finding,) = seen(tmp_path, outcomes(a_clock_in_the_system_prompt()))
    assert finding.code == "volatile_head"
    assert finding.what == "a time"
    assert finding.at_byte == len("The time is 2026-11-20T21:31:")  # 19 and 20 seconds: the dearest call is the last
    assert finding.before == finding.after == ""
    assert b"2026-11-20T21:31" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_second_day_adds_to_the_first(tmp_path: Path) -> None:
    (first,) = seen(tmp_path, outcomes(without_markers()))
    (both,) = seen(tmp_path, outcomes(without_markers()))
    assert both.calls == 2 * first.calls
    assert both.cost == 2 * (first.cost or 0)


def test_without_the_text_the_cause_is_still_told(tmp_path: Path) -> None:
    (finding,) = seen(tmp_path, outcomes(heartbeats()), held_bytes=0)
    assert finding.code == "heartbeat"


def test_a_subscription_has_tokens_and_no_dollars(tmp_path: Path) -> None:
    (finding,) = seen(tmp_path, outcomes(without_markers(), subscription=True))
    assert finding.cost is None
    assert finding.tokens > 400_000


def test_usage_that_we_counted_ourselves_says_nothing_about_a_cache(tmp_path: Path) -> None:
    calls = []
    for outcome in outcomes(without_markers()):
        usage = msgspec.structs.replace(outcome.done.usage or Usage(), counted=True)
        calls.append(msgspec.structs.replace(outcome, done=msgspec.structs.replace(outcome.done, usage=usage)))
    assert seen(tmp_path, calls) == ()


def test_held_text_is_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / FILE)
        try:
            doctor = rounds(database, held_bytes=300_000)
            for number in range(4):
                for outcome in outcomes(demo_session(), session=f"s{number}"):
                    await doctor.take([outcome])
                    assert doctor.held_bytes <= 300_000
        finally:
            await database.close()

    asyncio.run(run())


def test_rows_are_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        database = Database(tmp_path / FILE)
        one = Finding(
            code="evicted", tenant="t", session="", provider="p", model="m", client="", where="", calls=1, last_at=1.0
        )
        many = [msgspec.structs.replace(one, session=str(n), last_at=float(n)) for n in range(20_500)]
        try:
            await database.write(lambda connection: store(connection, many))
            left = read(tmp_path / FILE)
        finally:
            await database.close()
        assert len(left) == 18_000
        assert min(finding.last_at for finding in left) == 2_500.0

    asyncio.run(run())


def test_old_findings_are_forgotten_with_old_receipts(tmp_path: Path) -> None:
    async def run() -> tuple[int, int]:
        database = Database(tmp_path / FILE)
        doctor = rounds(database)
        try:
            for outcome in outcomes(without_markers()):
                await doctor.take([outcome])
            await doctor.flush()
            await doctor.forget(1e9)
            kept = len(read(tmp_path / FILE))
            await doctor.forget(1e9 + 86_400)
            return kept, len(read(tmp_path / FILE))
        finally:
            await doctor.close()
            await database.close()

    assert asyncio.run(run()) == (1, 0)
