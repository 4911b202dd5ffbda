"""Replaying a recorded run: today's engine with the recorded replies, without network and without waiting.

The recorded models are above all policies: retries, hedges, queues and cached replies are part of the recorded calls,
so that the engine gets the same replies and errors at the same times.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from moa._engine.plan import Model, Planner
from moa._engine.run import execute
from moa._engine.stream import RunStream
from moa._ledger import Attempt, AttemptRecord, CallRecord, ErrorInfo, Ledger, Meter, Pricer
from moa._policies.budget import reserve_worst_case
from moa._policies.cache.key import request_digest
from moa._pricing.lookup import find_price
from moa._pricing.price import Price
from moa._render.errors import failure_dict, unfinished_dict
from moa._results import Answer
from moa._traces.comparing import differences
from moa._traces.reading import read_trace
from moa._traces.trace import RecordedCall, Trace
from moa._traces.virtual_time import VirtualClockLoop
from moa._usage import TokenUsage
from moa.errors import MoaError, ProviderFault, TraceError
from moa.events import RunFinished
from moa.providers._base import Finish, ModelRequest, ReplyEvent

PATIENCE_S = 60.0
"""Virtual seconds by which a replay may exceed the original before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result of a replay.

    Attributes:
        trace: What was replayed.
        answer: The answer; None if the run failed or was cancelled.
        error: Why there is no answer; None if there is one, or the run was cancelled.
        ledger: The run's ledger.
        differences: The differences from the recorded result, one sentence each. Empty for a trace that breaks off.
    """

    trace: Trace
    answer: Answer | None
    error: MoaError | None
    ledger: Ledger
    differences: tuple[str, ...]


def replay(source: Trace | str | Path) -> Replay:
    """Replay a recorded run and return the result; a cancelled run is cancelled at the same time.

    Args:
        source: A trace, or its file.

    Raises:
        TraceError: The file is not a trace, or the run waits for something that the trace doesn't contain.
    """
    trace = source if isinstance(source, Trace) else read_trace(source)
    # In a thread of its own, as notebooks have a running loop already.
    with ThreadPoolExecutor(1, "moa-replay") as thread:
        return thread.submit(_run, trace).result()


def _run(trace: Trace) -> Replay:
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(_replayed(trace))


async def _replayed(trace: Trace) -> Replay:
    found: list[str] = []
    meter = Meter(asyncio.get_running_loop().time)
    models = _RecordedModels(trace, meter, found)
    plan = Planner(models).plan(trace.mixture, trace.options)
    run = partial(execute, plan, trace.conversation, models, (), meter, proposals=_Reused(trace))
    stream = RunStream(run, meter)
    answer, error = None, None
    has_end = trace.outcome is not None and trace.outcome.kind != "cancelled"
    try:
        async with asyncio.timeout(trace.ended_s + (PATIENCE_S if has_end else 0.0)), stream as events:
            async for event in events:
                if isinstance(event, RunFinished):
                    answer = event.answer
    except TimeoutError:
        if has_end:
            raise TraceError("the replay waits for something that the trace doesn't contain", path=trace.path) from None
    except MoaError as caught:
        error = caught
    if trace.outcome is not None:
        found += differences(trace.outcome.result, _result(answer, error, stream.ledger))
    return Replay(trace=trace, answer=answer, error=error, ledger=stream.ledger, differences=tuple(found))


def _result(answer: Answer | None, error: MoaError | None, ledger: Ledger) -> dict[str, Any]:
    if answer is not None:
        return answer.as_dict()
    if error is not None:
        return failure_dict(error)
    return unfinished_dict(ErrorInfo(code="cancelled", message="the run was cancelled"), ledger)


class _Reused:
    """A store with the proposals that the recorded run found."""

    def __init__(self, trace: Trace) -> None:
        self._proposals = trace.reused

    async def get(self, key: str) -> bytes | None:
        return None if self._proposals is None else json.dumps(self._proposals).encode()

    async def put(self, key: str, value: bytes) -> None:
        """A replay stores nothing."""


_RecordedReplies = Mapping[tuple[int, str], deque[RecordedCall]]
"""The calls of each agent of each layer that are not replayed yet."""


def _by_agent(calls: tuple[RecordedCall, ...]) -> _RecordedReplies:
    replies: dict[tuple[int, str], deque[RecordedCall]] = {}
    for call in calls:
        replies.setdefault((call.layer, call.agent), deque()).append(call)
    return replies


class _RecordedModels:
    """The models of a trace.

    Args:
        trace: Their replies.
        meter: The ledger of the run that asks them.
        found: Receives a sentence for each difference.
    """

    def __init__(self, trace: Trace, meter: Meter, found: list[str]) -> None:
        self._trace, self._meter, self._found = trace, meter, found
        self._replies = _by_agent(trace.calls)
        self._costs = {
            (call.model, attempt.usage): attempt.cost_usd
            for call in trace.ledger.calls
            for attempt in call.attempts
            if attempt.usage is not None and trace.outcome is not None
        }

    def model(self, reference: str, price: Price | None) -> Model:
        name, _, model_id = reference.partition("/")
        provider = _Recorded(self._trace, self._replies, self._meter, self._found)
        provider.takes_seed = reference not in self._trace.unseeded
        listed = find_price(self._trace.endpoints.get(name), model_id, override=price)
        return Model(reference=reference, id=model_id, provider=provider, price=self._pricer(reference, listed))

    def _pricer(self, reference: str, listed: Pricer) -> Pricer:
        """The recorded cost counts, whatever the price table says by now."""

        def price(usage: TokenUsage) -> Decimal | None:
            known = (reference, usage)
            return self._costs[known] if known in self._costs else listed(usage)

        return price

    async def prices_ready(self) -> None:
        """They are."""


class _Recorded:
    """A provider that gives each call its recorded reply."""

    takes_seed = True

    def __init__(self, trace: Trace, replies: _RecordedReplies, meter: Meter, found: list[str]) -> None:
        self._trace, self._replies, self._meter, self._found = trace, replies, meter, found

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        context = request.context
        call = context.call
        assert call is not None, "the engine's calls are in its ledger"
        recorded = self._recorded(request, call)
        if recorded is None:
            # The trace breaks off before this call: so does the replay.
            await asyncio.Event().wait()
            return
        settle = None
        if context.account is not None and any(not attempt.cached for attempt in recorded.attempts):
            with context.time.paused() if context.time else nullcontext():
                settle = await reserve_worst_case(context.account, request)
        queueing = asyncio.create_task(self._queue(recorded, request))
        try:
            async with aclosing(self._play(recorded)) as events:
                yield events
        finally:
            queueing.cancel()
            call.attempts += [_record(attempt, self._meter.started_at) for attempt in recorded.attempts]
            if settle is not None:
                settle(call.value(self._meter.started_at).spend.charged_usd)

    def _recorded(self, request: ModelRequest, call: CallRecord) -> RecordedCall | None:
        calls = self._replies.get((call.layer, call.agent))
        if not calls and self._trace.outcome is None:
            return None
        recorded = calls.popleft() if calls else None
        if recorded is None or recorded.model != call.model:
            self._found.append(f"call {call.id}: {call.agent} asks {call.model}, which was not recorded")
            raise ProviderFault(f"the trace has no such call of {call.agent}", model=call.model)
        if recorded.asked != request_digest(request):
            self._found.append(f"call {call.id}: {call.agent} asks {call.model} something else than it did")
        return recorded

    async def _play(self, recorded: RecordedCall) -> AsyncGenerator[ReplyEvent]:
        whole = False
        for at_s, event in recorded.reply:
            await self._until(at_s)
            whole = isinstance(event, Finish)
            yield event
        if recorded.ended_s is None or recorded.outcome == "cancelled":
            await asyncio.Event().wait()
        await self._until(recorded.ended_s or 0.0)
        # A whole reply that failed was of no use to the engine: let it say so itself.
        if recorded.error is not None and not whole:
            raise recorded.error

    async def _queue(self, recorded: RecordedCall, request: ModelRequest) -> None:
        """Let the call's time stand still where it stood still then: while an attempt waited for a free place."""
        for attempt in recorded.attempts:
            if request.context.time is not None and attempt.queue_s:
                await self._until(attempt.started_s)
                with request.context.time.paused():
                    await self._until(attempt.started_s + attempt.queue_s)

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self._meter.started_at + at_s - self._meter.now()))

    async def aclose(self) -> None:
        """Nothing is held."""


def _record(attempt: Attempt, started_at: float) -> AttemptRecord:
    asked_at = started_at + attempt.started_s
    sent_at = asked_at + attempt.queue_s
    return AttemptRecord(
        asked_at=asked_at,
        sent_at=sent_at,
        hedge=attempt.hedge,
        cached=attempt.cached,
        status=attempt.status,
        first_token_at=None if attempt.first_token_s is None else sent_at + attempt.first_token_s,
        ended_at=sent_at + attempt.duration_s,
        usage=attempt.usage,
        usage_source=attempt.usage_source,
        finish_reason=attempt.finish_reason,
        served_by=attempt.served_by,
        error=attempt.error,
    )
