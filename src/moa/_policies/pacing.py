"""Pacing: one pass of the event loop prepares a few requests, or a large one, so that others get their turns.

To estimate, address and write a request as JSON takes a fraction of a millisecond, or many of them for a long
conversation. All samples of a layer begin at once: without pacing, nothing else would happen until the last is written.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moa._messages import ImagePart, Message
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, WrappedProvider

PER_PASS = 32
"""Small requests that one pass prepares; a large one takes a whole pass."""

LARGE_MESSAGES = 100
LARGE_CHARS = 100_000
"""What makes a request large: it then takes about a millisecond or more."""


class Turnstile:
    """Counts what is prepared in one pass of the event loop, for all models of an engine."""

    def __init__(self) -> None:
        self._left = PER_PASS
        self._is_counting = False
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, places: int) -> bool:
        """Whether there is room for a request in this pass; it is taken then. Nobody overtakes those that wait."""
        if self._line or self._left < places:
            return False
        self._count(places)
        return True

    async def wait(self, places: int) -> None:
        """Take room for a request, in this pass or a later one, in the order of asking."""
        if not self.take(places):
            admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((places, admitted))
            await admitted

    def _count(self, places: int) -> None:
        self._left -= places
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin_pass)

    def _begin_pass(self) -> None:
        self._left, self._is_counting = PER_PASS, False
        while self._line and self._line[0][0] <= self._left:
            places, admitted = self._line.popleft()
            if not admitted.done():  # it was cancelled
                admitted.set_result(None)
                self._count(places)


class Paced(WrappedProvider):
    """Lets requests wait while others are prepared.

    Args:
        inner: The provider.
        turnstile: Shared with the other models.
    """

    def __init__(self, inner: Provider, turnstile: Turnstile) -> None:
        super().__init__(inner)
        self._turnstile = turnstile

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply."""
        is_large = len(request.messages) > LARGE_MESSAGES or any(map(_is_large, request.messages))
        places = PER_PASS if is_large else 1
        if self._turnstile.take(places):
            return self.inner.stream(request)
        return self._paced(request, places)

    @asynccontextmanager
    async def _paced(self, request: ModelRequest, places: int) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        await self._turnstile.wait(places)
        async with self.inner.stream(request) as events:
            yield events


def _is_large(message: Message) -> bool:
    content = message.content
    if isinstance(content, str):
        return len(content) > LARGE_CHARS
    return any(isinstance(part, ImagePart) or len(part.text) > LARGE_CHARS for part in content)
