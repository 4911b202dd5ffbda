"""Batches at half the price: what a mixture can't ask of file jobs, and the jobs of a batch, listed and ended."""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from moa._config.settings import Settings
from moa._mixture.schema import Agent, Layer, Mixture, Wait
from moa.batch._storage import beside
from moa.errors import ProviderError, UsageError
from moa.providers._batch_jobs.service import JobService
from moa.providers._batch_jobs.store import BatchJob, JobStore
from moa.providers._registry import open_batch_service

WAVE = 20_000
"""Default number of rows whose requests go into the same jobs."""


def jobs_folder(answers: str) -> Path:
    """Return the folder of the jobs of a batch, beside its answers.

    Raises:
        UsageError: The answers go to a pipe.
    """
    if answers == "-":
        raise UsageError("half the price needs a file for the answers, beside which its jobs are written down")
    return beside(answers, ".jobs")


def for_batch_jobs(mixture: Mixture, settings: Settings) -> tuple[Mixture, list[str]]:
    """Return a mixture without what file jobs can't do, and a sentence about each change.

    Raises:
        UsageError: None of its endpoints has a batch API.
        ConfigError: An endpoint isn't configured.
    """
    endpoints = {endpoint.name: endpoint for endpoint, _ in map(settings.endpoint, mixture.references)}
    without = [name for name, endpoint in endpoints.items() if endpoint.batch is None]
    if len(without) == len(endpoints):
        raise UsageError(
            f"half the price: {', '.join(without)} has no batch API that is known here; if it has one, set `batch: "
            "true` for the endpoint in moa.yaml (Bedrock: `batch:` with `s3` and `role_arn`)"
        )
    notes = [f"{name} has no batch API: its calls are made at once, at the usual price" for name in without]
    if mixture.deadline_s is not None:
        notes.append("deadline_s doesn't apply to batch jobs, which take hours")
    if any(wait is not None and wait.grace_s is not None for wait in _waits(mixture)):
        notes.append("grace_s doesn't apply to batch jobs: every layer waits for all of its proposals")
    if any(agent.hedge is not None for agent in _agents(mixture)):
        notes.append("hedge doesn't apply to batch jobs: no second request is sent")
    if any(agent.tier is not None for agent in _agents(mixture)):
        notes.append("tier doesn't apply to batch jobs, which have their own price")
    batched = endpoints.keys() - set(without)
    layers = tuple(
        layer.model_copy(
            update={
                "proposers": tuple(_as_asked(agent, batched) for agent in layer.proposers),
                "wait": _without_grace(layer),
            }
        )
        for layer in mixture.layers
    )
    changed = mixture.model_copy(
        update={
            "layers": layers,
            "aggregator": _as_asked(mixture.aggregator, batched),
            "deadline_s": None,
            "wait": _without_grace(mixture),
        }
    )
    return changed, notes


def _agents(mixture: Mixture) -> Iterator[Agent]:
    for layer in mixture.layers:
        yield from layer.proposers
    yield mixture.aggregator


def _waits(mixture: Mixture) -> Iterator[Wait | None]:
    yield mixture.wait
    for layer in mixture.layers:
        yield layer.wait


def _as_asked(agent: Agent, batched: Collection[str]) -> Agent:
    """Return an agent as it is asked: not twice, and in no tier if that is by a job."""
    by_job = agent.model.partition("/")[0] in batched
    return agent.model_copy(update={"hedge": None, **({"tier": None} if by_job else {})})


def _without_grace(place: Layer | Mixture) -> Wait | None:
    return None if place.wait is None else place.wait.model_copy(update={"grace_s": None})


def refuse_open_jobs(folder: Path) -> None:
    """Check that a batch has no jobs under way, whose requests would be bought a second time.

    Raises:
        UsageError: It has some.
    """
    if (folder / "jobs.sqlite").exists():
        store = JobStore(folder)
        try:
            if jobs := store.jobs():
                raise UsageError(
                    f"{len(jobs)} batch jobs of these answers are under way: collect them with --half-price, or end "
                    "them with --cancel and then collect what they have processed"
                )
        finally:
            store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A batch job and its state at the service.

    Attributes:
        job: The job.
        word: Its state in the service's word, or why it is unknown.
        done: Number of its requests that were processed; None if unknown.
        is_open: Whether it is still being processed.
    """

    job: BatchJob
    word: str
    done: int | None = None
    is_open: bool = False


async def job_states(folder: Path, settings: Settings, *, cancel: bool = False) -> list[JobState]:
    """Return the states of all jobs of a batch that weren't collected yet.

    Args:
        folder: Where the jobs are written down.
        settings: The settings that the batch was started with.
        cancel: Whether to end them first. What is processed already is paid for, and the next start collects it.

    Raises:
        UsageError: The folder can't be read.
        ConfigError: An endpoint can't be used.
    """
    if not (folder / "jobs.sqlite").exists():
        return []
    store, services = JobStore(folder, shared=True), dict[str, JobService]()
    try:
        jobs = store.jobs()
        for job in jobs:
            if job.endpoint not in services:
                endpoint, _ = settings.endpoint(f"{job.endpoint}/{job.model}")
                service = open_batch_service(endpoint)
                if service is None:
                    raise UsageError(f"{job.endpoint} has no `batch` in the settings any more")
                services[job.endpoint] = service
        return [await _state(job, services[job.endpoint], store, cancel=cancel) for job in jobs]
    finally:
        store.close()
        await asyncio.gather(*(service.aclose() for service in services.values()))


async def _state(job: BatchJob, service: JobService, store: JobStore, *, cancel: bool) -> JobState:
    try:
        job = await _known(job, service)
        if job.remote_id is None:
            return JobState(job=job, word="not sent")
        status = await service.status(job)
        if cancel and status.state == "running":  # services refuse to end what has ended
            store.mark_cancelled(job.token)
            await service.cancel(job)
            status = await service.status(job)
    except ProviderError as error:
        return JobState(job=job, word=f"unknown: {error}")
    return JobState(job=job, word=status.word, done=status.done, is_open=status.state == "running")


async def _known(job: BatchJob, service: JobService) -> BatchJob:
    """Return a job with the service's name of it: its process may have ended before it was written down."""
    if job.remote_id is not None:
        return job
    return replace(job, remote_id=await service.find(job))
