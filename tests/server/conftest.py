from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.served import ServedModel, served


@pytest_asyncio.fixture
async def shared() -> AsyncIterator[ServedModel]:
    """A server for tests that only look at refusals."""
    async with served() as server:
        yield server
