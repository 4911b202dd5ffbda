"""Cache: a call that was made before gets the stored reply, at no charge."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from moa._ledger import CallRecord
from moa._policies.cache.async_store import AsyncStore
from moa._policies.cache.entry import Entry
from moa._policies.cache.key import cache_key
from moa._policies.metering import Metered
from moa.providers._base import ModelRequest, Provider, ReplyEvent, WrappedProvider
from moa.providers._endpoint import Endpoint
from moa.providers._reply_serialization import is_worth_keeping, joined


class Cache(WrappedProvider):
    """Answers calls with their stored replies, and stores each new reply.

    Only complete replies are stored. When a call returns, its reply is on disk. Failures are never stored.

    Args:
        inner: The provider.
        store: Contains the replies.
        endpoint: Identity of the provider's endpoint: part of the key of a call.
    """

    def __init__(self, inner: Provider, store: AsyncStore, endpoint: Endpoint) -> None:
        super().__init__(inner)
        self._store, self._endpoint = store, endpoint

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply: the stored one, else a new one."""
        key = cache_key(self._endpoint, request)
        if key is None:
            async with self.inner.stream(request) as plain:
                yield plain
            return
        context = request.context
        asked_at = context.call.now() if context.call else None
        async with AsyncExitStack() as turn:
            with context.time.paused() if context.time else nullcontext():
                await turn.enter_async_context(self._store.single_flight(key))
                entry = await self._store.get(key)
            if entry is None:
                async with self._fetch(request, key) as fetched:
                    yield fetched
                return
        cached = Metered(_CachedReply(entry), cached=True)
        free = replace(request, context=replace(context, account=None, asked_at=asked_at))
        async with cached.stream(free) as events:
            if context.call is not None:
                context.call.attempts[-1].original_s = entry.duration_s
            yield events

    @asynccontextmanager
    async def _fetch(self, request: ModelRequest, key: str) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        received: list[ReplyEvent] = []
        async with self.inner.stream(request) as events, aclosing(_tee(events, received)) as observed:
            yield observed
        reply = joined(received)
        if is_worth_keeping(reply):
            await self._store.put(key, partial(_entry, request, reply))


async def _tee(events: AsyncIterator[ReplyEvent], received: list[ReplyEvent]) -> AsyncGenerator[ReplyEvent]:
    async for event in events:
        received.append(event)
        yield event


def _entry(request: ModelRequest, reply: tuple[ReplyEvent, ...]) -> Entry:
    entry = Entry(model=request.reference, reply=reply, stored_at=datetime.now(UTC))
    call = request.context.call
    return entry if call is None else _with_cost(entry, call)


def _with_cost(entry: Entry, call: CallRecord) -> Entry:
    """Return an entry with the cost and duration of its attempt."""
    paid = next((attempt for attempt in reversed(call.attempts) if attempt.status == "ok"), None)
    if paid is None or paid.ended_at is None:
        return entry
    cost_usd = call.price(paid.usage) if paid.usage else None
    return replace(entry, cost_usd=cost_usd, duration_s=paid.ended_at - paid.sent_at)


class _CachedReply:
    """Replays one stored reply."""

    takes_seed = True

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        async with aclosing(self._play()) as events:
            yield events

    async def _play(self) -> AsyncGenerator[ReplyEvent]:
        for event in self._entry.reply:
            yield event

    async def aclose(self) -> None:
        """Do nothing: a stored reply has no resources."""
