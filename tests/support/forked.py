"""Processes that start in milliseconds: each is forked from a server process that has imported what they need.

A process of its own costs half a second for its imports, so a test that kills twenty of them takes ten.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from moa._cli.main import main

IMPORTED = (
    __name__,
    "botocore.client",
    "botocore.handlers",
    "botocore.session",
    "genai_prices.data",
    "genai_prices.data_snapshot",
    "moa._cli.app",
    "moa._cli.handlers.batch",
    "moa.evaluation._pipeline",
    "moa.providers._bedrock.batch_jobs",
    "moa.providers._bedrock.provider",
    "moa.providers._openai_compatible.batch_jobs",
    "moa.providers._openai_compatible.provider",
)

needs_forks = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="needs processes that start quickly"
)


def forked(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that calls a function of a module with values that can be pickled."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def forked_moa(*arguments: str, folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> BaseProcess:
    """Start the command.

    Args:
        arguments: The command's.
        folder: Where it runs.
        log: The file that its output and its messages are added to.
        environment: Environment variables beyond those of this process.
    """
    return forked(_moa, arguments, folder, log, {**os.environ, **(environment or {})})


def _moa(arguments: tuple[str, ...], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(written, 1)
    os.dup2(written, 2)
    main(arguments)


async def exit_code(process: BaseProcess) -> int | None:
    """Wait until a process has ended, and return its exit code, or the number of the signal that ended it, negative."""
    await asyncio.to_thread(process.join)
    return process.exitcode
