"""Whatever is sent and billed: the doctor never raises, and claims no token that was not billed above a hit."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Identity, Target
from pennyweight.ledger.doctor import Doctor, Miss, Sent, gather, grouped, pricing, prompt_cost, sent
from pennyweight.ledger.doctor.finding import Finding
from pennyweight.ledger.doctor.shown import as_object, page
from pennyweight.prefix import Blocks
from pennyweight.prices import open_book
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Request, Usage, Wire

BOOK = open_book()
RULES = CacheBook().rules
RATES = pricing(BOOK.price)
MARK = {"type": "ephemeral"}

words = st.sampled_from(["alpha ", "beta ", "2026-11-20 ", "2026-11-21 ", "line\n", "7 ", "8 ", "é "])
texts = st.builds(lambda parts, times: "".join(parts) * times, st.lists(words, max_size=5), st.sampled_from([1, 400]))
marks = st.sampled_from([None, MARK, {"type": "ephemeral", "ttl": "1h"}])
blocks = st.builds(
    lambda text, mark: {"type": "text", "text": text} | ({"cache_control": mark} if mark else {}), texts, marks
)
contents = st.one_of(texts, st.lists(blocks, max_size=4), st.none(), st.just([{"type": "image", "source": {}}]))
messages = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content}, st.sampled_from(["user", "assistant"]), contents
    ),
    max_size=5,
)
tools = st.lists(
    st.builds(lambda name, text: {"name": name, "description": text}, st.sampled_from(["a", "b", "c"]), texts),
    max_size=3,
)
counts = st.sampled_from([0, 1, 900, 2_000, 5_000, 50_000])


@st.composite
def requests(draw: st.DrawFn) -> tuple[Wire, dict[str, Any], Usage, float]:
    wire = draw(st.sampled_from([Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT]))
    claude = st.sampled_from(["claude-sonnet-4-6", "claude-haiku-4-5"])
    model = draw(claude if wire is Wire.ANTHROPIC_MESSAGES else st.sampled_from(["gpt-5.5", "gpt-5.6", "nobody-knows"]))
    body: dict[str, Any] = {"model": model, "messages": draw(messages), "tools": draw(tools)}
    if wire is Wire.ANTHROPIC_MESSAGES:
        body |= {"system": draw(contents), "thinking": draw(st.sampled_from([None, {"type": "adaptive"}]))}
    usage = Usage(draw(counts), draw(counts), draw(counts), draw(counts))  # contradictions among them
    return wire, body, usage, draw(st.sampled_from([-100.0, 0.0, 5.0, 400.0, 4_000.0]))


def call(number: int, at: float, wire: Wire, body: dict[str, Any], usage: Usage, blocks: Blocks, session: str) -> Sent:
    request = Request(wire, msgspec.json.encode(body))
    provider = "anthropic" if wire is Wire.ANTHROPIC_MESSAGES else "openai"
    target = Target(provider, str(body["model"]), wire)
    chain = blocks.chain(request)
    return sent(
        request,
        call_id=str(number),
        at=at,
        identity=Identity(session=session),
        target=target,
        usage=usage,
        chain=chain,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), min_size=2, max_size=6), st.sampled_from(["s", ""]), st.booleans())
def test_nothing_is_claimed_that_was_not_billed(
    given_calls: list[tuple[Wire, dict[str, Any], Usage, float]], session: str, hold: bool
) -> None:
    doctor = Doctor(RULES, RATES, held_bytes=1 << 20 if hold else 0)
    blocks, at = Blocks(), 1e9
    findings: dict[tuple[str, ...], Finding] = {}
    for number, (wire, body, usage, gap) in enumerate(given_calls):
        at += gap
        one = call(number, at, wire, body, usage, blocks, session)
        missed: tuple[Miss, ...] = doctor.see(one)
        assert sum(miss.tokens for miss in missed) <= max(usage.input_tokens - usage.cache_read_tokens, 0) + len(missed)
        rates = RATES(one)
        if rates is not None:
            assert sum(miss.cost or 0 for miss in missed) <= prompt_cost(usage, rates)
        gather(findings, one, missed)
    groups = grouped(findings.values())
    msgspec.json.encode([as_object(group, text=True) for group in groups])
    assert page(groups, about="<b>", text=True).count("<section") == len(groups)
