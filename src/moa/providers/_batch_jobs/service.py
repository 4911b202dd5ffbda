"""What a service's batch API has to offer: files of requests go in, files of replies come out."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from moa.errors import ProviderError
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._batch_jobs.store import BatchJob

TIER = "batch"
"""The tier of what a job serves, by which it is priced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """How a job is doing.

    Attributes:
        state: `running`; `ended`, with replies to all, some or none of its requests; `refused`: none was processed;
            `over_quota`: none was processed, as too much of this account is under way.
        word: The state in the service's own word.
        done: Number of requests that were processed; None if unknown.
        cancelled: Whether somebody has ended it.
        message: Why it was refused, or ended early.
        faults: The requests that it was refused for, by their line from 0.
        details: What the service said, for its own adapter.
    """

    state: Literal["running", "ended", "refused", "over_quota"]
    word: str
    done: int | None = None
    cancelled: bool = False
    message: str = ""
    faults: Mapping[int, ProviderError] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)


class JobService(Protocol):
    """A service's batch API. Every method that asks the service raises `ProviderError`.

    Attributes:
        fewest: Fewest requests of a job; what is less is asked at once.
        most: Most requests of a job.
        most_bytes: Largest input of a job.
    """

    fewest: int
    most: int
    most_bytes: int

    def line(self, key: str, request: ModelRequest) -> bytes:
        """Return a request as a line of a job's input.

        Raises:
            BadRequest: It can't be written.
        """
        ...

    def key_of(self, line: bytes) -> str:
        """Return the key of a line."""
        ...

    async def upload(self, job: BatchJob, path: Path) -> str:
        """Upload a job's input, and return the service's name of it."""
        ...

    async def create(self, job: BatchJob) -> str:
        """Create a job from its uploaded input, and return the service's name of the job."""
        ...

    async def find(self, job: BatchJob) -> str | None:
        """Return the service's name of a job that may have been created; None if it wasn't."""
        ...

    async def status(self, job: BatchJob) -> JobStatus:
        """Return how a job is doing."""
        ...

    def replies(self, job: BatchJob, status: JobStatus) -> AsyncGenerator[tuple[str, bytes]]:
        """Yield the key and the reply, or the failure, of each request of an ended job, in any order."""
        ...

    def decode(self, reply: bytes, *, reference: str, request: ModelRequest | None) -> list[ReplyEvent]:
        """Return the events of a reply.

        Raises:
            ProviderError: It is a failure.
        """
        ...

    async def cancel(self, job: BatchJob) -> None:
        """End a job; what it has processed is paid for and can still be collected."""
        ...

    async def clean_up(self, job: BatchJob, status: JobStatus | None) -> None:
        """Remove a job's files from the service."""
        ...

    def at_once(self, provider: Provider) -> Provider:
        """Return what asks for replies that don't fit a job, as cheaply as it can."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...
