"""The batcher: requests wait for the reply of a file job.

Requests for the same model are collected; a job is sent when it is full, or when nothing has been added for a while.
A request is known by its cache key, so that a later process finds it in the job that an earlier one has sent.
"""

import asyncio
import copy
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, TypeVar

from moa.errors import Abandoned, BadRequest, ModelNotFound, ProviderError, ProviderFault, RateLimited, ServiceFailed
from moa.providers._base import ModelRequest, Provider, ReplyEvent, WholeReply
from moa.providers._batch_jobs.job_input import JobInput, copied, new_input
from moa.providers._batch_jobs.service import TIER, JobService, JobStatus
from moa.providers._batch_jobs.store import BatchJob, JobStore, new_job, sync
from moa.providers._batch_jobs.stored_replies import Key, StoredReplies, in_tier
from moa.providers._endpoint import BatchSettings
from moa.providers._rejections import parts_of
from moa.providers._reply_serialization import is_worth_keeping

log = logging.getLogger(__name__)

OLDEST_S = 300.0
"""Seconds after which a job is sent although requests are still being added."""

LONGEST_PAUSE_S = 60.0
"""Longest pause between two attempts to reach a service, in seconds."""

CLEANING_S = 20.0
"""Seconds at the end in which files of collected jobs are removed from the service."""

LONGEST_WAIT_S = 900.0
"""Longest wait for an account's quota, in seconds."""

ATTEMPTS = 6
"""Attempts of an upload or download."""

FINDS = 3
FIND_PAUSE_S = 5.0
"""Looks for a job that may have been created a moment ago, and seconds between them: lists are behind."""

MISSES = 3
MOST_MISSES = 20
"""A job that the service doesn't know so many times in a row is lost: the larger number if its list has it."""

LOOKS = 5
"""Looks for the replies of a job of which there are fewer than were processed, as far as the service says."""

AHEAD_FROM = 50
"""Fewest requests of one kind of which one is asked ahead of their job."""

AT_A_TIME = 500
"""Replies that are written down together."""

OnJobs = Callable[[], None]
"""Called whenever the state of a job has changed."""


Result = TypeVar("Result")


class _AskAtOnce(Exception):
    """There are too few requests for a job."""


@dataclass(slots=True)
class _Asker:
    """Who waits for the reply to a request."""

    request: ModelRequest
    events: asyncio.Future[list[ReplyEvent]]


