"""Which targets a call may be billed at."""

from __future__ import annotations

import msgspec

from pennyweight.call import Rungs, Target
from pennyweight.request import Wire
from pennyweight.routing.ladder import climb, ladder
from pennyweight.testing.backend import make_call


def target(name: str) -> Target:
    return Target(name, "m", Wire.OPENAI_CHAT)


def test_a_call_without_a_cascade_is_billed_at_its_own_target() -> None:
    call = make_call(provider="a")
    assert ladder(call) == (call.target,)
    assert climb(call) == ()


def test_all_rungs_count_once_and_the_strongest_is_asked_first() -> None:
    rungs = Rungs((target("b"), target("c")), target("p"))
    call = msgspec.structs.replace(make_call(provider="a"), rungs=rungs)
    assert ladder(call) == (call.target, target("p"), target("b"), target("c"))
    assert climb(call) == (target("c"), target("b"))
    same = msgspec.structs.replace(call, rungs=Rungs((target("b"),), call.target))
    assert ladder(same) == (call.target, target("b"))
