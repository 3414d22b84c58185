"""A real gateway before a real llama-server: a form asked for by a header, and the books of what is loaded."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.e2e.rig import Process
from tests.llama import Llama

CONFIG = """
[providers.llama]
base_url = "{url}/v1"
usd_per_hour = 0.0
[resources]
memory_mb = 4096
servers = ["llama"]
every_s = 0.05
[[optimizers]]
use = "parameters"
[[optimizers.settings.rules]]
max_tokens = 400
[optimizers.settings.templates.label.schema]
type = "object"
properties = {{ label = {{ enum = ["bug", "wish", "question"] }} }}
required = ["label"]
additionalProperties = false
"""


def books(gateway: Process) -> dict[str, Any]:
    answered = gateway.ask("/pennyweight/local", method="GET")
    assert answered.status == 200, answered.body
    found: dict[str, Any] = answered.json()
    return found


def test_forms_and_books_of_a_local_model(llama_server: Llama, tmp_path: Path) -> None:
    body = {"model": "llama/tiny-target", "messages": [{"role": "user", "content": "It crashes"}], "temperature": 0}
    with Process(tmp_path, {}, config=CONFIG.format(url=llama_server.url)) as gateway:
        end = time.monotonic() + 60
        while not books(gateway)["models"]:
            assert time.monotonic() < end, books(gateway)
            time.sleep(0.05)
        for _ in range(2):
            answered = gateway.ask(
                "/v1/chat/completions", json.dumps(body).encode(), headers={"x-pennyweight-template": "label"}
            )
            assert answered.status == 200, answered.body
            said = answered.json()["choices"][0]["message"]["content"]
            assert json.loads(said)["label"] in {"bug", "wish", "question"}
        (model,) = books(gateway)["models"]
        assert (model["model"], model["loaded"], model["known"]) == ("llama/tiny-target", True, "process")
        assert model["slots"] == 2
        assert model["tokens_per_s"] > 0
        assert books(gateway)["servers"] == [{"provider": "llama", "kind": "llama-server", "answers": True}]
