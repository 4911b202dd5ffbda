import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from moa._state.memory import MemoryStore
from moa._state.redis import RedisStore
from moa._state.sqlite import SqliteStore
from moa._state.store import StateStore


class RedisServer:
    """A real Redis server on a Unix socket; it can be stopped, frozen and started again."""

    def __init__(self, folder: Path, *, command: Sequence[str] = (), listen: str | None = None) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._folder, self._command = folder, command
        address = ["--port", "0"] if listen is None else ["--port", "6379", "--bind", listen]
        self._address = [*address, "--protected-mode", "no"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--unixsocket", f"{self._folder}/redis.sock", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(
            [
                *self._command,
                "redis-server",
                *self._address,
                *arguments,
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"ccept connections" in line:
                return
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs Debian's redis-server: apt-get install redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


OpenStore = Callable[..., StateStore]


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    opened: list[StateStore] = []

    def make(**options: int) -> StateStore:
        if request.param == "memory":
            store: StateStore = MemoryStore(**options)
        elif request.param == "sqlite":
            store = SqliteStore(tmp_path / "state.sqlite", **options)
        else:
            store = RedisStore(f"{request.getfixturevalue('redis_server').url}?prefix={tmp_path.name}", **options)
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.aclose()
    await asyncio.sleep(0)


@pytest.fixture
def store(open_store: OpenStore) -> StateStore:
    return open_store()