class Batcher:
    """Answers requests through file jobs. Their time limits stand still meanwhile.

    Args:
        inner: Answers what doesn't fit a job.
        service: The service's batch API.
        store: Where jobs and replies are written down.
        endpoint: Name of the endpoint.
        settings: How jobs are made.
        key: Identity of a request.
        on_jobs: Called whenever the state of a job has changed.

    Attributes:
        running: The jobs under way, with their last known state; None if it isn't known yet.
    """

    def __init__(
        self,
        inner: Provider,
        service: JobService,
        store: JobStore,
        *,
        endpoint: str,
        settings: BatchSettings,
        key: Key,
        on_jobs: OnJobs = lambda: None,
    ) -> None:
        self.takes_seed = inner.takes_seed
        self.running: dict[str, tuple[BatchJob, JobStatus | None]] = {}
        self._inner, self._service, self._store, self._endpoint = inner, service, store, endpoint
        self._settings, self._key, self._on_jobs = settings, key, on_jobs
        # StoredReplies like the replies of jobs: the other calls of its row may take hours.
        self._at_once = StoredReplies(service.at_once(inner), store, endpoint, key)
        self._recovery: asyncio.Task[None] | None = None
        self._inputs: dict[str, JobInput] = {}
        self._sent: dict[str, str] = {}
        self._askers: dict[str, _Asker] = {}
        self._failures: dict[str, ProviderError] = {}
        self._accepted: dict[str, int] = {}
        self._delivering = 0
        self._refusals: dict[str, int] = {}
        self._ahead: dict[tuple[str, frozenset[str]], asyncio.Task[ProviderError | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleaning: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply, once its job has ended."""
        try:
            with request.context.waiting():
                events = await self._reply(replace(request, deltas=False))
        except _AskAtOnce:
            async with self._at_once.stream(request) as now:
                events = in_tier([event async for event in now], None)
        yield WholeReply(events)

    async def _reply(self, request: ModelRequest) -> list[ReplyEvent]:
        if self._recovery is None or (self._recovery.done() and self._recovery.exception() is not None):
            self._recovery = asyncio.ensure_future(self._recover())
        # Shielded: a caller that gives up doesn't end it for the others.
        await asyncio.shield(self._recovery)
        base = self._key(request)
        if base is None:
            raise BadRequest("the request can't be written as JSON", model=request.reference)
        # The same request at the same time, e.g. of two equal prompts, is another request: each has its own reply.
        key = next(key for number in count() if (key := _numbered(base, number)) not in self._askers)
        if (reply := self._store.reply(self._endpoint, key)) is not None:
            return self._handed_out(key, in_tier(self._decoded(reply, request), TIER))
        if self._store.stored_reply(self._endpoint, key) is not None:
            raise _AskAtOnce  # it was, by an earlier process
        if (failure := self._failures.get(self._sent.get(key, ""))) is not None:
            raise copy.copy(failure)
        asker = self._askers[key] = _Asker(request, asyncio.get_running_loop().create_future())
        try:
            if key not in self._sent:
                self._add(key, request)
            return self._handed_out(key, await asker.events)
        finally:
            del self._askers[key]

    def _decoded(self, reply: bytes, request: ModelRequest) -> list[ReplyEvent]:
        return self._service.decode(reply, reference=request.reference, request=request)

    def _handed_out(self, key: str, reply: list[ReplyEvent]) -> list[ReplyEvent]:
        """Return a reply. One that isn't whole is handed out once only: a row that failed can be tried again."""
        if not is_worth_keeping(reply):
            self._store.forget(self._endpoint, key)
        return reply

    def _add(self, key: str, request: ModelRequest) -> None:
        line, service = self._service.line(key, request), self._service
        if len(line) > service.most_bytes:
            raise BadRequest(f"{len(line):,} bytes don't fit into a batch job", model=request.reference)
        current = self._inputs.get(request.model)
        if current and (len(current.keys) >= service.most or current.size + len(line) > service.most_bytes):
            self._send(current)
            current = None
        if current is None:
            current = self._inputs[request.model] = new_input(self._store, request.model)
        current.file.write(line)
        current.size += len(line)
        current.keys.append(key)
        if request.context.untried:
            current.untried.setdefault(parts_of(request), []).append(key)
        self._sent[key] = current.token
        current.added_at = time.monotonic()
        if current.timer is None:
            self._look_later(current)

    def _look_later(self, current: JobInput) -> None:
        wait_s = self._settings.quiet_s - (time.monotonic() - current.added_at)
        wait_s = wait_s if wait_s > 0 else self._settings.quiet_s / 4
        due_at = time.monotonic() + wait_s
        current.timer = asyncio.get_running_loop().call_later(wait_s, self._look, current, due_at)

    def _look(self, current: JobInput, due_at: float) -> None:
        now, quiet_s = time.monotonic(), self._settings.quiet_s
        # While replies are given out, or the event loop is behind, more requests are about to come.
        is_busy = self._delivering > 0 or now - due_at > quiet_s / 4
        is_quiet = now - current.added_at >= quiet_s and not is_busy
        if is_quiet or now - current.started_at >= OLDEST_S:
            self._send(current)
        else:
            self._look_later(current)

    def _send(self, current: JobInput) -> None:
        """Make a job of an input."""
        del self._inputs[current.model]
        if current.timer is not None:
            current.timer.cancel()
        self._start(self._work_on_input(current))

    async def _work_on_input(self, current: JobInput) -> None:
        try:
            current = await self._tried(current)
            if len(current.keys) < self._service.fewest:
                self._ask_all_at_once(current)
                return
            job = self._written_down(current)
        except (OSError, sqlite3.Error) as error:
            message = f"the batch job can't be written down: {error}"
            self._fail(current.keys, ProviderFault(message, model=f"{self._endpoint}/{current.model}"))
        else:
            await self._work(job, set(current.keys))
        finally:
            current.file.close()

    def _ask_all_at_once(self, current: JobInput) -> None:
        if current.keys:
            log.warning(
                "%s/%s: %d requests are too few for a batch job (fewest: %d), so they are asked at once",
                self._endpoint,
                current.model,
                len(current.keys),
                self._service.fewest,
            )
        self._store.input_of(current.token).unlink(missing_ok=True)
        self._fail(current.keys, _AskAtOnce())

    async def _tried(self, current: JobInput) -> JobInput:
        """Return an input without the requests that were answered, or refused, at once.

        Of each kind of request that its service may refuse, one is asked ahead: a refusal would be known only at the
        end of the job, for all of them.
        """
        for parts, keys in current.untried.items():
            if len(keys) >= AHEAD_FROM and len(current.keys) > self._service.fewest:
                ahead = self._ahead.get((current.model, parts))
                if ahead is None:
                    ahead = self._ahead[current.model, parts] = asyncio.ensure_future(self._ask_ahead(keys[0]))
                refusal = await asyncio.shield(ahead)
                if refusal is not None:
                    self._fail(keys, refusal)
        left = [key for key in current.keys if self._sent.get(key) == current.token]
        if len(left) == len(current.keys):
            return current
        current.file.close()
        fresh = self._copied(current.token, current.model, left)
        self._store.input_of(current.token).unlink()
        return fresh

    async def _ask_ahead(self, key: str) -> ProviderError | None:
        """Ask for the reply to a request at once, and return how its service has refused a part of it, if it has."""
        asker = self._askers.get(key)
        if asker is None:
            return None
        try:
            async with self._at_once.stream(asker.request) as events:
                reply = [event async for event in events]
        except ProviderError as error:
            # Anything else, as of a deployment that has file jobs only, is for the job to find out.
            return error if error.rejects else None
        self._give(key, in_tier(reply, None))
        return None

    def _copied(self, token: str, model: str, keys: Sequence[str]) -> JobInput:
        fresh = copied(self._store, token, model, keys, self._service.key_of)
        self._sent.update(dict.fromkeys(keys, fresh.token))
        return fresh

    def _written_down(self, current: JobInput) -> BatchJob:
        """Bring an input to disk, and then its job."""
        with current.file:
            sync(current.file)
        job = new_job(current.token, self._endpoint, current.model, len(current.keys))
        self._store.add(job, current.keys)
        return job

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _recover(self) -> None:
        """Take up the jobs of an earlier process; those that the service never got are forgotten."""
        for job in self._store.jobs(self._endpoint):
            if job.token in self.running:
                continue  # an earlier recovery has failed after this job
            if job.remote_id is None:
                job = await self._looked_up(job)
            if job.remote_id is None:
                await self._clean_up(job, None)
                self._store.end(job.token)
                continue
            keys = self._store.keys(job.token)
            self._sent.update(dict.fromkeys(keys, job.token))
            self.running[job.token] = job, None
            self._start(self._work(job, keys))

    async def _looked_up(self, job: BatchJob) -> BatchJob:
        for look in range(FINDS):
            if look:
                await asyncio.sleep(min(self._settings.poll_s, FIND_PAUSE_S))
            remote_id = await self._persistently(lambda: self._service.find(job), f"looking up batch job {job.token}")
            if remote_id is not None:
                self._store.note(job.token, remote_id=remote_id)
                return replace(job, remote_id=remote_id)
        return replace(job, remote_id=None)

    async def _work(self, job: BatchJob, keys: set[str]) -> None:
        """See a job through: every asker gets a reply or an error, whatever happens."""
        self.running[job.token] = job, None
        try:
            status = await self._run(job, keys)
        except ProviderError as error:
            if any(known.token == job.token for known in self._store.jobs(job.endpoint)):
                # It may still be collected by a later process: its requests must not be sent again.
                self._failures[job.token] = error
            self._fail(keys, error)
        except Exception as error:
            # A bug, or a full disk: the waiting calls fail with it, and a later process can collect the job.
            message = f"batch job {job.token}: {type(error).__name__}: {error}"
            fault = self._failures[job.token] = ProviderFault(message, model=job.reference)
            self._fail(keys, fault)
        else:
            job, _ = self.running[job.token]
            if status.state == "over_quota":
                self._start(self._send_later(job, keys))
        finally:
            self.running.pop(job.token, None)
            self._on_jobs()

    async def _run(self, job: BatchJob, keys: set[str]) -> JobStatus:
        if job.remote_id is None:
            job = await self._submit(job)
        self.running[job.token] = job, None
        status = await self._wait(job)
        if status.state == "over_quota":
            return status
        if status.state == "refused":
            self._refuse(job, keys, status)
        else:
            await self._collect(job, keys, status)
        self._refusals.pop(job.model, None)
        self._accepted[job.model] = max(job.requests, self._accepted.get(job.model, 0))
        # In this order: a process that takes this job up again removes what is left of its files.
        cleaning = asyncio.ensure_future(self._clean_up(job, status))
        self._cleaning.add(cleaning)
        cleaning.add_done_callback(self._cleaning.discard)
        await asyncio.shield(cleaning)
        self._store.end(job.token)
        return status

    async def _submit(self, job: BatchJob) -> BatchJob:
        """Upload and create a job, once: whether it was created is looked up whenever that is in doubt."""
        path = self._store.input_of(job.token)
        try:
            file_id = await self._persistently(
                lambda: self._service.upload(job, path), f"uploading batch job {job.token}", attempts=ATTEMPTS
            )
        except ProviderError:
            self._store.end(job.token)
            raise
        self._store.note(job.token, file_id=file_id)
        job = replace(job, file_id=file_id)
        for attempt in count(1):
            try:
                remote_id = await self._service.create(job)
            except ProviderError as error:
                if not isinstance(error, RateLimited):
                    found = await self._looked_up(job)
                    if found.remote_id is not None:
                        return found
                # A limit on the number of jobs holds until another job ends.
                is_final = attempt >= ATTEMPTS and not isinstance(error, RateLimited)
                if not error.retryable or is_final:
                    await self._clean_up(job, None)
                    self._store.end(job.token)
                    raise
                await asyncio.sleep(_pause_s(attempt, error))
            else:
                self._store.note(job.token, remote_id=remote_id)
                return replace(job, remote_id=remote_id)
        raise AssertionError

    async def _wait(self, job: BatchJob) -> JobStatus:
        misses = 0
        while True:
            try:
                status = await self._persistently(lambda: self._service.status(job), f"status of batch job {job.token}")
            except ModelNotFound as error:
                misses += 1
                # A list may know a new job sooner, and a lost one longer, than its own address does.
                if misses >= MOST_MISSES or (misses >= MISSES and (await self._looked_up(job)).remote_id is None):
                    self._store.end(job.token)
                    message = f"the service doesn't know batch job {job.remote_id} any more"
                    raise ServiceFailed(message, model=job.reference) from error
            else:
                misses = 0
                self.running[job.token] = job, status
                self._on_jobs()
                if status.state != "running":
                    return status
            await asyncio.sleep(self._settings.poll_s)

    async def _collect(self, job: BatchJob, keys: set[str], status: JobStatus) -> None:
        """Write down every reply of an ended job, and then give it to who waits for it."""
        missing = set(keys)
        if not missing:
            return  # an earlier process has them all
        self._delivering += 1
        try:
            status = await self._take_all(job, missing, status)
        finally:
            self._delivering -= 1
        if status.cancelled and not job.cancelled:
            self._fail(missing, Abandoned("its batch job was cancelled", model=job.reference))
        else:
            reason = f"its batch job ended without it ({status.word}{': ' if status.message else ''}{status.message})"
            self._fail(missing, ServiceFailed(reason, model=job.reference))

    async def _take_all(self, job: BatchJob, missing: set[str], status: JobStatus) -> JobStatus:
        """Take the replies out of what is missing, and return the state in which they were taken.

        A service may say that a job has ended before its files are there, and a download may end early without an
        error: what was processed is looked for again before it is sent, and paid, once more.
        """
        for look in count(1):
            await self._persistently(
                partial(self._take, job, missing, status), f"downloading the replies of batch job {job.token}"
            )
            unprocessed = len(missing) if status.done is None else max(0, job.requests - status.done)
            if len(missing) <= unprocessed or look == LOOKS:
                return status
            log.info("batch job %s: %d replies are not there yet", job.token, len(missing) - unprocessed)
            await asyncio.sleep(min(self._settings.poll_s * look, LONGEST_PAUSE_S))
            status = await self._persistently(lambda: self._service.status(job), f"status of batch job {job.token}")
        raise AssertionError

    async def _take(self, job: BatchJob, missing: set[str], status: JobStatus) -> None:
        chunk: dict[str, bytes] = {}
        async with aclosing(self._service.replies(job, status)) as replies:
            async for key, reply in replies:
                if key in missing:
                    chunk.setdefault(key, reply)
                if len(chunk) >= AT_A_TIME:
                    self._deliver(job, chunk)
                    missing.difference_update(chunk)
                    chunk = {}
        self._deliver(job, chunk)
        missing.difference_update(chunk)

    def _deliver(self, job: BatchJob, replies: Mapping[str, bytes]) -> None:
        good: dict[str, list[ReplyEvent]] = {}
        failed: dict[str, ProviderError] = {}
        for key, reply in replies.items():
            asker = self._askers.get(key)
            try:
                events = self._service.decode(reply, reference=job.reference, request=asker.request if asker else None)
                good[key] = in_tier(events, TIER)
            except ProviderError as error:
                failed[key] = error
        if good:
            self._store.put(self._endpoint, {key: replies[key] for key in good})
        for key, events in good.items():
            self._give(key, events)
        for key, failure in failed.items():
            self._fail([key], failure)

    def _give(self, key: str, reply: list[ReplyEvent]) -> None:
        self._sent.pop(key, None)
        if (asker := self._askers.get(key)) is not None and not asker.events.done():
            asker.events.set_result(reply)

    def _refuse(self, job: BatchJob, keys: set[str], status: JobStatus) -> None:
        """Blame the requests that a job was refused for; the others may go into the next job."""
        if not status.faults:
            self._fail(keys, BadRequest(f"batch job {status.word}: {status.message}", model=job.reference))
            return
        order = self._order(job)
        for line, fault in status.faults.items():
            if line < len(order):
                self._fail([order[line]], fault)
        rest = keys - {order[line] for line in status.faults if line < len(order)}
        message = f"batch job {status.word} because of another request: {status.message}"
        self._fail(rest, ServiceFailed(message, model=job.reference))

    def _order(self, job: BatchJob) -> list[str]:
        with self._store.input_of(job.token).open("rb") as file:
            return [self._service.key_of(line) for line in file]

    async def _send_later(self, job: BatchJob, keys: set[str]) -> None:
        """Send a job again that exceeded the account's quota: later, and in two halves if it was alone."""
        await self._clean_up(job, None)
        is_alone = not any(other.model == job.model for other, _ in self.running.values())
        order = await asyncio.to_thread(self._order, job)
        parts = [order]
        if is_alone and len(order) > self._accepted.get(job.model, 1):
            parts = [order[: len(order) // 2], order[len(order) // 2 :]]
        refusals = self._refusals[job.model] = self._refusals.get(job.model, 0) + 1
        await asyncio.sleep(min(self._settings.poll_s * 2 ** min(refusals, 10), LONGEST_WAIT_S))
        inputs = [self._copied(job.token, job.model, part) for part in parts]
        self._store.end(job.token)
        for fresh in inputs:
            await self._work(self._written_down(fresh), keys & set(fresh.keys))

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        for key in list(keys):
            if self._sent.get(key) not in self._failures:
                self._sent.pop(key, None)
            if (asker := self._askers.get(key)) is not None and not asker.events.done():
                asker.events.set_exception(copy.copy(error))

    async def _persistently(
        self, ask: Callable[[], Coroutine[Any, Any, Result]], what: str, *, attempts: int | None = None
    ) -> Result:
        """Return what the service answers; while it can't be reached, ask again and again, at most every minute."""
        for attempt in count(1):
            try:
                return await ask()
            except ProviderError as error:
                if not error.retryable or attempt == attempts:
                    raise
                log.log(logging.WARNING if attempt % 10 == 1 else logging.DEBUG, "%s: %s: trying again", what, error)
                await asyncio.sleep(_pause_s(attempt, error))
        raise AssertionError

    async def _clean_up(self, job: BatchJob, status: JobStatus | None) -> None:
        try:
            await self._service.clean_up(job, status)
        except ProviderError as error:
            log.info("files of batch job %s were left at the service: %s", job.token, error)

    async def aclose(self) -> None:
        """Stop waiting; the jobs go on at the service, and a later process collects them."""
        self._on_jobs = lambda: None  # they don't end
        for current in self._inputs.values():
            if current.timer is not None:
                current.timer.cancel()
            current.file.close()
            self._store.input_of(current.token).unlink(missing_ok=True)
        self._inputs.clear()
        if self._cleaning:
            await asyncio.wait(self._cleaning, timeout=CLEANING_S)
        tasks = [*self._tasks, *self._cleaning, *self._ahead.values(), *([self._recovery] if self._recovery else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._service.aclose()
        await self._inner.aclose()


def _numbered(key: str, number: int) -> str:
    """Return the key of one of several equal requests, no longer than the 64 characters that services allow."""
    return f"{key[:-8]}-{number}" if number else key


def _pause_s(attempt: int, error: ProviderError) -> float:
    longest: float = min(0.5 * 2.0 ** min(attempt - 1, 10), LONGEST_PAUSE_S)
    return max(longest, error.retry_after_s or 0.0)
