"""Breaker: when a model is skipped, and when it gets another chance."""

import asyncio

import pytest

from moa._ledger import Meter
from moa._policies.circuit_breaker import Breaker
from moa.errors import BadRequest, CircuitOpen, ProviderError, RateLimited, ServiceFailed
from moa.providers._base import collect
from moa.providers._endpoint import BreakerSettings
from moa.providers._scripted import Pause, Script, ScriptedProvider
from moa.providers._time_limit import TimeLimit
from tests.support.requests import plain_request, with_context
from tests.support.virtual_clock import loop_time, virtual_time

BOOM: Script = [ServiceFailed("boom", model="fake/a")]


class Switch:
    """A breaker around a model whose script can be changed."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.provider = ScriptedProvider(lambda request: self.script)
        self.breaker = Breaker(self.provider, BreakerSettings(failures=3, cooldown_s=30), loop_time)

    async def ask(self, times: int = 1) -> ProviderError | None:
        error: ProviderError | None = None
        for _ in range(times):
            try:
                await collect(self.breaker, plain_request())
                error = None
            except ProviderError as failure:
                error = failure
        return error


@virtual_time
async def test_a_model_that_keeps_failing_is_skipped_at_once_with_the_cause() -> None:
    switch = Switch(BOOM)
    await switch.ask(3)
    error = await switch.ask()

    assert isinstance(error, CircuitOpen)
    assert "3 failures in a row; the last: boom" in str(error)
    assert len(switch.provider.requests) == 3


@virtual_time
async def test_a_success_in_between_keeps_the_breaker_closed() -> None:
    switch = Switch(BOOM)
    await switch.ask(2)
    switch.script = "fine"
    await switch.ask()
    switch.script = BOOM

    assert isinstance(await switch.ask(3), ServiceFailed)


@pytest.mark.parametrize("kind", [RateLimited, BadRequest])
@virtual_time
async def test_throttling_and_bad_requests_do_not_open_it(kind: type[ProviderError]) -> None:
    switch = Switch([kind("no", model="fake/a")])

    assert isinstance(await switch.ask(10), kind)


@virtual_time
async def test_one_probe_after_the_cooldown_closes_it_or_opens_it_again() -> None:
    switch = Switch(BOOM)
    await switch.ask(3)
    await asyncio.sleep(30)
    assert isinstance(await switch.ask(), ServiceFailed)
    assert isinstance(await switch.ask(), CircuitOpen)

    await asyncio.sleep(30)
    switch.script = "fine"
    assert await switch.ask(2) is None


@virtual_time
async def test_only_one_call_probes_while_the_others_are_skipped() -> None:
    switch = Switch(BOOM)
    await switch.ask(3)
    await asyncio.sleep(30)
    switch.script = [Pause(5), "fine"]
    errors = await asyncio.gather(*(switch.ask() for _ in range(4)))

    assert [type(error).__name__ for error in errors] == ["NoneType", "CircuitOpen", "CircuitOpen", "CircuitOpen"]


@virtual_time
async def test_calls_that_hang_until_their_time_is_over_open_it() -> None:
    switch = Switch([Pause(float("inf"))])
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with TimeLimit(5, now=loop_time) as limit:
                await collect(switch.breaker, with_context(plain_request(Meter(loop_time)), time=limit))

    assert isinstance(await switch.ask(), CircuitOpen)


@virtual_time
async def test_quick_faults_among_many_calls_at_once_do_not_open_it() -> None:
    numbers = iter(range(1000))
    switch = Switch(BOOM)
    switch.provider = ScriptedProvider(lambda request: BOOM if next(numbers) % 4 == 0 else [Pause(1), "fine"])
    switch.breaker = Breaker(switch.provider, BreakerSettings(failures=3), loop_time)

    errors = await asyncio.gather(*(switch.ask() for _ in range(200)))

    assert sum(isinstance(error, ServiceFailed) for error in errors) == 50
    assert not any(isinstance(error, CircuitOpen) for error in errors)


@pytest.mark.parametrize("script", [BOOM, [Pause(60), *BOOM]])
@virtual_time
async def test_a_service_that_fails_every_call_is_skipped_after_few_also_with_many_at_once(script: Script) -> None:
    switch = Switch(script)

    await asyncio.gather(*(switch.ask() for _ in range(200)))

    assert isinstance(await switch.ask(), CircuitOpen)


@virtual_time
async def test_one_slow_call_does_not_keep_it_closed() -> None:
    switch = Switch([Pause(600), "fine"])
    slow = asyncio.create_task(switch.ask())
    await asyncio.sleep(1)
    switch.script = BOOM

    await switch.ask(4)

    assert isinstance(await switch.ask(), CircuitOpen)
    slow.cancel()
