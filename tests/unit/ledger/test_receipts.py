"""What a call cost and would have cost: every sort of end that a call can come to."""

from __future__ import annotations

import msgspec
import pytest

from pennyweight.call import Call, Credential, Identity, Outcome, Receipt, Step, Target, Verdict
from pennyweight.ledger.receipts import Pricing, make
from pennyweight.request import Charge, Done, Operation, Request, Usage, Wire

HAIKU = Target("anthropic", "haiku", Wire.ANTHROPIC_MESSAGES)
LLAMA = Target("ollama", "llama", Wire.OLLAMA)
NEW = Target("anthropic", "too-new", Wire.ANTHROPIC_MESSAGES)


class TokenBook:
    """haiku: 1 pico an input token, 5 an output token; llama is local; nothing else has a price."""

    def priced(self, charge: Charge) -> tuple[int | None, Pricing]:
        if charge.model == "llama":
            return 0, "local"
        if charge.model != "haiku":
            return None, "unpriced"
        return charge.usage.input_tokens + 5 * charge.usage.output_tokens, "priced"


def finished(
    done: Done,
    *,
    trail: tuple[Step, ...] = (),
    target: Target = HAIKU,
    operation: Operation = Operation.GENERATE,
    method: str = "POST",
    raw: bytes = b'{"model":"sonnet"}',
    credential: Credential | None = None,
    **facts,
) -> Receipt:
    request = Request(Wire.ANTHROPIC_MESSAGES, raw, operation=operation, method=method)
    call = Call(
        "c", Identity("acme", "s", "main", "t", "k", "title"), request, request, target, 5.0,
        trail=trail, credential=credential, facts={"arm": "holdout"},
    )  # fmt: skip
    return make(Outcome(call, done, **{"status": 200, "answered_by": target.provider, **facts}), TokenBook())


def billed(input_tokens: int, output_tokens: int, model: str = "haiku") -> Done:
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return Done(usage, "end_turn", charges=(Charge("anthropic", model, usage, 5.0),))


def money(receipt: Receipt) -> tuple[int | None, int | None, str, str]:
    return receipt.cost, receipt.baseline, receipt.pricing, receipt.basis


ACCEPTED = Step("layout", Verdict.ACCEPTED, saving=40, spent=3)


def test_an_untouched_call_costs_what_it_would_have() -> None:
    assert money(finished(billed(100, 10))) == (150, 150, "priced", "")


def test_an_accepted_rewrite_earns_its_estimate_less_all_that_optimizing_cost() -> None:
    trail = (Step("router", Verdict.TOO_RISKY, saving=1000, spent=7), ACCEPTED, Step("cache", Verdict.SHADOWED, 500))
    receipt = finished(billed(100, 10), trail=trail)
    assert money(receipt) == (160, 190, "priced", "estimated")
    assert receipt.spent == 10
    assert receipt.baseline - receipt.cost == 40 - 10


def test_a_replayed_answer_is_computed_from_its_usage_not_from_what_the_cache_named() -> None:
    done = Done(Usage(input_tokens=100, output_tokens=10), "end_turn")
    step = Step("exact_cache", Verdict.ACCEPTED, saving=999, spent=1)
    receipt = finished(done, trail=(step,), answered_by="exact_cache")
    assert money(receipt) == (1, 150, "priced", "computed")
    assert receipt.replayed
    assert receipt.usage == done.usage


def test_a_replayed_answer_after_a_rewrite_is_in_part_an_estimate() -> None:
    done = Done(Usage(input_tokens=100, output_tokens=10))
    trail = (ACCEPTED, Step("exact_cache", Verdict.ACCEPTED, saving=999))
    assert money(finished(done, trail=trail, answered_by="exact_cache")) == (3, 190, "priced", "estimated")


def test_a_fused_follower_pays_nothing_and_saved_its_answer() -> None:
    receipt = finished(Done(Usage(input_tokens=100, output_tokens=10)))
    assert money(receipt) == (0, 150, "priced", "computed")
    assert receipt.replayed


