"""Consecutive runs in one event loop; Ctrl-C stops the current one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from moa._cli.console import AnswerWriter
from moa._cli.run_progress import progress_for_stderr, watch
from moa._engine.stream import RunStream
from moa._ledger import Ledger
from moa._messages import ImagePart
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine, Prompt
from moa._runtime.health import require_ready


class Cancelled(Exception):
    """The user pressed Ctrl-C and every call of the run was cancelled.

    Attributes:
        ledger: What the run used until then.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("cancelled")
        self.ledger = ledger


class RunArguments(TypedDict, total=False):
    """What a run takes besides its mixture and prompt, as in `Engine.arun`."""

    system: str | None
    images: Sequence[ImagePart]
    seed: int | None
    deadline_s: float | None
    budget_usd: float | None
    trace: Path | None


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
        """Return the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections and the loop."""
        with self._loop:
            self._loop.run(self._engine.aclose())

    def run(
        self, mixture: Mixture, prompt: Prompt, *, writer: AnswerWriter | None, **options: Unpack[RunArguments]
    ) -> Answer:
        """Return the answer of one run, shown while it arrives.

        Args:
            mixture: What runs.
            prompt: Text, or a conversation.
            writer: Receives the answer's text as it arrives; None if the caller shows it afterwards.
            **options: As in `Engine.arun`.

        Raises:
            Cancelled: The user pressed Ctrl-C.
            MoaError: There is no answer.
        """
        stream: RunStream | None = None

        async def answer() -> Answer:
            nonlocal stream
            await require_ready(mixture.references, self._engine.settings)
            progress = progress_for_stderr()
            stream = self._engine.astream(
                mixture,
                prompt,
                proposal_deltas=progress.wants_deltas,
                answer_deltas=writer is not None,
                **options,
            )
            return await watch(stream, progress, writer)

        try:
            return self._loop.run(answer())
        except KeyboardInterrupt:
            # The loop has turned Ctrl-C into the cancellation of `answer`, which has left the stream's block.
            raise Cancelled(stream.ledger if stream else Ledger()) from None
