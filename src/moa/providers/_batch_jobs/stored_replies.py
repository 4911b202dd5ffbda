"""Replies that were asked for at once beside file jobs, kept with theirs: hours pass before their rows are answered."""

import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from moa._pricing.lookup import STANDARD
from moa.providers._base import Finish, ModelRequest, Provider, ReplyEvent, WholeReply, WrappedProvider
from moa.providers._batch_jobs.store import JobStore
from moa.providers._reply_serialization import event_dict, event_from, is_worth_keeping, joined

log = logging.getLogger(__name__)

Key = Callable[[ModelRequest], str | None]
"""Returns the durable identity of a request."""


class StoredReplies(WrappedProvider):
    """Answers a request that was answered before with the same reply, and writes every whole reply down.

    Args:
        inner: Asks the service.
        store: Where replies are written down.
        endpoint: Name of the endpoint.
        key: Identity of a request.
    """

    def __init__(self, inner: Provider, store: JobStore, endpoint: str, key: Key) -> None:
        super().__init__(inner)
        self._store, self._endpoint, self._key = store, endpoint, key

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        """Open a reply, once it is written down."""
        key = self._key(request)
        if key is not None and (stored := self._store.stored_reply(self._endpoint, key)) is not None:
            yield WholeReply([event_from(event) for event in json.loads(stored)])
            return
        async with self.inner.stream(replace(request, deltas=False)) as events:
            reply = joined([event async for event in events])
        if key is not None and is_worth_keeping(reply):
            try:
                self._store.store_reply(self._endpoint, key, json.dumps([event_dict(event) for event in reply]))
            except sqlite3.Error as error:  # it was paid for, and is returned
                log.warning("a reply of %s can't be written down: %s", request.reference, error)
        yield WholeReply(list(reply))


def in_tier(events: list[ReplyEvent], tier: str | None) -> list[ReplyEvent]:
    """Return events whose usage is that of a tier, whatever the service names; None: of the one that it names."""
    return [
        replace(event, usage=replace(event.usage, tier=tier or event.usage.tier or STANDARD))
        if isinstance(event, Finish) and event.usage is not None
        else event
        for event in events
    ]