def test_a_cascade_pays_every_rung() -> None:
    first, second = Usage(input_tokens=10, output_tokens=1), Usage(input_tokens=20, cache_read_tokens=5, counted=True)
    charges = (Charge("anthropic", "haiku", first, 1.0), Charge("other", "haiku", second, 2.0))
    receipt = finished(Done(second, charges=charges))
    assert receipt.cost == 15 + 20
    assert receipt.usage == Usage(input_tokens=30, cache_read_tokens=5, output_tokens=1, counted=True)
    assert (receipt.provider, receipt.model, receipt.target_model) == ("other", "sonnet", "haiku")


def test_one_charge_without_a_price_makes_the_call_unpriced() -> None:
    usage = Usage(input_tokens=10)
    charges = (Charge("anthropic", "haiku", usage, 1.0), Charge("anthropic", "too-new", usage, 1.0))
    receipt = finished(Done(usage, charges=charges), trail=(ACCEPTED,))
    assert money(receipt) == (None, None, "unpriced", "")
    assert receipt.usage is not None
    assert receipt.usage.input_tokens == 20


def test_a_replayed_answer_of_a_model_without_a_price_is_unpriced() -> None:
    assert money(finished(Done(Usage(input_tokens=1)), target=NEW)) == (None, None, "unpriced", "")


def test_an_answer_whose_usage_nobody_told_is_unpriced_never_free() -> None:
    assert money(finished(Done())) == (None, None, "unpriced", "")
    assert money(finished(Done(complete=False), abandoned=True)) == (None, None, "unpriced", "")


def test_a_failure_that_nobody_bills_costs_nothing_and_saves_nothing() -> None:
    receipt = finished(Done(complete=False), status=529, error="Overloaded", target=NEW)
    assert money(receipt) == (0, 0, "priced", "")
    assert (receipt.status, receipt.error) == (529, "Overloaded")
    receipt = finished(Done(complete=False), status=529, trail=(ACCEPTED,))
    assert (receipt.cost, receipt.baseline) == (3, 0)


def test_a_stream_that_was_cut_is_billed_for_what_came() -> None:
    done = msgspec.structs.replace(billed(100, 2), complete=False)
    assert money(finished(done, abandoned=True)) == (110, 110, "priced", "")


def test_a_subscription_is_told_in_tokens() -> None:
    plan = Credential("authorization", "Bearer secret-token", subscription=True)
    receipt = finished(billed(100, 10), credential=plan)
    assert money(receipt) == (None, None, "subscription", "")
    assert receipt.usage == Usage(input_tokens=100, output_tokens=10)
    assert b"secret-token" not in msgspec.json.encode(receipt)


def test_a_local_model_is_local_with_or_without_usage() -> None:
    usage = Usage(input_tokens=9)
    local = Done(usage, charges=(Charge("ollama", "llama", usage, 1.0),))
    assert money(finished(local, target=LLAMA)) == (0, 0, "local", "")
    assert money(finished(Done(), target=LLAMA)) == (0, 0, "local", "")


@pytest.mark.parametrize(
    ("operation", "method", "expected"),
    [
        (Operation.COUNT, "POST", (0, 0, "free", "")),
        (Operation.OTHER, "GET", (0, 0, "free", "")),
        (Operation.OTHER, "POST", (None, None, "unpriced", "")),
    ],
)
def test_counting_and_listing_are_free_but_other_posts_are_not(operation, method, expected) -> None:
    assert money(finished(Done(), operation=operation, method=method, raw=b"")) == expected


def test_counted_tokens_are_not_a_saving() -> None:
    receipt = finished(Done(Usage(input_tokens=500)), operation=Operation.COUNT)
    assert money(receipt) == (0, 0, "free", "")


def test_absurd_usage_is_not_believed() -> None:
    receipt = finished(billed(10**18, 0))
    assert money(receipt) == (None, None, "unpriced", "")
    assert receipt.usage is None


def test_a_body_that_cannot_be_read_still_has_a_receipt() -> None:
    assert finished(Done(), raw=b"{broken", status=400).model == "haiku"


