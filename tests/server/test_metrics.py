"""What Prometheus and OpenTelemetry hear."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, Tracer

from tests.support.model_server import Status as HttpStatus
from tests.support.model_server import Text
from tests.support.served import DUO, served


def _sample(page: str, name: str) -> float:
    return float(next(line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name + " ")))


async def test_a_run_is_counted_with_its_calls_tokens_and_dollars() -> None:
    async with served() as server:
        await server.chat(model="moa/duo")
        page = await server.page("/metrics")
        bill = server.upstream.bill

    assert _sample(page, 'moa_runs_total{mixture="duo",status="complete"}') == 1
    assert _sample(page, 'moa_calls_total{mixture="duo",model="lab/one",status="ok"}') == 1
    tokens = [
        _sample(page, f'moa_tokens_total{{kind="output",mixture="duo",model="lab/{model}"}}')
        for model in ("one", "two", "writer")
    ]
    assert sum(tokens) == bill.output_tokens
    usd = [_sample(page, f'moa_cost_usd_total{{mixture="duo",model="lab/{m}"}}') for m in ("one", "two", "writer")]
    assert abs(sum(usd) - (bill.input_tokens + 2 * bill.output_tokens) / 1e6) < 1e-12
    assert _sample(page, 'moa_run_seconds_count{mixture="duo"}') == 1
    assert _sample(page, "moa_inflight_runs") == 0


async def test_a_stream_is_counted_with_its_time_to_the_first_token() -> None:
    async with served() as server:
        stream = await server.openai.chat.completions.create(
            model="moa/solo", messages=[{"role": "user", "content": "x"}], stream=True
        )
        async for _ in stream:
            pass
        page = await server.page("/metrics")

    assert _sample(page, 'moa_first_token_seconds_count{mixture="solo"}') == 1
    assert _sample(page, 'moa_call_first_token_seconds_count{mixture="solo",model="lab/writer"}') == 1


async def test_degraded_and_failed_runs_are_counted_as_such() -> None:
    async with served() as server:
        server.upstream.behave("one", HttpStatus(500))
        await server.chat(model="moa/duo")
        server.upstream.behave("writer", HttpStatus(500))
        await server.chat(model="moa/duo")
        page = await server.page("/metrics")

    assert _sample(page, 'moa_degraded_total{mixture="duo"}') == 1
    assert _sample(page, 'moa_runs_total{mixture="duo",status="aggregation_failed"}') == 1
    assert _sample(page, 'moa_calls_total{mixture="duo",model="lab/one",status="failed"}') == 2


async def test_models_that_only_a_request_names_share_one_label() -> None:
    async with served(DUO) as server:
        server.upstream.behave("new", Text("hi"))
        await server.chat(model="moa/duo", moa={"mixture": {"layers": [], "aggregator": {"model": "lab/new"}}})
        page = await server.page("/metrics")

    assert 'model="other"' in page
    assert "lab/new" not in page


class KeptSpan(NonRecordingSpan):
    """A span that keeps what it is told."""

    def __init__(self, name: str, named: Mapping[str, Any]) -> None:
        super().__init__(SpanContext(1, 2, is_remote=False))
        self.name, self.attributes = name, dict(named["attributes"])
        self.started_ns: int = named["start_time"]
        self.ended_ns = 0
        self.failed = False

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        assert isinstance(status, Status)
        self.failed = True

    def end(self, end_time: int | None = None) -> None:
        assert end_time is not None
        self.ended_ns = end_time


class KeptTracer(Tracer):
    """A tracer that keeps its spans."""

    def __init__(self) -> None:
        self.spans: list[KeptSpan] = []

    def start_span(self, name: str, *arguments: Any, **named: Any) -> Span:
        self.spans.append(KeptSpan(name, named))
        return self.spans[-1]

    def start_as_current_span(self, *arguments: Any, **named: Any) -> Any:
        raise AssertionError("runs are written when they have ended")


async def test_a_run_is_a_trace_by_the_conventions() -> None:
    tracer = KeptTracer()
    async with served(tracer=tracer) as server:
        server.upstream.behave("one", HttpStatus(500))
        await server.chat(model="moa/duo")

    run, *calls = tracer.spans
    assert run.name == "invoke_agent duo"
    assert run.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert run.attributes["moa.status"] == "degraded"
    assert sorted(call.name for call in calls) == ["chat one", "chat two", "chat writer"]
    last = calls[-1].attributes
    assert (last["gen_ai.request.model"], last["gen_ai.provider.name"]) == ("writer", "lab")
    assert last["gen_ai.usage.output_tokens"] == 3
    assert last["gen_ai.response.finish_reasons"] == ["stop"]
    failed = next(call for call in calls if call.name == "chat one")
    assert failed.failed
    assert failed.attributes["error.type"] == "service_failed"
    assert all(run.started_ns <= call.started_ns <= call.ended_ns <= run.ended_ns for call in calls)
