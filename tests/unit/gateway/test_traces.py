"""One span per call, as a collector receives it over OTLP, and none of the call's words in it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs pip install 'pennyweight[otel]'")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pennyweight.config import Config, load
from pennyweight.errors import ConfigError
from pennyweight.gateway.run import open_gateway
from pennyweight.testing.http import Exchange, LoopbackServer, post

ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "secret-answer"}}],
    "usage": {
        "prompt_tokens": 1_000,
        "completion_tokens": 200,
        "prompt_tokens_details": {"cached_tokens": 600},
        "completion_tokens_details": {"reasoning_tokens": 50},
    },
}
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "secret-prompt"}]}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """An OTLP collector that keeps the spans, and a provider that answers or refuses."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self.raw = b""

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.path == "/v1/traces":
            self.raw += exchange.body
            for resource in ExportTraceServiceRequest.FromString(exchange.body).resource_spans:
                self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            await exchange.send(200, b"", headers={"content-type": "application/x-protobuf"})
        elif b"refuse" in exchange.body:
            await exchange.send(400, b'{"error":{"message":"no"}}', headers={"content-type": "application/json"})
        else:
            await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})


def config(tmp_path: Path, *lines: str, **env: str) -> Config:
    file = tmp_path / "pennyweight.toml"
    file.write_text("\n".join(("server.port = 0", "[otel]", *lines)))
    return load(file, {"PENNYWEIGHT_DATA": str(tmp_path / "data"), "OPENAI_API_KEY": "k", **env})


def traced(tmp_path: Path, *calls: tuple[Mapping[str, Any], Mapping[str, str]], in_env: bool = False) -> Collector:
    collector = Collector()

    async def main() -> None:
        async with LoopbackServer(collector) as server:
            lines = ["enabled = true"] if in_env else ["enabled = true", f'endpoint = "{server.url}/"']
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": server.url} if in_env else {}
            settings = config(tmp_path, *lines, OPENAI_BASE_URL=f"{server.url}/v1", **env)
            async with open_gateway(lambda: settings) as gateway:
                for body, headers in calls:
                    await post(gateway.url, "/v1/chat/completions", headers, json.dumps(body).encode())

    asyncio.run(main())
    return collector


def told(span: Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in span.attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        found[attribute.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


def test_a_call_is_one_span_under_the_conventions_names(tmp_path: Path) -> None:
    headers = {"x-pennyweight-session": "s-1", "x-pennyweight-agent": "coder"}
    collector = traced(tmp_path, (BODY, headers))
    (span,) = collector.spans
    assert span.name == "chat gpt-4o"
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert span.parent_span_id == b""
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    found = told(span)
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.conversation.id": "s-1",
        "gen_ai.agent.name": "coder",
        "gen_ai.usage.input_tokens": 1_000,
        "gen_ai.usage.output_tokens": 200,
        "gen_ai.usage.cache_read.input_tokens": 600,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 50,
        "http.response.status_code": 200,
        "pennyweight.pricing": "priced",
        "pennyweight.tenant": "local",
        "pennyweight.replayed": False,
    }
    assert {name: found.get(name) for name in expected} == expected
    # $2.50 in, $1.25 cached, $10 out per million tokens
    assert found["pennyweight.cost_usd"] == pytest.approx(400 * 2.5e-6 + 600 * 1.25e-6 + 200 * 10e-6)
    assert "error.type" not in found
    assert collector.resources[0]["service.name"] == "pennyweight"


def test_no_word_of_the_call_leaves(tmp_path: Path) -> None:
    collector = traced(tmp_path, (BODY, {"authorization": "Bearer secret-key"}))
    assert collector.spans
    assert b"secret" not in collector.raw


def test_a_refusal_is_an_error(tmp_path: Path) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": "refuse"}]}
    (span,) = traced(tmp_path, (body, {})).spans
    found = told(span)
    assert (found["error.type"], found["http.response.status_code"]) == ("400", 400)
    assert "gen_ai.usage.input_tokens" not in found
    assert span.status.code == span.status.STATUS_CODE_ERROR


def test_the_callers_trace_goes_on_and_its_sampling_holds(tmp_path: Path) -> None:
    sampled = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "v=1"}
    unsampled = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    broken = {"traceparent": "nonsense"}
    spans = traced(tmp_path, (BODY, sampled), (BODY, unsampled), (BODY, broken), in_env=True).spans
    child, root = spans
    assert (child.trace_id.hex(), child.parent_span_id.hex(), child.trace_state) == (TRACE, PARENT, "v=1")
    assert root.parent_span_id == b""
    assert root.trace_id.hex() != TRACE


def test_a_collector_that_is_down_costs_no_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with LoopbackServer(Collector()) as server:
            lines = ("enabled = true", 'endpoint = "http://127.0.0.1:9"')
            settings = config(tmp_path, *lines, OPENAI_BASE_URL=f"{server.url}/v1")
            async with open_gateway(lambda: settings) as gateway:
                status, _, _ = await post(gateway.url, "/v1/chat/completions", {}, json.dumps(BODY).encode())
                assert status == 200
                await gateway.app.clerk.flush()
                assert gateway.app.clerk.counters.lost == 0

    asyncio.run(main())


def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pennyweight.gateway.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = config(tmp_path, "enabled = true")

    async def main() -> None:
        with pytest.raises(ConfigError, match=r"pip install 'pennyweight\[otel\]'"):
            async with open_gateway(lambda: settings):
                pass

    asyncio.run(main())


def test_nothing_of_it_is_imported_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pennyweight.gateway.traces", raising=False)
    settings = config(tmp_path, "enabled = false")

    async def main() -> None:
        async with open_gateway(lambda: settings):
            assert "pennyweight.gateway.traces" not in sys.modules

    asyncio.run(main())


def test_where_the_collector_is(tmp_path: Path) -> None:
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert config(tmp_path, "enabled = true").otel.endpoint == "http://127.0.0.1:4318"
    assert config(tmp_path, "enabled = true", **{variable: "http://env:1/"}).otel.endpoint == "http://env:1"
    line = 'endpoint = "https://file"'
    assert config(tmp_path, "enabled = true", line, **{variable: "http://env:1"}).otel.endpoint == "https://file"
    assert not config(tmp_path, **{variable: "http://env:1"}).otel.enabled  # a variable alone switches nothing on
    with pytest.raises(ConfigError, match=r"otel\.endpoint 'grpc://x' is no http"):
        config(tmp_path, "enabled = true", 'endpoint = "grpc://x"')
