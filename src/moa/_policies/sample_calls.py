"""Samples of one question asked by one call, where the service has `n`: the prompt is read, and paid, once.

Stands right around a provider, below the ledger: to all that stands above, each sample is a call of its own with its
own attempt, reservation and cache entry.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from moa._policies.profile_store import GOOD_FOR_S, Lesson, ProfileStore
from moa._usage import TokenUsage
from moa.errors import BadRequest, ContextTooLong, ProviderError, Rejection
from moa.providers._base import (
    Finish,
    ModelRequest,
    Provider,
    ReplyEvent,
    ReplyFold,
    ReplyStream,
    WholeReply,
    WrappedProvider,
)
from moa.providers._call_context import SampleBatch
from moa.providers._token_estimates import size_bytes

log = logging.getLogger(__name__)

WINDOW_S = 0.02
"""Seconds for which a call waits for further samples; those that come out of a cache or have no place never come."""

_ABOUT_N = re.compile(r"(?<!\w)n(?!\w|['’]t)|multiple|candidate|choices|completions", re.IGNORECASE)
"""Services refuse `n` as "'n' : number must be at most 1" or "Multiple candidates is not enabled for this model"."""

_N = Rejection("n")

Reply = Sequence[ReplyEvent]


@runtime_checkable
class AsksForSamples(Protocol):
    """A provider whose services may answer one request several times."""

    async def samples(self, request: ModelRequest, count: int) -> Sequence[Reply | ProviderError]:
        """Return several replies to one request, each whole or its error; maybe fewer than were asked for.

        Every `Finish` carries the usage of the whole call.

        Raises:
            ProviderError: There is no reply at all.
        """
        ...


class SampleCalls(WrappedProvider):
    """Asks for the samples of a batch by one call; each alone where the service doesn't have that.

    Which models of a service don't is kept with what else services refuse, and tried again after the same time.

    Args:
        inner: The provider; also an `AsksForSamples`.
        endpoint: The endpoint's name and address, the key of what is remembered.
        store: Where lessons are kept; None forgets them at the end.
    """

    def __init__(self, inner: Provider, *, endpoint: str = "", store: ProfileStore | None = None) -> None:
        super().__init__(inner)
        self._endpoint = endpoint
        self._store = store or ProfileStore()
        lessons = (one for one in self._store.lessons() if one.endpoint == endpoint and one.rejection == _N)
        self._lessons = {lesson.model: lesson for lesson in lessons}
        self._suspected: dict[str, str] = {}
        self._retrying: dict[str, SampleBatch] = {}

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply; that of a batch comes whole, with the others."""
        context = request.context
        if context.batch is None or context.hedge or self._refuses(request.model, context.batch):
            return self.inner.stream(request)
        return self._sample(context.batch, request)

    @asynccontextmanager
    async def _sample(self, batch: SampleBatch, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open one sample's reply: its part of the batch's call, or a call of its own."""
        reply = await _join(self, batch, request)
        if reply is not None:
            yield WholeReply(reply)
            return
        async with self.inner.stream(request) as events:
            self._note_taken_alone(request)
            yield events

    def _refuses(self, model: str, batch: SampleBatch) -> bool:
        """Whether a model is known to give one reply to a request; one batch tries again after a while."""
        lesson = self._lessons.get(model)
        if lesson is None:
            return False
        if lesson.learnt_at + GOOD_FOR_S > self._store.now():
            return True
        return self._retrying.setdefault(model, batch) is not batch

    async def ask(self, requests: Sequence[ModelRequest]) -> Sequence[Reply | Exception | None]:
        """Return a reply or an error for each request of a batch; None for those that are to be asked alone.

        Raises:
            ProviderError: The call failed.
        """
        first, count = requests[0], len(requests)
        if count == 1 or not isinstance(self.inner, AsksForSamples):
            return [None] * count
        try:
            replies = await self.inner.samples(replace(first, deltas=False), count)
        except ContextTooLong:
            raise
        except BadRequest as error:
            message = str(error.args[0])
            if _ABOUT_N.search(message):
                self._suspected[first.model] = message
            elif error.rejects:
                # Each alone would be refused for the same: the learnt profile leaves it out and asks for all again.
                return [error] * count
            return [None] * count
        finally:
            self._retrying.pop(first.model, None)
        if len(replies) < count:
            self._learn(first, "the service gives fewer replies than were asked for")
        elif self._lessons.pop(first.model, None) is not None:
            self._store.unlearn(self._endpoint, first.model, _N)
        shared = _with_shared_usage(replies[:count])
        return [*shared, *[None] * (count - len(shared))]

    def _note_taken_alone(self, request: ModelRequest) -> None:
        """Take in that a request for one sample was taken: if several were refused before, that is a lesson."""
        if (message := self._suspected.pop(request.model, None)) is not None:
            self._learn(request, message)

    def _learn(self, request: ModelRequest, message: str) -> None:
        if request.model not in self._lessons:
            sentence = "%s gives one reply to a request: samples are asked for one by one from now on"
            log.info(sentence, request.reference)
        lesson = self._lessons[request.model] = Lesson(
            endpoint=self._endpoint,
            model=request.model,
            rejection=_N,
            learnt_at=self._store.now(),
            message=message,
        )
        self._store.learn(lesson)


def _with_shared_usage(replies: Sequence[Reply | ProviderError]) -> list[Reply | ProviderError]:
    """The replies with the usage of their call shared among them, so that its sum stays what the service reported.

    The prompt was read once: it counts with the first sample. What was written is shared by the length of the texts.
    """
    good = [reply for reply in replies if not isinstance(reply, ProviderError)]
    whole = next((event.usage for reply in good for event in reply if isinstance(event, Finish)), None)
    if whole is None or len(replies) < 2:
        return list(replies)
    lengths = [max(_length(reply), 1) for reply in good]
    shares = zip(_shares(whole.output_tokens, lengths), _shares(whole.reasoning_tokens, lengths), strict=True)
    shared: list[Reply | ProviderError] = []
    prompt: TokenUsage | None = whole
    for reply in replies:
        if isinstance(reply, ProviderError):
            reply.usage = TokenUsage()
            shared.append(reply)
            continue
        written, reasoning = next(shares)
        own = replace(prompt or TokenUsage(), output_tokens=written, reasoning_tokens=min(reasoning, written))
        prompt = None
        shared.append([replace(event, usage=own) if isinstance(event, Finish) else event for event in reply])
    return shared


def _length(reply: Reply) -> int:
    fold = ReplyFold()
    for event in reply:
        fold.add(event)
    return size_bytes(fold.written)


def _shares(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights whose sum is the total: the largest remainders are rounded up."""
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda at: shares[at] - exact[at])
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares


