"""A process that runs out of file descriptors: its calls wait, and no service is blamed."""

import asyncio
import subprocess
import sys

import pytest

from moa._policies.circuit_breaker import Breaker
from moa.errors import CircuitOpen, OutOfDescriptors, ServiceFailed
from moa.providers._base import collect
from moa.providers._endpoint import BreakerSettings
from moa.providers._scripted import ScriptedProvider
from tests.support.model_server import ModelServer, Text
from tests.support.requests import plain_request
from tests.support.virtual_clock import loop_time, virtual_time

RUNS = """
import asyncio, resource, sys
from moa._config.settings import Settings
from moa._runtime.engine import Engine
from moa.providers._endpoint import Endpoint

url, limit, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
mixture = {"name": "m", "layers": [{"proposers": [{"model": "lab/a", "samples": 3}], "wait": {"min_proposals": 3}}],
           "aggregator": {"model": "lab/b"}}

async def main():
    lab = Endpoint(name="lab", kind="openai", base_url=url)
    async with Engine(settings=Settings(endpoints={"lab": lab})) as engine:
        runs = (engine.arun(mixture, f"prompt {number}") for number in range(at_once))
        answers = await asyncio.gather(*runs, return_exceptions=True)
    print(sum(getattr(answer, "status", None) == "complete" for answer in answers), len(answers))
    print({repr(answer)[:300] for answer in answers if isinstance(answer, Exception)}, file=sys.stderr)

asyncio.run(main())
"""


async def _run_in_a_process_with(limit: int, at_once: int) -> tuple[str, str]:
    async with ModelServer() as server:
        server.behave("*", Text("fine", delay_s=0.05))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUNS, server.base_url, str(limit), str(at_once),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await child.communicate()
    return out.decode().strip(), err.decode()


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "at_once"), [(128, 64), (40, 16)])
async def test_no_run_is_lost_when_there_are_more_calls_than_descriptors(limit: int, at_once: int) -> None:
    out, err = await _run_in_a_process_with(limit, at_once)

    assert out == f"{at_once} {at_once}", err


@virtual_time
async def test_a_breaker_takes_no_notice_of_calls_that_found_no_descriptor() -> None:
    errors = iter(
        [ServiceFailed("down", model="fake/a"), OutOfDescriptors("none left", model="fake/a")] * 2
        + [ServiceFailed("down", model="fake/a")]
    )
    provider = ScriptedProvider(lambda request: [next(errors)])
    breaker = Breaker(provider, BreakerSettings(failures=3, cooldown_s=30), loop_time)
    for expected in (ServiceFailed, OutOfDescriptors, ServiceFailed, OutOfDescriptors, ServiceFailed, CircuitOpen):
        with pytest.raises(expected):
            await collect(breaker, plain_request())


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    code = (
        "import resource; from moa.providers._descriptors import *; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300)); assert connection_descriptors() == 75; "
        "raise_descriptor_limit(); print(descriptor_limit(), connection_descriptors())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["300", "236"]
