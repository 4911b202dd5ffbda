"""Cache: a call that was made before is answered from what was kept of it, and charged nothing."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from moa._ledger import CallRecord
from moa._policies.cache.async_store import AsyncStore
from moa._policies.cache.entry import Entry, is_worth_keeping
from moa._policies.cache.key import cache_key
from moa._policies.metering import Metered
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._endpoint import Endpoint
from moa.providers._reply_serialization import joined


class Cache:
    """Answers from the shelf what it holds, and puts there what was bought.

    Only whole, good replies are kept, and only once whoever asked has taken them: when a call has come back, its reply
    is on disk. Failures never are.

    Args:
        inner: The provider.
        shelf: Where replies are kept.
        endpoint: Where the provider's models are: part of what makes calls the same.
    """

    def __init__(self, inner: Provider, shelf: AsyncStore, endpoint: Endpoint) -> None:
        self.takes_seed = inner.takes_seed
        self._inner, self._shelf, self._endpoint = inner, shelf, endpoint

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply: the kept one, else a bought one."""
        key = cache_key(self._endpoint, request)
        if key is None:
            async with self._inner.stream(request) as plain:
                yield plain
            return
        context = request.context
        asked_at = context.call.now() if context.call else None
        async with AsyncExitStack() as turn:
            with context.time.paused() if context.time else nullcontext():
                await turn.enter_async_context(self._shelf.turn(key))
                entry = await self._shelf.find(key)
            if entry is None:
                async with self._fetch(request, key) as bought:
                    yield bought
                return
        kept = Metered(_Kept(entry), cached=True)
        free = replace(request, context=replace(context, account=None, asked_at=asked_at))
        async with kept.stream(free) as events:
            yield events

    @asynccontextmanager
    async def _fetch(self, request: ModelRequest, key: str) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        heard: list[ReplyEvent] = []
        async with self._inner.stream(request) as events, aclosing(_tee(events, heard)) as overheard:
            yield overheard
        reply = joined(heard)
        if is_worth_keeping(reply):
            await self._shelf.keep(key, partial(_entry, request, reply))

    async def aclose(self) -> None:
        """Close the wrapped provider; the shelf is shared with others."""
        await self._inner.aclose()


async def _tee(events: AsyncIterator[ReplyEvent], heard: list[ReplyEvent]) -> AsyncGenerator[ReplyEvent]:
    async for event in events:
        heard.append(event)
        yield event


def _entry(request: ModelRequest, reply: tuple[ReplyEvent, ...]) -> Entry:
    entry = Entry(model=request.reference, reply=reply, stored_at=datetime.now(UTC))
    call = request.context.call
    return entry if call is None else _with_cost(entry, call)


def _with_cost(entry: Entry, call: CallRecord) -> Entry:
    """The entry with the cost and time of the attempt that brought it."""
    paid = next((attempt for attempt in reversed(call.attempts) if attempt.status == "ok"), None)
    if paid is None or paid.ended_at is None:
        return entry
    cost_usd = call.price(paid.usage) if paid.usage else None
    return replace(entry, cost_usd=cost_usd, duration_s=paid.ended_at - paid.sent_at)


class _Kept:
    """Plays one kept reply."""

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
        """Nothing is held."""
