"""Calls that can wait, through the real gateway and a provider of batches on loopback."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.batch_rig import CONFIG, MARK, Asking, Threaded, chat, gateway, messages, until
from tests.e2e.rig import Process
from tests.pace import at_some_pace

from pennyweight.money import Price, cost
from pennyweight.prices import open_book
from pennyweight.request import Usage
from pennyweight.stores.virtual_keys import KeyStore


def price(folder: Path, provider: str, model: str) -> Price:
    found = open_book(folder).price(provider, model, 1_795_000_000.0)
    assert found is not None
    return found


def test_callers_of_two_protocols_are_answered_by_batch_at_half_the_price(tmp_path: Path) -> None:
    with Threaded(0.3) as provider, gateway(tmp_path, provider) as process:
        asking = [Asking(process, "/v1/chat/completions", chat(f"q{n}")) for n in range(3)]
        asking += [Asking(process, "/v1/messages", messages(f"m{n}", stream=n == 1)) for n in range(2)]
        bodies = [one.result().body for one in asking]
        for body, text in zip(bodies, ("q0", "q1", "q2", "m0", "m1"), strict=True):
            assert f"answer to: {text}".encode() in body
        assert len(provider.jobs) == 2
        assert provider.singles == []
        assert all("x-pennyweight-lane" not in headers for headers in provider.headers)
        rows = process.receipts(5)
        assert len(rows) == 5
        for row in rows:
            assert row["tier"] == "batch"
            usage = Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], tier="batch")
            known = price(process.data, row["provider"], row["target_model"])
            assert row["cost_pico"] == cost(usage, known, at=row["at"])
            assert row["baseline_pico"] == cost(usage, known, at=row["at"], tier="standard")
            assert row["saved_pico"] > 0


def test_a_call_of_another_protocol_crosses_into_the_batch(tmp_path: Path) -> None:
    with Threaded(0.2) as provider, gateway(tmp_path, provider) as process:
        body = Asking(process, "/v1/chat/completions", chat("across", model="claude-haiku-4-5")).result().json()
        assert body["choices"][0]["message"]["content"] == "answer to: across"
        (job,) = provider.jobs.values()
        assert job.kind == "anthropic"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_killed_between_sending_and_the_results(path: str, tmp_path: Path) -> None:
    made = chat if path.endswith("completions") else messages
    config = CONFIG.replace("window_s = 0.2", "window_s = 60.0\nsize = 3")  # one batch, as soon as all have asked
    with Threaded(60.0) as provider:
        with gateway(tmp_path, provider, config) as process:
            waiting = [Asking(process, path, made(f"q{n}")) for n in range(3)]
            until(lambda: len(provider.jobs) == 1)
            process.process.kill()
            for one in waiting:
                one.join(60)
        with gateway(tmp_path, provider) as process:
            again = [Asking(process, path, made(f"q{n}")) for n in (2, 0)]
            provider.finish()
            texts = [one.result().body for one in again]
            assert (b"answer to: q2" in texts[0], b"answer to: q0" in texts[1]) == (True, True)
            rows = process.receipts(3)  # of the one that nobody asked for again, too
            assert len(rows) == 3
            assert len(provider.jobs) == 1
            assert [kind for kind, *_ in provider.billed] == ["batch"] * 3
            assert sum(row["input_tokens"] for row in rows) == sum(tokens for *_, tokens in provider.billed)
        with gateway(tmp_path, provider) as process:  # and a third process tells nothing twice
            assert process.ask("/healthz", method="GET").status == 200
            assert len(process.receipts(4, timeout_s=0.5)) == 3


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("came_through", [True, False])
def test_killed_while_it_is_not_known_whether_the_batch_is_there(path: str, came_through: bool, tmp_path: Path) -> None:
    made = chat if path.endswith("completions") else messages
    with Threaded(60.0) as provider:
        if came_through:
            provider.lose_answer = 1
        else:
            provider.lose_request = 1
        creations = lambda: sum(m == "POST" and p.endswith("/batches") for m, p in provider.asked)  # noqa: E731
        with gateway(tmp_path, provider) as process:
            waiting = Asking(process, path, made("once"))
            until(lambda: creations() == 1)
            process.process.kill()
            waiting.join(60)
        with gateway(tmp_path, provider) as process:
            again = Asking(process, path, made("once"))
            until(lambda: len(provider.jobs) == 1 and creations() == (1 if came_through else 2))
            provider.finish()
            assert b"answer to: once" in again.result().body
            assert len(process.receipts(1)) == 1
            assert [kind for kind, *_ in provider.billed] == ["batch"]


def test_off_until_it_is_configured(tmp_path: Path) -> None:
    with Threaded(0.2) as provider, gateway(tmp_path, provider, "") as process:
        answered = process.ask("/v1/chat/completions", chat("now"), MARK)
        assert json.loads(answered.body)["choices"][0]["message"]["content"] == "answer to: now"
        assert (len(provider.singles), provider.jobs) == (1, {})


def test_embeddings_of_several_callers_go_in_few_calls(tmp_path: Path) -> None:
    config = '[lanes]\nembed = ["openai"]\n'
    with Threaded(0.1) as provider, gateway(tmp_path, provider, config) as process:
        body = {"model": "text-embedding-3-small"}
        asking = [Asking(process, "/v1/embeddings", {**body, "input": "x" * n}) for n in range(1, 13)]
        for number, one in enumerate(asking, 1):
            assert [vector["embedding"][0] for vector in one.result().json()["data"]] == [float(number)]
        rows = process.receipts(12)
        assert len(rows) == 12
        assert len(provider.singles) < 12
        assert sum(row["input_tokens"] for row in rows) == sum(tokens for *_, tokens in provider.billed)
        whole = sum(
            cost(Usage(input_tokens=tokens), price(process.data, "openai", body["model"]), at=rows[0]["at"])
            for *_, tokens in provider.billed
        )
        assert sum(row["cost_pico"] for row in rows) == whole


def test_budgets_count_what_a_batch_bills_after_the_deadline(tmp_path: Path) -> None:
    def test(pace: float) -> None:
        with Threaded(0.3) as provider:
            config = CONFIG.replace("margin_s = 1.0", f"margin_s = {0.2 * pace}")
            with gateway(tmp_path / str(pace), provider, config) as process:
                for number in range(6):  # from which it is known how long a batch takes
                    assert Asking(process, "/v1/chat/completions", chat(f"before {number}")).result().status == 200
                key = KeyStore(process.data).add("team", daily_usd="5")
                provider.takes_s = 2.0 * pace
                slow = {**MARK, "x-pennyweight-deadline-s": f"{1.4 * pace}", "authorization": f"Bearer {key}"}
                answered = process.ask("/v1/chat/completions", chat("too slow"), slow)
                assert b"answer to: too slow" in answered.body
                rows = [row for row in process.receipts(8) if row["tenant"] == "team"]
                assert sorted(row["tier"] for row in rows) == ["batch", "standard"]
                whole = sum(row["cost_pico"] for row in rows)
                until(lambda: spent(process) == whole)

    at_some_pace(test)


def spent(process: Process) -> int:
    """What all budgets have counted, in pico-dollars."""
    with closing(sqlite3.connect(process.data / "pennyweight.db", timeout=60)) as connection:
        return int(connection.execute("SELECT coalesce(sum(spent), 0) FROM budget_counters").fetchone()[0])


def test_a_client_that_gives_up_and_tries_again_finds_its_call(tmp_path: Path) -> None:
    with Threaded(60.0) as provider, gateway(tmp_path, provider) as process:
        with pytest.raises(TimeoutError):
            process.ask("/v1/chat/completions", chat("patience"), MARK, timeout_s=1.0)
        again = Asking(process, "/v1/chat/completions", chat("patience"))
        provider.finish()
        assert b"answer to: patience" in again.result().body
        assert len(provider.jobs) == 1
        rows = process.receipts(2)
        assert sorted((row["abandoned"], row["input_tokens"] or 0) for row in rows)[1] == (1, 0)
        assert sum(row["cost_pico"] or 0 for row in rows if not row["abandoned"]) > 0
        assert sum(row["input_tokens"] or 0 for row in rows) == sum(tokens for *_, tokens in provider.billed)


def test_calls_that_can_wait_go_to_the_lanes_target(tmp_path: Path) -> None:
    config = '[lanes]\nmarked = true\ntarget = "openai/gpt-4o-mini"\n'
    with Threaded(0.1) as provider, gateway(tmp_path, provider, config) as process:
        body = chat("sort these", model="gpt-4o")
        assert process.ask("/v1/chat/completions", body, MARK).status == 200
        assert process.ask("/v1/chat/completions", body).status == 200
        assert [single["model"] for single in provider.singles] == ["gpt-4o-mini", "gpt-4o"]
        assert provider.jobs == {}
