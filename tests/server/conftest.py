from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.served import Served, served


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[Served]:
    """A server for tests that only look at refusals."""
    async with served() as server:
        yield server
