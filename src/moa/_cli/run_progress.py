"""Progress of a run on standard error, for `moa ask` and `moa chat`."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.live import Live

from moa._cli.console import AnswerWriter, err_console, say
from moa._engine.stream import RunStream
from moa._render.live import FRAMES_PER_SECOND, LiveRun, finished_line
from moa._render.progress import RunProgress
from moa._results import Answer
from moa.errors import EngineError
from moa.events import AnswerDelta, Event, ProposalFinished, RunFinished


class LineProgress:
    """Shows the progress of a run by one line for each agent that has finished; for log files and pipes.

    A context manager around the run.

    Attributes:
        wants_deltas: Whether it shows proposals while they are written.
    """

    wants_deltas = False

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._now = RunProgress(), now
        self._shown_failures: set[str] = set()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def show(self, event: Event) -> None:
        """Show the next event."""
        self._progress.apply(event, self._now())
        if isinstance(event, ProposalFinished):
            row = self._progress.layers[event.proposal.layer - 1][event.proposal.index]
            repeated = row.failure in self._shown_failures
            say(f"layer {event.proposal.layer}: {finished_line(row, repeated=repeated)}")
            self._shown_failures |= {row.failure} if row.failure else set()

    def hand_over(self) -> None:
        """Stop drawing: the answer will be written below."""


class LiveProgress(LineProgress):
    """An animated view of the layers, which redraws itself; for a terminal."""

    wants_deltas = True

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(now)
        picture = LiveRun(self._progress, now)
        self._live = Live(
            get_renderable=lambda: picture,
            console=err_console(),
            refresh_per_second=FRAMES_PER_SECOND,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw a last time."""
        if kind is not None:
            self._progress.cancel(self._now())
        self._live.stop()

    def show(self, event: Event) -> None:
        """Apply the next event."""
        self._progress.apply(event, self._now())

    def hand_over(self) -> None:
        """Stop drawing, and print a blank line before the answer."""
        if self._live.is_started:
            self._progress.hand_over()
            self._live.stop()
            say("")


def progress_for_stderr() -> LineProgress:
    """Return the display that suits standard error."""
    return LiveProgress() if err_console().is_terminal else LineProgress()


async def watch(stream: RunStream, progress: LineProgress, writer: AnswerWriter | None) -> Answer:
    """Return a run's answer, shown while it arrives.

    Args:
        stream: The run, not entered yet.
        progress: Shows the layers.
        writer: Receives the answer's text as it arrives; None if the caller shows it afterwards.

    Raises:
        EngineError: The run failed.
    """
    answer: Answer | None = None
    try:
        with progress:
            async with stream as events:
                async for event in events:
                    if isinstance(event, RunFinished):
                        answer = event.answer
                    progress.show(event)
                    if writer and isinstance(event, AnswerDelta) and not event.reasoning:
                        progress.hand_over()
                        writer.write(event.text)
        if answer is None:
            raise EngineError("the run ended without an answer", ledger=stream.ledger)
        if writer and not writer.started:
            writer.write(answer.text)
        return answer
    finally:
        if writer:
            writer.close()
