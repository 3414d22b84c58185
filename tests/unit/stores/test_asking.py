"""What is asked of a store leaves nothing behind when it is stopped before it has begun."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from pennyweight.errors import StoreError
from pennyweight.stores.asking import Asking
from pennyweight.testing.clock import FakeClock


async def work() -> int:
    return 1


def test_a_question_that_is_stopped_before_it_begins_is_closed() -> None:
    async def main() -> None:
        asking = Asking("t", clock=FakeClock(), look=work, on_well=lambda: None, trial_timeout_s=1.0, untried=False)
        waiting = asyncio.create_task(asking.ask(work(), 60.0))
        closing = asyncio.create_task(asking.close(60.0))  # runs before the question's own task does
        with pytest.raises(StoreError, match="stopped"):
            await waiting
        await closing

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [str(one.message) for one in told] == []
