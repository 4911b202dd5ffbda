"""Retry: what is tried again, how often, and after which pause."""

import random
from collections.abc import Callable

import pytest

from moa._ledger import Meter
from moa._policies.metering import Metered
from moa._policies.retry import Retry
from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    BrokenReply,
    ConnectionFailed,
    EmptyReply,
    IdleTimedOut,
    ProviderError,
    RateLimited,
    Refused,
    ServiceFailed,
)
from moa.providers._base import Finish, ModelRequest, Restarted, TextDelta, collect
from moa.providers._endpoint import RetrySettings
from moa.providers._scripted import Script, ScriptedProvider
from moa.providers._time_limit import TimeLimit
from tests.support.requests import plain_request, with_context
from tests.support.virtual_clock import loop_time, virtual_time

AGAIN = [RateLimited, ServiceFailed, ConnectionFailed, IdleTimedOut, BrokenReply]
NEVER = [BadRequest, AuthenticationFailed, Refused, EmptyReply]


def _failing(times: int, error: Callable[[], ProviderError]) -> ScriptedProvider:
    """A provider that fails some times, then answers."""
    left = iter(range(times))

    def script(request: ModelRequest) -> Script:
        return "fine" if next(left, None) is None else [error()]

    return ScriptedProvider(script)


def _retry(provider: ScriptedProvider, **settings: float) -> Retry:
    return Retry(Metered(provider), RetrySettings(**settings), random.Random(0))


def _boom() -> ProviderError:
    return ServiceFailed("boom", model="fake/a")


@pytest.mark.parametrize("kind", AGAIN)
@virtual_time
async def test_a_fault_that_may_pass_is_tried_again(kind: type[ProviderError]) -> None:
    provider = _failing(2, lambda: kind("boom", model="fake/a"))
    reply = await collect(_retry(provider), plain_request())

    assert reply.text == "fine"
    assert len(provider.requests) == 3


@pytest.mark.parametrize("kind", NEVER)
@virtual_time
async def test_what_would_fail_again_is_not_tried_again(kind: type[ProviderError]) -> None:
    provider = _failing(1, lambda: kind("no", model="fake/a"))
    with pytest.raises(kind):
        await collect(_retry(provider), plain_request())

    assert len(provider.requests) == 1


@virtual_time
async def test_attempts_end_at_the_limit_with_the_last_fault() -> None:
    provider = _failing(99, _boom)
    with pytest.raises(ServiceFailed):
        await collect(_retry(provider, max_attempts=3), plain_request())

    assert len(provider.requests) == 3


@virtual_time
async def test_every_attempt_is_in_the_ledger() -> None:
    meter = Meter(loop_time)
    request = plain_request(meter)
    await collect(_retry(_failing(2, _boom)), request)

    assert [attempt.status for attempt in meter.ledger().attempts] == ["failed", "failed", "ok"]


@virtual_time
async def test_pauses_stay_within_a_doubling_ceiling() -> None:
    with pytest.raises(ServiceFailed):
        await collect(_retry(_failing(99, _boom), max_attempts=4, base_s=1.0, cap_s=3.0, burst=10), plain_request())

    assert 0 < loop_time() <= 1 + 2 + 3


@virtual_time
async def test_the_services_own_wait_is_kept() -> None:
    provider = _failing(1, lambda: RateLimited("slow down", model="fake/a", retry_after_s=40))
    await collect(_retry(provider, base_s=0.5), plain_request())

    assert 40 < loop_time() <= 40.5, "all that were throttled at once are not retried at once"


@pytest.mark.parametrize("seconds", [30, 40])
@virtual_time
async def test_a_wait_that_outlasts_the_call_is_not_begun(seconds: float) -> None:
    retry = _retry(_failing(1, lambda: RateLimited("slow down", model="fake/a", retry_after_s=40)), base_s=0.0)
    with pytest.raises(RateLimited):
        async with TimeLimit(seconds, now=loop_time) as limit:
            await collect(retry, with_context(plain_request(), time=limit))

    assert loop_time() == 0


@virtual_time
async def test_an_outage_gets_few_retries_beyond_the_burst() -> None:
    provider = _failing(10_000, _boom)
    retry = _retry(provider, burst=10, per_call=0.2, max_attempts=4)
    for _ in range(100):
        with pytest.raises(ServiceFailed):
            await collect(retry, plain_request())

    assert len(provider.requests) <= 100 + 10 + 20


@virtual_time
async def test_throttled_calls_do_not_use_up_the_budget() -> None:
    provider = _failing(1, lambda: RateLimited("slow down", model="fake/a"))
    retry = _retry(provider, burst=0, per_call=0)

    assert (await collect(retry, plain_request())).text == "fine"


@virtual_time
async def test_a_reply_that_a_user_watches_is_not_begun_anew() -> None:
    provider = ScriptedProvider(lambda request: ["Once ", _boom()])
    with pytest.raises(ServiceFailed):
        await collect(_retry(provider), plain_request())

    assert len(provider.requests) == 1


@virtual_time
async def test_a_replayable_reply_is_begun_anew_and_what_came_is_void() -> None:
    scripts = iter([["Once ", _boom()], ["Twice"]])
    retry = _retry(ScriptedProvider(lambda request: next(scripts)))
    request = with_context(plain_request(), replayable=True)
    async with retry.stream(request) as events:
        told = [event async for event in events]

    assert [type(event) for event in told] == [TextDelta, Restarted, TextDelta, Finish]

    scripts = iter([["Once ", _boom()], ["Twice"]])
    assert (await collect(retry, request)).text == "Twice"
