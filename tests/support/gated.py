"""Scripted models that wait for the test: a script's `Gate` step holds a reply until the test opens it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moa.providers._base import ModelRequest, ReplyEvent
from moa.providers._scripted import Script, ScriptedProvider


class Gate(asyncio.Event):
    """A step of a script that lasts until the gate is set."""


class GatedProvider:
    """A `ScriptedProvider` with gates, whose scripts can be replaced between two runs.

    Attributes:
        scripts: One for each model id.
        played: What was asked, and how many replies ended early.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.played = ScriptedProvider(lambda request: self.scripts[request.model])
        self.takes_seed = True

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        async with self.played.stream(request) as events:
            yield _through_gates(events)

    async def aclose(self) -> None:
        """Nothing is held."""


async def _through_gates(events: AsyncIterator[ReplyEvent]) -> AsyncIterator[ReplyEvent]:
    async for event in events:
        if isinstance(event, Gate):
            await event.wait()
        else:
            yield event
