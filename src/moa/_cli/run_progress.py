"""One run, shown while it runs: what `moa ask` and `moa chat` share."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.live import Live

from moa._cli.console import AnswerWriter, err_console, say
from moa._engine.stream import RunStream
from moa._render.live import FRAMES_PER_SECOND, LiveRun, finished_line
from moa._render.progress import RunProgress
from moa._results import Answer
from moa.errors import EngineError
from moa.events import AnswerDelta, Event, ProposalFinished, RunFinished


class ProgressDisplay(Protocol):
    """Shows how a run comes along; a context manager around it."""

    wants_deltas: bool
    """Whether it shows proposals while they are written."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Take in the next event."""
        ...

    def hand_over(self) -> None:
        """Leave the last picture where it is: the answer will be written below it."""
        ...


class LiveProgress:
    """The layers as a picture that moves; for a terminal."""

    wants_deltas = True

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._now = RunProgress(), now
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
        """Draw a last time and leave the picture where it is."""
        if kind is not None:
            self._progress.cancel(self._now())
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take in the next event; the picture moves by itself."""
        self._progress.apply(event, self._now())

    def hand_over(self) -> None:
        """Stop drawing, with a blank line before what comes."""
        if self._live.is_started:
            self._progress.hand_over()
            self._live.stop()
            say("")


class LineProgress:
    """One line for each agent that ended; for log files and pipes."""

    wants_deltas = False

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._progress, self._now = RunProgress(), now

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""

    def show(self, event: Event) -> None:
        """Print the line of an agent that ended."""
        self._progress.apply(event, self._now())
        if isinstance(event, ProposalFinished):
            row = self._progress.layers[event.proposal.layer - 1][event.proposal.index]
            say(f"layer {event.proposal.layer}: {finished_line(row)}")

    def hand_over(self) -> None:
        """Lines stay where they are."""


def progress_for_stderr() -> LiveProgress | LineProgress:
    """The kind of progress that suits what standard error is."""
    return LiveProgress() if err_console().is_terminal else LineProgress()


async def watch(stream: RunStream, progress: ProgressDisplay, writer: AnswerWriter | None) -> Answer:
    """Return a run's answer, having shown it while it came.

    Args:
        stream: The run, not entered yet.
        progress: Shows the layers.
        writer: Takes the answer's text as it comes; None if the caller shows it himself in the end.

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
