"""Counts and times for Prometheus, per mixture and model."""

from collections.abc import Callable
from functools import cache
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from moa._ledger import Attempt, Call, Ledger

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
"""Edges of the histograms: from our own overhead to the slowest mixtures."""

OTHER = "other"
"""Label of models that only a request's own mixture names: a label for each would never stop growing."""


class ServerMetrics:
    """What a server counts.

    Args:
        references: Models that have a label of their own.
        inflight: Tells how many runs are under way.
    """

    def __init__(self, references: frozenset[str], inflight: Callable[[], float]) -> None:
        self._references = references
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        Gauge("moa_inflight_runs", "Runs under way.", **made).set_function(inflight)
        of_model = ("mixture", "model")
        self._runs = Counter("moa_runs", "Runs by how they ended.", ("mixture", "status"), **made)
        self._run_s = Histogram("moa_run_seconds", "Whole runs.", ("mixture",), buckets=SECONDS, **made)
        self._first_s = Histogram(
            "moa_first_token_seconds",
            "From the request to the answer's first token.",
            ("mixture",),
            buckets=SECONDS,
            **made,
        )
        self._degraded = Counter("moa_degraded", "Degraded answers.", ("mixture",), **made)
        self._calls = Counter("moa_calls", "Calls by how they ended.", (*of_model, "status"), **made)
        self._retries = Counter("moa_retries", "Attempts beyond the first of their call.", of_model, **made)
        self._call_s = Histogram("moa_call_seconds", "Attempts.", of_model, buckets=SECONDS, **made)
        self._call_first_s = Histogram(
            "moa_call_first_token_seconds", "From sending to a model's first token.", of_model, buckets=SECONDS, **made
        )
        self._tokens = Counter("moa_tokens", "Tokens that services reported.", (*of_model, "kind"), **made)
        self._usd = Counter("moa_cost_usd", "US dollars charged, estimates included.", of_model, **made)
        self._unpriced = Counter("moa_unpriced_calls", "Attempts whose price is unknown.", of_model, **made)
        # Looking a labelled metric up takes a lock and builds its key each time: too much for every attempt.
        self._labelled = cache(lambda metric, *labels: metric.labels(*labels))

    def note_run(
        self, mixture: str, status: str, ledger: Ledger, *, seconds: float, first_token_s: float | None = None
    ) -> None:
        """Count one run.

        Args:
            mixture: Its label.
            status: `complete`, `degraded`, `cancelled`, or an error's code.
            ledger: What it used; also of a run that failed or was left.
            seconds: How long it took.
            first_token_s: Seconds until the answer's first token; None if it wasn't streamed.
        """
        labelled = self._labelled
        labelled(self._runs, mixture, status).inc()
        labelled(self._run_s, mixture).observe(seconds)
        if first_token_s is not None:
            labelled(self._first_s, mixture).observe(first_token_s)
        if status == "degraded":
            labelled(self._degraded, mixture).inc()
        for call in ledger.calls:
            self._note_call(mixture, call)

    def _note_call(self, mixture: str, call: Call) -> None:
        labelled, model = self._labelled, call.model if call.model in self._references else OTHER
        labelled(self._calls, mixture, model, call.attempts[-1].status).inc()
        if len(call.attempts) > 1:
            labelled(self._retries, mixture, model).inc(len(call.attempts) - 1)
        for attempt in call.attempts:
            self._note_attempt(mixture, model, attempt)
        spend = call.spend
        if spend.charged_usd:
            labelled(self._usd, mixture, model).inc(float(spend.charged_usd))
        if spend.unpriced_calls:
            labelled(self._unpriced, mixture, model).inc(spend.unpriced_calls)

    def _note_attempt(self, mixture: str, model: str, attempt: Attempt) -> None:
        labelled = self._labelled
        labelled(self._call_s, mixture, model).observe(attempt.duration_s)
        if attempt.first_token_s is not None:
            labelled(self._call_first_s, mixture, model).observe(attempt.first_token_s)
        if attempt.usage is not None and attempt.usage_source == "reported":
            labelled(self._tokens, mixture, model, "input").inc(attempt.usage.input_tokens)
            labelled(self._tokens, mixture, model, "output").inc(attempt.usage.output_tokens)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
