"""The page for Prometheus."""

from __future__ import annotations

import re

import msgspec

from pennyweight.call import Outcome, Receipt, Step, Verdict
from pennyweight.gateway.metrics import Metrics
from pennyweight.ledger.receipts import make
from pennyweight.request import Charge, Done, Usage
from pennyweight.stores.level import TierStats
from pennyweight.testing.backend import make_call

LINE = re.compile(r'^(?:# (?:HELP|TYPE) \S+ .+|[a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? [-+0-9.einf]+)$')


class Book:
    def priced(self, charge: Charge) -> tuple[int, str]:
        return 2_000_000_000_000, "priced"


def finished(**changes: object) -> Receipt:
    usage = Usage(input_tokens=100, cache_read_tokens=60, output_tokens=5)
    charge = Charge("p", "m", usage, 1.0)
    call = make_call(session="secret-session", tenant="secret-tenant")
    made = make(Outcome(call, Done(usage, "stop", (charge,)), 200, "p", added_s=0.003), Book())  # type: ignore[arg-type]
    return msgspec.structs.replace(made, **changes)


def sample(text: str, line: str) -> str:
    return next(found.rpartition(" ")[2] for found in text.splitlines() if found.startswith(line + " "))


def test_sums_over_receipts() -> None:
    metrics = Metrics()
    trail = (Step("cache", Verdict.ACCEPTED), Step("trim", Verdict.TOO_RISKY))
    for receipt in (finished(), finished(status=503, usage=None, cost=None, baseline=None), finished(trail=trail)):
        metrics.watch([receipt])
    text = metrics.text({"pennyweight_receipts_queued": 3})
    assert sample(text, 'pennyweight_calls_total{wire="openai_chat",provider="p",status="2xx"}') == "2"
    assert sample(text, 'pennyweight_calls_total{wire="openai_chat",provider="p",status="5xx"}') == "1"
    kinds = ("input", "cached", "output")
    assert [sample(text, f'pennyweight_tokens_total{{provider="p",kind="{k}"}}') for k in kinds] == ["200", "120", "10"]
    assert sample(text, 'pennyweight_usd_total{provider="p",kind="cost"}') == "4.0"
    assert sample(text, 'pennyweight_verdicts_total{optimizer="trim",verdict="too_risky"}') == "1"
    assert sample(text, "pennyweight_receipts_queued") == "3"


def test_the_histogram_is_cumulative() -> None:
    metrics = Metrics()
    for added_s in (0.0004, 0.0005, 0.003, 7.0):
        metrics.watch([finished(added_s=added_s)])
    text = metrics.text({})
    buckets = [int(n) for n in re.findall(r"pennyweight_added_seconds_bucket\{le=\"[^\"]+\"\} (\d+)", text)]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (2, 4)
    assert 'le="+Inf"' in text
    assert sample(text, "pennyweight_added_seconds_count") == "4"
    assert float(sample(text, "pennyweight_added_seconds_sum")) == 0.0004 + 0.0005 + 0.003 + 7.0


def test_every_line_is_prometheus_text_and_no_label_names_a_person() -> None:
    metrics = Metrics()
    metrics.watch([finished(provider='od"d\\\nname')])
    text = metrics.text({"pennyweight_receipts_lost": 0})
    assert text.endswith("\n")
    for line in text.splitlines():
        assert LINE.match(line), line
    assert "secret" not in text


def test_an_empty_page_is_a_page() -> None:
    assert sample(Metrics().text({}), "pennyweight_added_seconds_count") == "0"


def test_cache_tiers_tell_what_they_did() -> None:
    well = TierStats("memory", False, 5, 3, 0, 0, 0, 7, 0, 0, 0, 0, 8, 0.25)
    down = TierStats("redis", True, 1, 2, 4, 3, 9, 6, 2, 1, 1, 0, 3, 0.5)
    text = Metrics().text({}, [well, down])
    assert sample(text, 'pennyweight_cache_tier_total{tier="memory",event="hits"}') == "5"
    assert sample(text, 'pennyweight_cache_tier_total{tier="redis",event="skipped"}') == "9"
    assert sample(text, 'pennyweight_cache_tier_read_seconds_total{tier="redis"}') == "0.5"
    assert [sample(text, f'pennyweight_cache_tier_up{{tier="{tier}"}}') for tier in ("memory", "redis")] == ["1", "0"]
    for line in text.splitlines():
        assert LINE.match(line), line