def test_who_asked_is_on_the_receipt() -> None:
    receipt = finished(billed(1, 1), ttft_s=0.25, latency_s=2.0, added_s=0.001)
    asked = (receipt.tenant, receipt.session, receipt.agent, receipt.task, receipt.skill, receipt.housekeeping)
    assert asked == ("acme", "s", "main", "t", "k", "title")
    assert (receipt.at, receipt.arm, receipt.wire) == (5.0, "holdout", "anthropic_messages")
    assert (receipt.ttft_s, receipt.latency_s, receipt.added_s) == (0.25, 2.0, 0.001)


# --- the baseline that the economy computes -------------------------------------------------------------------


def rewritten(untouched: Usage, *trail: Step, **facts) -> Receipt:
    return finished(billed(100, 10), trail=trail, untouched=untouched, **facts)


def test_a_rewritten_call_is_compared_with_the_usage_it_would_have_had() -> None:
    receipt = rewritten(Usage(input_tokens=180, output_tokens=10), Step("a", Verdict.ACCEPTED, saving=5, spent=2))
    assert money(receipt) == (152, 230, "priced", "computed")


def test_a_change_that_lost_money_says_so() -> None:
    receipt = rewritten(Usage(input_tokens=60, output_tokens=10), Step("a", Verdict.ACCEPTED, saving=5))
    assert money(receipt) == (150, 110, "priced", "computed")
    assert receipt.trail[0].saving == -40


@pytest.mark.parametrize("savings", [(30, 10), (1, 1), (0, 0), (5, -5), (-3, -4), (0, 7), (10**15, 1)])
@pytest.mark.parametrize("would_be", [180, 60, 100, 101])
def test_what_optimizers_saved_adds_up_to_the_last_pico_dollar(savings: tuple[int, ...], would_be: int) -> None:
    trail = (
        Step("watches", Verdict.SHADOWED, saving=77),
        *(Step(str(n), Verdict.ACCEPTED, saving=saving, spent=n) for n, saving in enumerate(savings)),
        Step("queued", Verdict.QUEUED, saving=9, spent=1),
    )
    receipt = rewritten(Usage(input_tokens=would_be, output_tokens=10), *trail)
    assert receipt.baseline is not None
    assert receipt.cost is not None
    accepted = [step for step in receipt.trail if step.verdict is Verdict.ACCEPTED]
    assert sum(step.saving for step in accepted) - receipt.spent == receipt.baseline - receipt.cost
    assert [step.saving for step in receipt.trail if step.verdict is not Verdict.ACCEPTED] == [77, 9]
    assert receipt.basis == "computed"


def test_shares_follow_what_each_was_foreseen_to_save() -> None:
    trail = (Step("a", Verdict.ACCEPTED, saving=30), Step("b", Verdict.ACCEPTED, saving=10))
    receipt = rewritten(Usage(input_tokens=180, output_tokens=10), *trail)
    assert [step.saving for step in receipt.trail] == [60, 20]


def test_a_plan_is_told_no_dollars_by_optimizers_either() -> None:
    plan = Credential("authorization", "Bearer x", subscription=True)
    step = Step("a", Verdict.ACCEPTED, saving=30)
    receipt = rewritten(Usage(input_tokens=180, output_tokens=10), step, credential=plan)
    assert (receipt.cost, receipt.baseline) == (None, None)
    assert receipt.trail[0].saving == 0


@pytest.mark.parametrize("trail", [(), (Step("a", Verdict.NOT_WORTH_IT, saving=9),), (ACCEPTED,)])
@pytest.mark.parametrize("untouched", [None, Usage(input_tokens=180, output_tokens=10)])
def test_there_is_no_saving_without_a_word_for_how_it_is_known(
    trail: tuple[Step, ...], untouched: Usage | None
) -> None:
    receipt = finished(billed(100, 10), trail=trail, untouched=untouched)
    assert receipt.baseline is not None
    assert receipt.cost is not None
    assert receipt.basis or receipt.baseline + receipt.spent == receipt.cost
