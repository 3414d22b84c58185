"""The provider of batches that tests stand on, driven by the providers' own SDKs: it speaks as they expect."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.batch_rig import Threaded

from pennyweight.testing.batches import BatchProvider

TEXTS = ("one", "[refuse] two", "[expire] three")


def ended(look: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 60
    while not done(found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def provider() -> Any:
    with Threaded(0.1) as provider:
        yield provider


def test_openais_sdk(provider: BatchProvider) -> None:
    client = openai.OpenAI(base_url=f"{provider.url}/v1", api_key="none")
    body = {"model": "gpt-4o-mini", "messages": []}
    lines = [
        {
            "custom_id": f"id-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {**body, "messages": [{"role": "user", "content": text}]},
        }
        for n, text in enumerate(TEXTS)
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("requests.jsonl", io.BytesIO(content)), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"pennyweight": "x"}
    )
    assert made.status == "in_progress"
    batch = ended(lambda: client.batches.retrieve(made.id), lambda batch: batch.status == "completed")
    assert [one.metadata for one in client.batches.list(limit=5)] == [{"pennyweight": "x"}]
    answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    faults = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert answers[0]["response"]["body"]["choices"][0]["message"]["content"] == "answer to: one"
    assert faults[0]["response"]["status_code"] == 400
    assert faults[1]["error"]["code"] == "batch_expired"
    assert client.files.delete(file.id).deleted


def test_anthropics_sdk(provider: BatchProvider) -> None:
    client = anthropic.Anthropic(base_url=provider.url, api_key="none")
    made = client.messages.batches.create(
        requests=[
            {
                "custom_id": f"id-{n}",
                "params": {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 10,
                    "messages": [{"role": "user", "content": text}],
                },
            }
            for n, text in enumerate(TEXTS)
        ]
    )
    assert (made.processing_status, made.request_counts.processing) == ("in_progress", 3)
    batch = ended(lambda: client.messages.batches.retrieve(made.id), lambda batch: batch.processing_status == "ended")
    assert (batch.request_counts.succeeded, batch.request_counts.errored, batch.request_counts.expired) == (1, 1, 1)
    results = {one.custom_id: one.result for one in client.messages.batches.results(made.id)}
    assert [results[f"id-{n}"].type for n in range(3)] == ["succeeded", "errored", "expired"]
    assert results["id-0"].message.content[0].text == "answer to: one"
    assert results["id-1"].error.error.type == "invalid_request_error"
    assert [one.id for one in client.messages.batches.list()] == [made.id]
    assert client.messages.batches.delete(made.id).id == made.id
