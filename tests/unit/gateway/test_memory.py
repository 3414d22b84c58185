"""What was freed stays with a gateway's process, within bounds; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pennyweight.gateway.memory import HUGE_BYTES, give_back, keep_freed, stock_up

# Blocks of 1 MB, one after the other: does each take its pages from the system again? Prints page faults a block.
CHURN = """
import resource, sys
from pennyweight.gateway.memory import keep_freed
print(keep_freed(dict(pair.split("=", 1) for pair in sys.argv[1:])))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def churn():
    bytes(1_000_000), b"x" * 900_000, bytes(1_000_000)
churn()
before = faults()
for _ in range(50):
    churn()
print((faults() - before) / 50)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
small = resident()
whole = b"x" * 50_000_000
pieces = [b"x" * 100_000 for _ in range(500)]
del whole, pieces  # at once: a buffer made before would lie at the end of the heap and hold what is below
kept = resident()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - small > 95)
print(kept - small)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")


def churned(*environment: str) -> tuple[bool, float, float]:
    """Whether anything was set, page faults a round of blocks, and megabytes kept of 100 that were freed."""
    done = subprocess.run(
        [sys.executable, "-c", CHURN, *environment], capture_output=True, text=True, check=True, timeout=60
    )
    was_set, faults, grown, kept = done.stdout.split()
    assert grown == "True"
    return was_set == "True", float(faults), float(kept)


@linux
def test_blocks_of_a_large_body_are_not_fetched_again_and_a_huge_one_goes_back() -> None:
    was_set, faults, kept_mb = churned()
    if not was_set:
        pytest.skip("the C library is not glibc")
    assert faults < 20  # a round touches some 700 pages
    assert kept_mb < 40


@linux
@pytest.mark.parametrize("told", ["MALLOC_TRIM_THRESHOLD_=131072", "MALLOC_ARENA_MAX=2"])
def test_what_the_operator_says_of_malloc_stands(told: str) -> None:
    assert churned(told)[0] is False


def test_the_operators_tunables_stand() -> None:
    assert not keep_freed({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"})


def test_nothing_is_done_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed({})
    give_back()
    stock_up(HUGE_BYTES - 1)


@linux
def test_pages_between_others_in_use_are_given_back() -> None:
    code = """
import resource
from pennyweight.gateway.memory import give_back, keep_freed
keep_freed({})
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
before = resident()
pieces = [b"x" * 100_000 for _ in range(500)]
last = b"x" * 1_000
del pieces
held = resident() - before
give_back()
print(held, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    held, left = map(float, done.stdout.split())
    if held < 40:
        pytest.skip("the C library is not glibc")
    assert left < 5


@linux
def test_what_is_at_hand_is_not_fetched_again() -> None:
    code = """
import resource
from pennyweight.gateway.memory import HUGE_BYTES, keep_freed, stock_up
print(int(keep_freed({})))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
kept = []
for stocked in (True, False):
    if stocked:
        stock_up(1_400_000)
    before = faults()
    kept += [bytearray(650_000), bytearray(650_000)]
    print(faults() - before)
before = resident()
for _ in range(50):
    stock_up(1_400_000)
stock_up(HUGE_BYTES)
print(resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    was_set, stocked, bare, grown = map(float, done.stdout.split())
    if not was_set or stocked > bare / 2:
        pytest.skip("the C library is not glibc, or the kernel is older than 5.14")
    assert stocked < 20 < 200 < bare
    assert grown < 3
