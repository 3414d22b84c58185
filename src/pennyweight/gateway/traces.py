"""One OpenTelemetry span per finished call, made from its receipt after the fact; no prompt or answer is in it.

Imported only where `[otel] enabled = true`. Names follow OpenTelemetry's semantic conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/); what they have no name for is `pennyweight.*`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..call import Outcome, Receipt
from ..config import Otel
from ..request import Operation, Usage

__all__ = ["Traces", "attributes", "open_traces"]

Value = str | int | float | bool | list[str]

_OPERATIONS = {Operation.GENERATE: "chat", Operation.EMBED: "embeddings"}
_PROVIDERS = {"gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}  # where the conventions' name is another
_PICO_PER_USD = 1e12
_EXPORT_TIMEOUT_S = 5


class Traces:
    """`watch` each finished call. Spans leave in batches from a thread of the SDK; if that falls behind, some are lost.

    A call that came with a W3C `traceparent` becomes a child of that span, sampled as it says.
    """

    def __init__(self, otel: Otel, exporter: SpanExporter) -> None:
        resource = Resource.create({"service.name": otel.service_name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pennyweight", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def watch(self, receipt: Receipt, outcome: Outcome) -> None:
        carrier = {
            name: value for name, value in outcome.call.original.headers if name in ("traceparent", "tracestate")
        }
        operation = _OPERATIONS.get(receipt.operation, receipt.operation.value)
        span = self._tracer.start_span(
            f"{operation} {receipt.model}".strip(),
            context=self._propagator.extract(carrier) if carrier else None,
            kind=SpanKind.CLIENT,
            attributes=attributes(receipt),
            start_time=int(receipt.at * 1e9),
        )
        if failure := _failure(receipt):
            span.set_status(Status(StatusCode.ERROR, failure))
        span.end(int((receipt.at + receipt.latency_s) * 1e9))

    async def aclose(self) -> None:
        """Export what is left, for as long as the exporter's time-out allows."""
        await asyncio.to_thread(self._provider.shutdown)


def attributes(receipt: Receipt) -> Mapping[str, Value]:
    """What a receipt says, in the conventions' names. Unknown figures are left out, never 0."""
    told: dict[str, Value | None] = {
        "gen_ai.operation.name": _OPERATIONS.get(receipt.operation, receipt.operation.value),
        "gen_ai.provider.name": _PROVIDERS.get(receipt.provider, receipt.provider),
        "gen_ai.request.model": receipt.model or None,
        "gen_ai.response.model": receipt.target_model or None,
        "gen_ai.response.finish_reasons": [receipt.finish_reason] if receipt.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": receipt.ttft_s,
        "gen_ai.conversation.id": receipt.session or None,
        "gen_ai.agent.name": receipt.agent or None,
        "http.response.status_code": receipt.status,
        "error.type": _failure(receipt) or None,
        "pennyweight.call_id": receipt.call_id,
        "pennyweight.wire": receipt.wire,
        "pennyweight.tenant": receipt.tenant,
        "pennyweight.task": receipt.task or None,
        "pennyweight.skill": receipt.skill or None,
        "pennyweight.housekeeping": receipt.housekeeping or None,
        "pennyweight.pricing": receipt.pricing,
        "pennyweight.cost_usd": _usd(receipt.cost),
        "pennyweight.baseline_usd": _usd(receipt.baseline),
        "pennyweight.basis": receipt.basis or None,
        "pennyweight.arm": receipt.arm or None,
        "pennyweight.answered_by": receipt.answered_by or None,
        "pennyweight.replayed": receipt.replayed,
        "pennyweight.abandoned": receipt.abandoned,
        "pennyweight.added_s": receipt.added_s,
        "pennyweight.trail": [f"{step.optimizer}={step.verdict.value}" for step in receipt.trail] or None,
    }
    if receipt.usage is not None and not receipt.replayed:  # a replayed answer consumed nothing
        told |= _usage(receipt.usage)
    return {name: value for name, value in told.items() if value is not None}


def _usage(usage: Usage) -> dict[str, Value | None]:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "pennyweight.usage_counted": usage.counted or None,
    }


def _failure(receipt: Receipt) -> str:
    """The class of what went wrong, or the status of a refusal; "" for an answer."""
    return receipt.error or (str(receipt.status) if receipt.status >= 400 else "")


def _usd(pico: int | None) -> float | None:
    return None if pico is None else pico / _PICO_PER_USD


@asynccontextmanager
async def open_traces(otel: Otel) -> AsyncIterator[Traces]:
    """Traces to the collector at `otel.endpoint`, until the block ends. What is left then is exported."""
    base = otel.endpoint or "http://127.0.0.1:4318"
    url = base if base.endswith("/v1/traces") else f"{base}/v1/traces"
    traces = Traces(otel, OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT_S))
    try:
        yield traces
    finally:
        await traces.aclose()
