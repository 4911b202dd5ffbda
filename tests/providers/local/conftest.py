from collections.abc import Iterator

import pytest

from moa.providers._local.server import Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The real llama.cpp servers of the whole test session."""
    running = Servers()
    yield running
    running.stop()
