"""The llama-server that other tests stand on: what they may ask of it, and that it is killed and comes back."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest
from tests.llama import Llama, own

ASK = [{"role": "user", "content": "Please cancel my reservation for tomorrow."}]


def ask(server: Llama, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {server.key}"}
    request = Request(server.url + path, None if body is None else json.dumps(body).encode(), headers)
    with urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def chat(server: Llama, **more: Any) -> Any:
    body = {"model": server.model, "messages": ASK, "max_tokens": 24, "temperature": 0, **more}
    return ask(server, "/v1/chat/completions", body)


@pytest.mark.parametrize("fixture", ["llama_server", "llama_draft_server"])
def test_it_answers_with_the_probability_of_every_token(request: pytest.FixtureRequest, fixture: str) -> None:
    server: Llama = request.getfixturevalue(fixture)
    answer = chat(server, logprobs=True, top_logprobs=5)
    assert answer["model"] == server.model
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"]
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 5
        assert sum(math.exp(each["logprob"]) for each in token["top_logprobs"]) <= 1.001
        assert token["top_logprobs"][0]["logprob"] == pytest.approx(token["logprob"])  # the likeliest, at temperature 0


def test_the_same_question_has_the_same_answer(llama_server: Llama) -> None:
    first, second = (chat(llama_server)["choices"][0]["message"] for _ in range(2))
    assert first == second


def test_it_streams_to_the_official_client_with_usage_and_probabilities(llama_server: Llama) -> None:
    client = openai.OpenAI(base_url=f"{llama_server.url}/v1", api_key="none")
    with client:
        chunks = list(
            client.chat.completions.create(
                model=llama_server.model,
                messages=ASK,  # type: ignore[arg-type]
                max_tokens=16,
                temperature=0,
                stream=True,
                logprobs=True,
                top_logprobs=2,
                stream_options={"include_usage": True},
            )
        )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == chat(llama_server, max_tokens=16)["choices"][0]["message"]["content"]
    assert chunks[-1].usage is not None
    assert any(chunk.choices and chunk.choices[0].logprobs for chunk in chunks)


def test_a_schema_holds(llama_server: Llama) -> None:
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["refund", "cancel", "other"]}, "sure": {"type": "boolean"}},
        "required": ["label", "sure"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema, "strict": True}}
    answer = chat(llama_server, response_format=form, max_tokens=64)
    value = json.loads(answer["choices"][0]["message"]["content"])
    assert value["label"] in {"refund", "cancel", "other"}
    assert isinstance(value["sure"], bool)


def test_a_grammar_holds(llama_server: Llama) -> None:
    answer = chat(llama_server, grammar='root ::= "yes" | "no"')
    assert answer["choices"][0]["message"]["content"] in {"yes", "no"}


def test_it_calls_a_tool(llama_server: Llama) -> None:
    parameters = {"type": "object", "properties": {"user_id": {"enum": ["a1", "b2"]}}, "required": ["user_id"]}
    function = {"name": "get_user_details", "description": "Get the details of a user.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    asked = [{"role": "user", "content": "My user ID is a1."}]
    answer = chat(llama_server, messages=asked, tools=tools, tool_choice="required", max_tokens=128)
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    made = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (made["name"], json.loads(made["arguments"])) == ("get_user_details", {"user_id": "a1"})


def test_it_tells_of_itself(llama_server: Llama) -> None:
    assert ask(llama_server, "/health") == {"status": "ok"}
    assert len(ask(llama_server, "/slots")) == llama_server.slots == 2
    props = ask(llama_server, "/props")
    assert props["total_slots"] == 2
    assert props["model_path"].endswith("tiny-target-f16.gguf")
    assert ask(llama_server, "/v1/models")["data"][0]["id"] == "tiny-target"


def test_it_gives_vectors(llama_embedding_server: Llama) -> None:
    body = {"model": llama_embedding_server.model, "input": ["one text", "another"]}
    data = ask(llama_embedding_server, "/v1/embeddings", body)["data"]
    assert [len(each["embedding"]) for each in data] == [128, 128]


@pytest.fixture
def another() -> Iterator[Llama]:
    yield from own(key="a-key")


def test_one_of_ones_own_is_killed_and_comes_back_at_the_same_address(another: Llama) -> None:
    with pytest.raises(HTTPError, match="401"):
        urlopen(Request(f"{another.url}/v1/chat/completions", b"{}"), timeout=60)
    assert chat(another)["choices"]
    another.kill()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", another.port), timeout=5):
        pass
    another.start()
    began = time.monotonic()
    assert chat(another)["choices"]
    assert time.monotonic() - began < 60
