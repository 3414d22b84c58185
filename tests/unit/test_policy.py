"""Who gets what: arms that stay, shares that are met, a holdout, and whose word counts."""

from __future__ import annotations

import asyncio
import timeit
from collections.abc import Sequence

import msgspec
import pytest

from pennyweight.call import Call, Identity, Target
from pennyweight.errors import BadRequest, NotFound
from pennyweight.policy import Change, Flag, Policy, side_of
from pennyweight.request import Request, Wire


def call(session: str = "s", tenant: str = "local", call_id: str = "c") -> Call:
    request = Request(Wire.OPENAI_CHAT, b"{}")
    return Call(call_id, Identity(tenant, session), request, request, Target("openai", "m", Wire.OPENAI_CHAT), 0.0)


class Kept:
    """Changes in a list."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    async def latest(self) -> Sequence[Change]:
        newest = {change.optimizer: change for change in self.changes if change.kind != "notice"}
        return list(newest.values())

    async def add(self, change: Change, *, after: int | None = None) -> Change | None:
        newest = max((c.id for c in self.changes if c.optimizer == change.optimizer and c.kind != "notice"), default=0)
        if after is not None and after != newest:
            return None
        kept = msgspec.structs.replace(change, id=len(self.changes) + 1, last_receipt=100)
        self.changes.append(kept)
        return kept


def test_one_arm_tells_of_every_optimizer() -> None:
    flags = {"a": Flag(), "b": Flag("shadow"), "c": Flag("off"), "d": Flag("on", 0.0)}
    exposure = Policy(flags).exposure(call())
    assert exposure.arm == "a+ b~ d-"
    assert exposure.modes == {"a": "on", "b": "shadow", "d": "off"}
    assert [side_of(exposure.arm, name) for name in "abcd"] == ["+", "~", "", "-"]
    assert side_of("holdout", "a") == ""
    assert Policy({"c": Flag("off")}).arm(call()) == "none"


def test_in_the_holdout_everything_is_off() -> None:
    policy = Policy({"a": Flag()}, holdout=1.0)
    assert policy.arm(call()) == "holdout"
    assert policy.mode("a", call()) == "off"


def test_a_call_without_a_session_is_drawn_by_its_own_id() -> None:
    policy = Policy({"a": Flag("on", 0.5)})
    arms = {policy.arm(call("", call_id=f"c{n}")) for n in range(50)}
    assert arms == {"a+", "a-"}
    assert len({policy.arm(call("s", call_id=f"c{n}")) for n in range(50)}) == 1


def test_optimizers_and_the_holdout_are_drawn_independently() -> None:
    """A checksum with salts would give all of them the same draw but for a constant."""
    policy = Policy({"a": Flag("on", 0.5), "b": Flag("on", 0.5)}, holdout=0.5)
    arms = [policy.arm(call(f"s{n}")) for n in range(4000)]
    for arm, share in (("holdout", 0.5), ("a+ b+", 0.125), ("a+ b-", 0.125), ("a- b+", 0.125), ("a- b-", 0.125)):
        assert arms.count(arm) / 4000 == pytest.approx(share, abs=0.03)


def test_what_is_changed_holds_until_it_is_put_back_or_the_file_says_something_new() -> None:
    async def main() -> None:
        kept = Kept()
        policy = Policy({"a": Flag("on", 0.5)}, changes=kept)
        await policy.set("a", by="operator", mode="shadow", reason="odd answers")
        now = policy.in_force("a")
        assert (now.mode, now.share, now.by, now.reason, now.since) == ("shadow", 0.5, "operator", "odd answers", 100)
        assert policy.held("a")

        restarted = Policy({"a": Flag("on", 0.5)}, changes=kept)
        await restarted.load()
        assert restarted.in_force("a").mode == "shadow"

        edited = Policy({"a": Flag("on", 0.8)}, changes=kept)
        await edited.load()
        assert (edited.in_force("a").mode, edited.in_force("a").by) == ("on", "config")

        await policy.reset("a")
        assert (policy.in_force("a").mode, policy.in_force("a").share) == ("on", 0.5)
        assert not policy.held("a")

    asyncio.run(main())


def test_the_operators_word_counts_more_than_the_loops() -> None:
    async def main() -> None:
        kept = Kept()
        policy = Policy({"a": Flag()}, changes=kept)
        assert await policy.set("a", by="loop", mode="shadow", reason="slow") is not None
        assert policy.in_force("a").mode == "shadow"
        await policy.set("a", by="operator", mode="on")
        assert await policy.set("a", by="loop", mode="shadow") is None
        assert policy.in_force("a").mode == "on"

    asyncio.run(main())


def test_the_loop_does_not_undo_what_was_changed_elsewhere_meanwhile() -> None:
    async def main() -> None:
        kept = Kept()
        here, elsewhere = (Policy({"a": Flag()}, changes=kept) for _ in range(2))
        await elsewhere.set("a", by="operator", share=0.25)
        assert await here.set("a", by="loop", mode="shadow") is None
        assert (here.in_force("a").mode, here.in_force("a").share) == ("on", 0.25)  # and now it knows

    asyncio.run(main())


def test_a_notice_changes_nothing() -> None:
    async def main() -> None:
        kept = Kept()
        policy = Policy({"a": Flag()}, changes=kept)
        await policy.set("a", by="operator", mode="on")
        await policy.set("a", by="loop", kind="notice", reason="it does harm")
        assert policy.in_force("a").by == "operator"
        assert kept.changes[-1].kind == "notice"

    asyncio.run(main())


def test_a_roll_out_begins_small() -> None:
    assert Policy({"a": Flag("on", 0.5, rollout=True)}).in_force("a").share == 0.01
    assert Policy({"a": Flag("on", 0.005, rollout=True)}).in_force("a").share == 0.005


def test_what_cannot_be_is_refused() -> None:
    policy = Policy({"a": Flag()})
    with pytest.raises(BadRequest, match=r"1\.5"):
        asyncio.run(policy.set("a", by="operator", share=1.5))
    with pytest.raises(NotFound, match=r"'b'.*There are: a"):
        asyncio.run(policy.set("b", by="operator", mode="off"))


def test_drawing_costs_microseconds() -> None:
    """The gateway asks for every call. Measured at 2 to 5; the bound is for a busy machine."""
    policy = Policy({name: Flag("on", 0.5) for name in "abc"}, holdout=0.05)
    one = call("session-" + "x" * 60)
    assert min(timeit.repeat(lambda: policy.exposure(one), number=200, repeat=5)) / 200 < 30e-6


def test_a_look_that_began_before_a_change_does_not_undo_it() -> None:
    """Reading takes a moment: what was read before this process changed a flag is older than the change."""

    class Slow(Kept):
        def __init__(self) -> None:
            super().__init__()
            self.begun, self.go_on = asyncio.Event(), asyncio.Event()

        async def latest(self) -> Sequence[Change]:
            found = await super().latest()
            self.begun.set()
            await self.go_on.wait()
            return found

    async def main() -> None:
        changes = Slow()
        policy = Policy({"a": Flag("on"), "b": Flag("on")}, changes=changes)
        await policy.set("a", by="operator", mode="off")
        looking = asyncio.create_task(policy.load())
        await changes.begun.wait()
        await policy.set("a", by="operator", mode="shadow")
        await policy.set("b", by="operator", mode="off")
        changes.go_on.set()
        await looking
        assert policy.in_force("a").mode == "shadow"
        assert policy.in_force("b").mode == "off"

    asyncio.run(main())
