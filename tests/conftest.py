"""What holds for every test: no address but loopback is ever called, and no example fails for being slow."""

import gc
import ipaddress
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

MOST_PROCESSES = 4
"""Beyond that, the slowest file is what a run waits for, and each takes a gigabyte."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one process more than there are cores, as tests wait a third of their time for processes that they start.

    For one file it is none besides pytest itself, as others would start later.
    """
    files = [argument for argument in config.args if ".py" in argument]
    return 0 if files else min((os.cpu_count() or 1) + 1, MOST_PROCESSES)


class OutsideCallError(AssertionError):
    """A test tried to reach an address outside of this machine."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if not _is_loopback(host):
            raise OutsideCallError(f"a test tried to reach {host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")


# Tests start many processes. Where the environment says to keep no bytecode, as in many containers, each of them would
# compile every library that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# An audit hook sees the sockets of every library, and nobody can take it away again.
sys.addaudithook(_guard)

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """Let Python's collector pass by what was imported: with thousands of tests, a sixth of their time goes there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def ministack_url() -> Iterator[str]:
    """The address of MiniStack, which serves until all tests are done."""
    from tests.support.ministack import ministack

    with ministack() as url:
        yield url


@pytest.fixture(scope="session")
def cache_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that nobody has used yet."""
    base = tmp_path_factory.mktemp("cache")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache_folder(cache_folders: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What services refuse is remembered in the user's cache folder: no test learns from another one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(next(cache_folders)))
