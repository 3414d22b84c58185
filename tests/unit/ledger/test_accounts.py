"""What a call is billed as where it runs, and usage that nobody told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pennyweight.call import Outcome
from pennyweight.ledger.accounts import Account, Accounts, counted
from pennyweight.money import PicoUSD
from pennyweight.prices import open_book
from pennyweight.request import Charge, Done, Operation, Reply, Usage, Wire
from pennyweight.testing.backend import make_call

BODY = b'{"model":"m","messages":[{"role":"system","content":"one two"},{"role":"user","content":"three"}]}'
TOLD = Usage(input_tokens=10, output_tokens=1)
USD = 10**12


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


def outcome(done: Done, *, text: str | None = "four five six", status: int = 200, body: bytes = BODY) -> Outcome:
    call = make_call(body, provider="openai", model="gpt-4o", at=1_760_000_000.0)
    return Outcome(call, done, status, "openai", latency_s=36.0, output_text=None if text is None else lambda: text)


def of(usage: Usage | None, *, complete: bool = True) -> Done:
    charges = (Charge("openai", "gpt-4o", usage, 1.0),) if usage is not None else ()
    return Done(usage, "stop", charges, complete)


def test_usage_that_was_told_stays() -> None:
    made = outcome(of(TOLD))
    assert counted(made, Words()) is made


def test_usage_that_nobody_told_is_counted_and_says_so() -> None:
    done = counted(outcome(of(None)), Words()).done
    assert done.usage == Usage(input_tokens=3, output_tokens=3, counted=True)
    assert [(c.provider, c.model, c.usage, c.at) for c in done.charges] == [
        ("openai", "gpt-4o", done.usage, 1_760_000_000.0)
    ]


def test_a_stream_that_broke_off_counts_what_came_if_that_is_more() -> None:
    done = counted(outcome(of(TOLD, complete=False)), Words()).done
    expected = msgspec.structs.replace(TOLD, output_tokens=3, counted=True)
    assert (done.usage, [charge.usage for charge in done.charges]) == (expected, [expected])
    unchanged = outcome(of(TOLD, complete=False), text="four")
    assert counted(unchanged, Words()) is unchanged


@pytest.mark.parametrize(
    "made",
    [
        outcome(of(None), status=429),
        outcome(of(None), text=None),
        outcome(Done(None, "stop", (Charge("openai", "gpt-4o", TOLD, 1.0),))),
        outcome(of(None), body=b"not json"),
    ],
)
def test_what_cannot_or_need_not_be_counted_is_left_alone(made: Outcome) -> None:
    assert counted(made, Words()) is made


def test_only_generated_answers_are_counted() -> None:
    call = make_call(BODY, operation=Operation.COUNT)
    made = Outcome(call, Done(), 200, "p", output_text=lambda: "text")
    assert counted(made, Words()) is made


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    folder: Path = tmp_path_factory.mktemp("data")
    machines = {"ollama": Account(local=True), "lab": Account(local=True, usd_per_hour=PicoUSD(2 * USD))}
    return Accounts(open_book(folder), machines, Words())


def bill(provider: str, model: str = "gpt-4o") -> Charge:
    return Charge(provider, model, Usage(input_tokens=1_000_000), 1_760_000_000.0)


def test_machines_of_ones_own_cost_nothing_per_token(accounts: Accounts) -> None:
    assert [accounts.cost(bill(name)) for name in ("ollama", "lab")] == [0, 0]
    assert accounts.cost(bill("openai")) == 2_500_000_000_000
    assert accounts.cost(bill("openai", "no-such-model")) is None
    kinds = [accounts.priced(bill(name))[1] for name in ("ollama", "openai")]
    assert kinds == ["local", "priced"]
    assert accounts.priced(bill("openai", "no-such-model")) == (None, "unpriced")


def test_a_machine_by_the_hour_costs_the_time_it_took(accounts: Accounts) -> None:
    usage = Usage(input_tokens=3, output_tokens=3)
    done = Done(usage, "stop", (Charge("lab", "m", usage, 1.0),))
    made = msgspec.structs.replace(outcome(done), call=make_call(BODY, provider="lab"))
    receipt = accounts.receipt(made)
    assert (receipt.cost, receipt.baseline, receipt.pricing) == (USD // 50, USD // 50, "local")  # 36 s of $2 an hour
    free = accounts.receipt(msgspec.structs.replace(made, call=make_call(BODY, provider="ollama"), done=of(None)))
    assert (free.cost, free.pricing) == (0, "local")


def test_a_receipt_of_an_answer_without_usage_is_counted(accounts: Accounts) -> None:
    receipt = accounts.receipt(outcome(of(None)))
    assert receipt.usage is not None
    assert receipt.usage.counted
    assert receipt.cost == 3 * 2_500_000 + 3 * 10_000_000


def test_what_a_reply_came_to_for_a_budget(accounts: Accounts) -> None:
    call = make_call(BODY, provider="openai", model="gpt-4o", at=1_760_000_000.0)
    reply = Reply(200, (), wire=Wire.OPENAI_CHAT, content=b"{}", done=of(None))
    assert accounts.counted(call, reply) is None  # no text to count
    reply.output_text = lambda: "four five six"
    assert accounts.counted(call, reply) == 3 * 2_500_000 + 3 * 10_000_000
    unknown = make_call(BODY, provider="openai", model="no-such-model")
    assert accounts.counted(unknown, reply) is None


def test_a_machine_by_the_hour_does_not_hide_what_a_second_model_was_billed(accounts: Accounts) -> None:
    usage = Usage(input_tokens=3, output_tokens=3)
    elsewhere = bill("openai")
    done = Done(usage, "stop", (elsewhere, Charge("lab", "m", usage, 1.0)))
    receipt = accounts.receipt(msgspec.structs.replace(outcome(done), call=make_call(BODY, provider="lab")))
    assert receipt.cost == USD // 50 + 2_500_000_000_000
