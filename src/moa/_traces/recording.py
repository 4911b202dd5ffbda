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
from typing import Any

from moa._engine.agents import OnEvent
from moa._engine.plan import Models, Plan, RunOptions
from moa._ledger import Attempt, CallRecord, ErrorInfo, Meter
from moa._messages import Conversation, message_dict
from moa._render.errors import failure_dict, unfinished_dict
from moa._results import Answer
from moa._traces.capture import CapturedModels, plain
from moa._traces.event_json import event_dict
from moa._traces.redaction import Scrubber, secrets_of
from moa.errors import MoaError, TraceError
from moa.events import Event, RunFinished
from moa.providers._endpoint import Endpoint

log = logging.getLogger(__name__)

FORMAT = 1
"""Version of the file's format, in its first line."""

Run = Callable[[OnEvent | None], Awaitable[Answer]]


class Recorder:
    """Writes one run to a file: what was asked, every event and reply with its time, and how it ended.

    The file's lines are `trace` (what runs), `event`, `call`, `reply`, `call_ended`, and last `answer`, `error` or
    `cancelled`, with the ledger and a digest of all that stands before it. Each line is written at once, so that a run
    that crashes leaves a readable file.

    Args:
        path: The file; an older one is written over.
        meter: The run's books; times in the file are seconds after its start.
        endpoints: Those that the run may use; their secrets are masked.
    """

    def __init__(self, path: Path, meter: Meter, endpoints: Mapping[str, Endpoint]) -> None:
        self._path, self._meter, self._endpoints = path, meter, endpoints
        self._scrubber = Scrubber(secrets_of(endpoints.values()))
        self._digest = hashlib.sha256()
        self._file: FileIO | None = None

    def listening(self, models: Models) -> Models:
        """Return the same models, whose every reply is written down."""
        return CapturedModels(models, self)

    def recorded(self, run: Run, plan: Plan, conversation: Conversation) -> Run:
        """Return the same run, written down while it happens.

        Raises:
            TraceError: From the run that comes back, before it begins: the file can't be written.
        """

        async def recorded_run(on_event: OnEvent | None) -> Answer:
            def record(event: Event) -> None:
                if not isinstance(event, RunFinished):  # the last line says it all
                    self.write("event", event=event_dict(event))
                if on_event is not None:
                    on_event(event)

            self._open()
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

    def _open(self) -> None:
        try:
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            raise TraceError(f"the trace can't be written: {error.strerror}", path=self._path) from error

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, kind: str, **values: Any) -> None:
        """Write a line with the time; nothing once the run has ended."""
        if self._file is None:
            return
        scrubbed = self._scrubber.scrub({"type": kind, "at_s": self._meter.elapsed_s(), **values})
        line = json.dumps(scrubbed, default=str).encode("ascii") + b"\n"
        self._digest.update(line)
        try:
            self._file.write(line)
        except OSError as error:
            # The run is worth more than its trace.
            log.warning("the trace %s breaks off, it can't be written: %s", self._path, error.strerror)
            self._close()

    def attempts(self, call: CallRecord) -> tuple[Attempt, ...]:
        """Return a call's attempts so far, unpriced: a first look at the table of prices takes a while."""
        return replace(call, price=lambda usage: None).value(self._meter.started_at).attempts

    def _write_header(self, plan: Plan, conversation: Conversation) -> None:
        self.write(
            "trace",
            version=FORMAT,
            package=version("mixture-of-agents"),
            recorded_at=datetime.now(UTC).isoformat(),
            mixture=plan.mixture.as_dict(),
            messages=[message_dict(message) for message in conversation],
            options=options_dict(plan.options),
            endpoints={name: _endpoint_dict(self._endpoints[name]) for name in self._used(plan)},
            unseeded=list(plan.unseeded),
        )

    def _used(self, plan: Plan) -> list[str]:
        names = {reference.partition("/")[0] for reference in plan.mixture.references}
        return sorted(names & self._endpoints.keys())

    def _write_end(self, kind: str, result: dict[str, Any]) -> None:
        self.write(kind, result=result, digest=self._digest.hexdigest())


def options_dict(options: RunOptions) -> dict[str, Any]:
    """Return a run's options as a JSON-ready mapping."""
    return {
        **plain(options),
        "budget_usd": None if options.budget_usd is None else str(options.budget_usd),
        "reply": plain(options.reply),
        "sampling": None if options.sampling is None else plain(options.sampling),
    }


def _endpoint_dict(endpoint: Endpoint) -> dict[str, Any]:
    """What a replay has to know of an endpoint: whose prices its models have. No address, no header, no key."""
    prices = {model: plain(price) for model, price in endpoint.prices.items()}
    return {"kind": endpoint.kind, "price_provider": endpoint.price_provider, "prices": prices}