async def _join(calls: SampleCalls, batch: SampleBatch, request: ModelRequest) -> Reply | None:
    """Wait for the batch's call. It is made when the batch is complete, or when its first sample has waited enough."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Reply | None] = loop.create_future()
    batch.waiting.append((request, answer))
    if len(batch.waiting) == batch.size:
        _send(calls, batch)
    elif len(batch.waiting) == 1:
        batch.timer = loop.call_later(WINDOW_S, _send, calls, batch)
    return await answer


def _send(calls: SampleCalls, batch: SampleBatch) -> None:
    if batch.timer is not None:
        batch.timer.cancel()
        batch.timer = None
    waiting, batch.waiting = [(request, answer) for request, answer in batch.waiting if not answer.done()], []
    if not waiting:
        return
    task = asyncio.create_task(_answer(calls, waiting))
    batch.tasks.add(task)
    task.add_done_callback(batch.tasks.discard)

    def stop_if_unwanted(_: object) -> None:
        if all(answer.done() for _, answer in waiting):
            task.cancel()

    for _, answer in waiting:
        answer.add_done_callback(stop_if_unwanted)


async def _answer(calls: SampleCalls, waiting: Sequence[tuple[ModelRequest, asyncio.Future[Reply | None]]]) -> None:
    try:
        replies = await calls.ask([request for request, _ in waiting])
    except Exception as error:  # whatever it is, it is what each of the samples came to
        replies = [error] * len(waiting)
    for (_, answer), reply in zip(waiting, replies, strict=True):
        if answer.done():
            continue
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
