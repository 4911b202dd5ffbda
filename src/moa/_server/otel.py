"""Traces by OpenTelemetry's semantic conventions for generative AI, where the process has a tracer configured.

Source: OpenTelemetry semantic conventions 1.37, "Gen AI": `invoke_agent` for a run, `chat` for each call of a model.
"""

import time
from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.trace import ProxyTracerProvider, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from moa._ledger import Attempt, Call, Ledger

_PROVIDERS = {"bedrock": "aws.bedrock", "mistral": "mistral_ai"}
"""The conventions' names of services where they differ from our endpoints'."""


def configured_tracer() -> Tracer | None:
    """Return the process's tracer; None if none is configured, so that tracing then costs nothing."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else trace.get_tracer("moa", tracer_provider=provider)


def trace_run(
    tracer: Tracer,
    *,
    mixture: str,
    status: str,
    ledger: Ledger,
    seconds: float,
    carrier: Mapping[str, str],
    request_id: str,
) -> None:
    """Write a run that has ended as spans: one for the run, below it one for each attempt, at the times they had.

    Args:
        tracer: Where to.
        mixture: Its name.
        status: `complete`, `degraded`, `cancelled`, or an error's code.
        ledger: What was called.
        seconds: How long it took.
        carrier: The request's headers: they may name the span that it belongs to.
        request_id: The request's.
    """
    ended_ns = time.time_ns()
    started_ns = ended_ns - round(seconds * 1e9)
    usage = ledger.usage
    span = tracer.start_span(
        f"invoke_agent {mixture}",
        context=propagate.extract(carrier),
        kind=SpanKind.INTERNAL,
        start_time=started_ns,
        attributes={
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": mixture,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "moa.request_id": request_id,
            "moa.status": status,
        },
    )
    if status not in ("complete", "degraded"):
        _fail(span, status)
    for call in ledger.calls:
        for attempt in call.attempts:
            _trace_attempt(tracer, span, call, attempt, started_ns)
    span.end(end_time=ended_ns)


def _trace_attempt(tracer: Tracer, parent: Span, call: Call, attempt: Attempt, run_started_ns: int) -> None:
    sent_ns = run_started_ns + round((attempt.started_s + attempt.queue_s) * 1e9)
    endpoint, _, model = call.model.partition("/")
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(endpoint, endpoint),
        "gen_ai.request.model": model,
        "gen_ai.agent.name": call.agent,
        "moa.layer": call.layer,
        "moa.purpose": call.purpose,
    }
    if attempt.served_by:
        attributes["gen_ai.response.model"] = attempt.served_by
    if attempt.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [attempt.finish_reason]
    if attempt.usage and attempt.usage_source == "reported":
        attributes["gen_ai.usage.input_tokens"] = attempt.usage.input_tokens
        attributes["gen_ai.usage.output_tokens"] = attempt.usage.output_tokens
    span = tracer.start_span(
        f"chat {model}",
        context=trace.set_span_in_context(parent),
        kind=SpanKind.CLIENT,
        start_time=sent_ns,
        attributes=attributes,
    )
    if attempt.error is not None:
        _fail(span, attempt.error.code)
    span.end(end_time=sent_ns + round(attempt.duration_s * 1e9))


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))
