"""Runs one after another in one event loop, each of which Ctrl-C can stop."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from moa._cli.console import AnswerWriter
from moa._cli.run_progress import progress_for_stderr, watch
from moa._engine.stream import RunStream
from moa._ledger import Ledger
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine, Prompt, RunArguments


class Cancelled(Exception):
    """The user pressed Ctrl-C and every call of the run was cancelled.

    Attributes:
        ledger: What the run used until then.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("cancelled")
        self.ledger = ledger


class RunSession:
    """An engine with its event loop; a context manager that closes both.

    Args:
        config: Path of a `moa.yaml`; None looks in the usual places.

    Raises:
        ConfigError: The configuration can't be used.
    """

    def __init__(self, config: Path | None = None) -> None:
        self._engine = Engine(config)
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        """The runs themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections and the loop."""
        with self._loop:
            self._loop.run(self._engine.aclose())

    def run(
        self, mixture: Mixture, prompt: Prompt, *, writer: AnswerWriter | None, **arguments: Unpack[RunArguments]
    ) -> Answer:
        """Return the answer of one run, having shown it while it came.

        Args:
            mixture: What runs.
            prompt: Text, or a conversation.
            writer: Takes the answer's text as it comes; None if the caller shows it himself in the end.
            **arguments: See `RunArguments`.

        Raises:
            Cancelled: The user pressed Ctrl-C.
            MoaError: There is no answer.
        """
        stream: RunStream | None = None

        async def answer() -> Answer:
            nonlocal stream
            progress = progress_for_stderr()
            stream = self._engine.stream(
                mixture,
                prompt,
                proposal_deltas=progress.wants_deltas,
                answer_deltas=writer is not None,
                **arguments,
            )
            return await watch(stream, progress, writer)

        try:
            return self._loop.run(answer())
        except KeyboardInterrupt:
            # The loop has turned Ctrl-C into the cancellation of `answer`, which has left the stream's block.
            raise Cancelled(stream.ledger if stream else Ledger()) from None
