"""Replies kept for a run that is killed: what a model has answered is not bought again when the run is resumed."""

import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from moa.evaluation._runner.journal import Journal
from moa.evaluation._runner.records import usage_of
from moa.providers._base import Finish, ModelRequest, Provider, ReasoningDelta, ReplyEvent, ReplyFold, TextDelta


class ReplyJournal:
    """The journal of whole replies, and those of it that an earlier process has left.

    Args:
        journal: Writes new ones down.
        path: The file.
        left: Lines of an earlier process; each is given out once.
    """

    def __init__(self, journal: Journal, path: Path, left: Iterable[Mapping[str, Any]]) -> None:
        self._journal, self._path = journal, path
        self._left: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for line in left:
            self._left[line["key"]].append(line)

    def take(self, key: str) -> Mapping[str, Any] | None:
        """Return a reply to this very request, if there is one left."""
        lines = self._left.get(key)
        return lines.pop(0) if lines else None

    def note(self, key: str, fold: ReplyFold) -> None:
        """Write down a whole reply; ones without text are not worth keeping."""
        finish = fold.finish
        reply = None if finish is None else fold.reply("")
        if finish is None or reply is None or not reply.text or reply.tool_calls:
            return
        self._journal.note(
            self._path,
            {
                "key": key,
                "text": reply.text,
                "reasoning": reply.reasoning,
                "logprobs": reply.logprobs,
                "reason": finish.reason,
                "served_by": finish.served_by,
                "usage": finish.usage.as_dict() if finish.usage else None,
            },
        )


class ResumingProvider:
    """A provider whose whole replies are kept.

    A reply that is given again is marked as cached in the ledger: it costs what it cost, but its times mean nothing.
    """

    def __init__(self, inner: Provider, replies: ReplyJournal) -> None:
        self.takes_seed = inner.takes_seed
        self._inner, self._replies = inner, replies

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply, or give one again.

        Raises:
            ProviderError: As the provider does.
        """
        key = request_key(request)
        known = self._replies.take(key)
        if known is not None:
            call = request.context.call
            if call is not None and call.attempts:
                call.attempts[-1].cached = True
            yield _again(known)
            return
        async with self._inner.stream(request) as events:
            yield _JournaledReply(events, key, self._replies)

    async def aclose(self) -> None:
        """Close the provider."""
        await self._inner.aclose()


class _JournaledReply:
    """A reply on its way through; its end is noted before anybody hears of it."""

    def __init__(self, events: AsyncIterator[ReplyEvent], key: str, replies: ReplyJournal) -> None:
        self._events, self._key, self._replies = events, key, replies
        self._fold = ReplyFold()

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        event = await anext(self._events)
        self._fold.add(event)
        if isinstance(event, Finish):
            self._replies.note(self._key, self._fold)
        return event


async def _again(known: Mapping[str, Any]) -> AsyncIterator[ReplyEvent]:
    if known["reasoning"]:
        yield ReasoningDelta(known["reasoning"])
    yield TextDelta(known["text"], tuple(known["logprobs"]))
    usage = known["usage"] and usage_of(known["usage"])
    yield Finish(reason=known["reason"], usage=usage or None, served_by=known["served_by"])


def request_key(request: ModelRequest) -> str:
    """Return what tells a request from others: its model, conversation, parameters (with the seed) and options."""
    told = (request.reference, request.messages, request.sampling, request.options, request.context.sample)
    return hashlib.blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
