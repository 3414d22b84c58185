"""Whatever turns are hard, however long pauses are: a routed session costs at no time more than its reference alone."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.gate_rig import CLAUDE, MARK, words
from tests.unit.test_routed_money import CHEAP, PRICES, Gateway

from pennyweight.money import Price, Rates

USD = 1_000_000


def cheap(input_usd: float, output_usd: float) -> Price:
    plain = round(input_usd * USD)
    return Price(
        Rates(
            plain,
            round(output_usd * USD),
            cache_read=plain // 10,
            cache_write_5m=plain * 5 // 4,
            cache_write_1h=plain * 2,
        )
    )


TURN = st.tuples(
    st.booleans(),  # the cheap model can do it
    st.integers(1, 4),  # calls
    st.sampled_from([5, 300, 1_500, 6_000]),  # tokens of what is said
    st.sampled_from([2.0, 40.0, 150.0, 290.0, 299.0, 301.0, 900.0]),  # seconds before it
)


@given(turns=st.lists(TURN, min_size=1, max_size=7), price=st.sampled_from([(0.05, 0.4), (0.15, 0.75), (0.24, 14.0)]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_session_costs_more_than_its_reference_at_any_time(
    turns: list[tuple[bool, int, int, float]], price: tuple[float, float]
) -> None:
    easy = False

    def where(_call: Any) -> Any:
        held = gateway.routes.held
        if held is not None and held.locked:
            gateway.routes.fields["forced"] = True
            return held.target
        gateway.routes.fields["forced"] = False
        return CHEAP if easy else None

    gateway = Gateway(where, prices={**PRICES, CHEAP.model: cheap(*price)})
    messages: list[dict[str, Any]] = []
    spent = alone = 0
    for number, (within, calls, size, pause_s) in enumerate(turns):
        easy = within
        messages.append({"role": "user", "content": [{"type": "text", "text": words(size, f"u{number}-")}]})
        went = set()
        for step in range(calls):
            sent = [*messages[:-1], _marked(messages[-1])]
            receipt, without = gateway.ask(sent, after_s=pause_s if step == 0 else 8.0)
            went.add(receipt.target_model)
            spent, alone = spent + receipt.cost, alone + without
            if step < calls - 1:
                call = {"type": "tool_use", "id": f"t{number}-{step}", "name": "f", "input": {}}
                result = {"type": "tool_result", "tool_use_id": call["id"], "content": words(size, f"r{step}-")}
                messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        messages.append({"role": "assistant", "content": f"answer {number}"})
        assert spent <= alone
        assert len(went) == 1, "inside a tool loop nothing changes"
        assert within or went == {CLAUDE}, "a hard turn is the reference's"


def _marked(message: dict[str, Any]) -> dict[str, Any]:
    *parts, last = message["content"]
    return {**message, "content": [*parts, {**last, "cache_control": MARK}]}
