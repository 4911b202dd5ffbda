"""Writing a run to a file while it happens."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from moa._engine.agents import OnEvent
from moa._engine.plan import Models, RunPlan
from moa._engine.proposal_reuse import ProposalStore
from moa._ledger import Attempt, CallRecord, ErrorInfo, Meter
from moa._messages import Conversation
from moa._render.errors import failure_dict, unfinished_dict
from moa._results import Answer
from moa._traces.capture import CapturedModels
from moa._traces.event_json import event_dict
from moa._traces.lines import EndLine, EventLine, HeaderLine, Line, RecordedEndpoint, ReusedLine, line_dict
from moa._traces.redaction import Scrubber, secrets_of
from moa._validation.file_errors import os_reason
from moa.errors import MoaError, TraceError
from moa.events import Event, RunFinished
from moa.providers._endpoint import Endpoint

log = logging.getLogger(__name__)

Run = Callable[[OnEvent | None], Awaitable[Answer]]


class Recorder:
    """Writes one run to a file: what was asked, every event and reply with its time, and how it ended.

    The lines are those of `lines`: first a header, then events, calls, replies and their ends, last the outcome with
    the ledger and a digest of all lines before it. Each line is written at once, so that a run that crashes leaves a
    readable file.

    Args:
        path: The file; an existing one is overwritten.
        meter: The run's ledger; times in the file are seconds after its start.
        endpoints: Those that the run may use; their secrets are masked.
    """

    def __init__(self, path: Path, meter: Meter, endpoints: Mapping[str, Endpoint]) -> None:
        self._path, self._meter, self._endpoints = path, meter, endpoints
        self._scrubber = Scrubber(secrets_of(endpoints.values()))
        self._digest = hashlib.sha256()
        self._file: FileIO | None = None

    def capturing(self, models: Models) -> Models:
        """Return the same models, with every reply recorded."""
        return CapturedModels(models, self)

    def found(self, proposals: ProposalStore) -> ProposalStore:
        """Return the same store, with proposals that are found in it recorded."""
        return _RecordedProposals(proposals, self)

    def recorded(self, run: Run, plan: RunPlan, conversation: Conversation) -> Run:
        """Return the same run, recorded while it happens.

        Raises:
            TraceError: From the run that is returned, before it begins: the file can't be written.
        """

        async def recorded_run(on_event: OnEvent | None) -> Answer:
            def record(event: Event) -> None:
                if not isinstance(event, RunFinished):  # the last line has the answer
                    self.write(EventLine(at_s=self.elapsed_s(), event=event_dict(event)))
                if on_event is not None:
                    on_event(event)

            try:
                self._file = self._path.open("wb", buffering=0)
            except OSError as error:
                raise TraceError(f"the trace can't be written: {os_reason(error)}", path=self._path) from error
            try:
                self._write_header(plan, conversation)
                return await self._run_and_record(run, record)
            finally:
                self._close()

        return recorded_run

    async def _run_and_record(self, run: Run, on_event: OnEvent) -> Answer:
        try:
            answer = await run(on_event)
        except MoaError as error:
            self._write_end("error", failure_dict(error))
            raise
        except asyncio.CancelledError:
            info = ErrorInfo(code="cancelled", message="the run was cancelled")
            self._write_end("cancelled", unfinished_dict(info, self._meter.ledger()))
            raise
        self._write_end("answer", answer.as_dict())
        return answer

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def elapsed_s(self) -> float:
        """Seconds since the run's start."""
        return self._meter.elapsed_s()

    def attempts(self, call: CallRecord) -> tuple[Attempt, ...]:
        """Return a call's attempts so far, unpriced: the first look-up in the price table takes a while."""
        return replace(call, price=lambda usage: None).value(self._meter.started_at).attempts

    def write(self, line: Line) -> None:
        """Write a line; nothing once the run has ended."""
        if self._file is not None:
            self._write(line_dict(line))

    def _write_header(self, plan: RunPlan, conversation: Conversation) -> None:
        names = {reference.partition("/")[0] for reference in plan.mixture.references}
        endpoints = {
            name: RecordedEndpoint(
                kind=endpoint.kind,
                price_provider=endpoint.price_provider,
                prices=dict(endpoint.prices),
                price_factor=dict(endpoint.price_factor),
            )
            for name, endpoint in sorted(self._endpoints.items())
            if name in names
        }
        header = HeaderLine(
            at_s=self.elapsed_s(),
            package=version("mixture-of-agents"),
            recorded_at=datetime.now(UTC),
            mixture=plan.mixture,
            messages=conversation,
            options=plan.options,
            endpoints=endpoints,
            unseeded=tuple(plan.unseeded),
        )
        self._write(line_dict(header))

    def _write_end(self, kind: Literal["answer", "error", "cancelled"], result: dict[str, Any]) -> None:
        self.write(EndLine(type=kind, at_s=self.elapsed_s(), result=result, digest=self._digest.hexdigest()))

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(self._scrubber.scrub(line)).encode("ascii") + b"\n"
        self._digest.update(text)
        try:
            if self._file is not None:
                self._file.write(text)
        except OSError as error:
            # The run is worth more than its trace.
            log.warning("the trace %s breaks off: it can't be written: %s", self._path, os_reason(error))
            self._close()


class _RecordedProposals:
    """A store of proposals; what is found in it stands in the trace."""

    def __init__(self, inner: ProposalStore, recorder: Recorder) -> None:
        self._inner, self._recorder = inner, recorder

    async def get(self, key: str) -> bytes | None:
        found = await self._inner.get(key)
        if found is not None:
            self._recorder.write(ReusedLine(at_s=self._recorder.elapsed_s(), proposals=json.loads(found)))
        return found

    async def put(self, key: str, value: bytes) -> None:
        await self._inner.put(key, value)
