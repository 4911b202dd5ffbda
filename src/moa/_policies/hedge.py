"""Hedging: a second attempt beside a slow one; the first that is good wins, the other is cancelled and still paid."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from moa.errors import ProviderError
from moa.providers._base import (
    Finish,
    ModelRequest,
    Provider,
    ReplyEvent,
    ReplyStream,
    TextDelta,
    ToolCallDelta,
    WrappedProvider,
)

LEAST_SAMPLES = 20
"""Latencies that an agent must have shown before its 95th percentile means anything."""

MOST_SAMPLES = 200
"""Latencies that are kept of each agent, the newest ones."""


class Latencies:
    """What each agent's latest calls took, in seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_SAMPLES))

    def note(self, agent: str, seconds: float) -> None:
        """A call of this agent took so long."""
        self._seen[agent].append(seconds)

    def p95(self, agent: str) -> float | None:
        """The agent's 95th percentile, None while it has shown too few latencies."""
        seen = sorted(self._seen[agent])
        return seen[int(0.95 * len(seen))] if len(seen) >= LEAST_SAMPLES else None


class Hedged(WrappedProvider):
    """Starts a second attempt when the first is slower than the request says, or than the agent's p95.

    A replayable reply is won by whichever is whole first, and comes whole. One that a user watches is won by the first
    token, and nothing of the other is ever shown.

    Args:
        inner: The provider.
    """

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self._latencies = Latencies()

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply, twice if need be."""
        return self.inner.stream(request) if request.context.hedging is None else self._hedged(request)

    @asynccontextmanager
    async def _hedged(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        async with aclosing(self._race(request)) as events:
            yield events

    async def _race(self, request: ModelRequest) -> AsyncGenerator[ReplyEvent]:
        context = request.context
        agent = context.call.agent if context.call else ""
        after_s = context.hedging.after_s if context.hedging else None
        after_s = self._latencies.p95(agent) if after_s is None else after_s
        runners = [_Runner(self.inner, request)]
        try:
            if after_s is not None and not await runners[0].decides_within(after_s):
                runners.append(_Runner(self.inner, replace(request, context=replace(context, hedge=True))))
            winner = await _first_good(runners)
            self._latencies.note(agent, _first_took_s(runners[0], winner))
            for loser in runners:
                if loser is not winner:
                    await loser.stop()
            async for event in winner.events():
                yield event
        finally:
            for runner in runners:
                await runner.stop()


class _Runner:
    """One attempt in a task of its own, its events kept until it is known who wins."""

    def __init__(self, provider: Provider, request: ModelRequest) -> None:
        self.decided = asyncio.Event()
        self.error: ProviderError | None = None
        self.seconds = 0.0
        self._has_content = False
        self._provider, self._request = provider, request
        self._started_at = asyncio.get_running_loop().time()
        self._events: asyncio.Queue[ReplyEvent | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async with self._provider.stream(self._request) as events:
                async for event in events:
                    self._events.put_nowait(event)
                    self._has_content = self._has_content or _is_content(event)
                    if isinstance(event, Finish) or not self._request.context.replayable:
                        self._decide()
        except ProviderError as error:
            self.error = error
        finally:
            self._decide()
            self._events.put_nowait(None)

    def _decide(self) -> None:
        if not self.decided.is_set():
            self.seconds = self.age_s
            self.decided.set()

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self._started_at

    @property
    def is_good(self) -> bool:
        """Whether it has come far enough to win."""
        if self.error is None and self._request.context.replayable:
            return self.decided.is_set() and self._has_content
        if self.error is None:
            return self.decided.is_set()
        # A watched reply that broke off after its first token has been won by it; only the None is left otherwise.
        return not self._request.context.replayable and self._events.qsize() > 1

    async def decides_within(self, seconds: float) -> bool:
        """Whether it wins or fails within some seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self.decided.wait()
        except TimeoutError:
            return False
        return True

    async def events(self) -> AsyncIterator[ReplyEvent]:
        """Everything that it read and reads.

        Raises:
            ProviderError: It failed.
        """
        while (event := await self._events.get()) is not None:
            yield event
        if self.error is not None:
            raise self.error
        await self._task

    async def stop(self) -> None:
        """Cancel it and wait until its connection is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])


def _is_content(event: ReplyEvent) -> bool:
    """Whether an event is more than reasoning and white space."""
    return isinstance(event, ToolCallDelta) or (isinstance(event, TextDelta) and bool(event.text.strip()))


def _first_took_s(first: _Runner, winner: _Runner) -> float:
    """What a call takes without help, at least: slow ones must count, or the percentile sinks hedge by hedge."""
    return winner.seconds if first is winner or first.error else first.age_s


async def _first_good(runners: list[_Runner]) -> _Runner:
    """Return the first runner that may win; if all fail, the first of them."""
    pending = {asyncio.create_task(runner.decided.wait()) for runner in runners}
    try:
        while pending:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for runner in runners:
                if runner.is_good:
                    return runner
        return runners[0]
    finally:
        for task in pending:
            task.cancel()
