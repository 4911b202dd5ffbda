"""Limits: how many calls at once and per minute, and who waits for whom."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._config.settings import Settings
from moa._ledger import Meter
from moa._policies.metering import Metered
from moa._policies.rate_limits import Limiter, Limits
from moa._policies.sliding_window import WINDOW_S, SlidingWindow
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import RateLimited
from moa.providers._base import Finish, ModelRequest, collect
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._scripted import Pause, Script, ScriptedProvider
from moa.providers._time_limit import TimeLimit
from tests.support.engines import mixture_of
from tests.support.requests import plain_request, with_context
from tests.support.virtual_clock import loop_time, virtual_time


class Crowd:
    """A limited model that notes when its calls begin and how many there are at once."""

    def __init__(self, settings: LimitSettings, script: Script | None = None) -> None:
        self.began: list[float] = []
        self.script = script or [Pause(1), "fine"]
        self.limiter = Limiter(settings, loop_time)
        self.provider = Limits(Metered(ScriptedProvider(self._begin)), self.limiter)

    def _begin(self, request: ModelRequest) -> Script:
        return self.begin(self.script)

    def begin(self, script: Script) -> Script:
        self.began.append(loop_time())
        return script

    async def ask(self, meter: Meter | None = None, agent: str = "a") -> str:
        reply = await collect(self.provider, plain_request(meter or Meter(loop_time), agent=agent))
        return reply.text

    async def let_through(self) -> int:
        """How many of many more calls begin at once."""
        before = len(self.began)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self.ask()) for _ in range(100)]
            await asyncio.sleep(0.5)
            began = len(self.began) - before
            for call in calls:
                call.cancel()
        return began


@virtual_time
async def test_no_more_calls_run_at_once_than_allowed() -> None:
    crowd = Crowd(LimitSettings(max_concurrency=3))
    await asyncio.gather(*(crowd.ask() for _ in range(10)))

    assert crowd.began == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


@virtual_time
async def test_waiting_is_queue_time_in_the_ledger() -> None:
    crowd, meter = Crowd(LimitSettings(max_concurrency=1)), Meter(loop_time)
    await asyncio.gather(*(crowd.ask(meter) for _ in range(3)))

    assert [attempt.queue_s for attempt in meter.ledger().attempts] == [0, 1, 2]
    assert [attempt.duration_s for attempt in meter.ledger().attempts] == [1, 1, 1]


@virtual_time
async def test_runs_take_turns_so_that_a_big_one_cannot_crowd_out_a_small_one() -> None:
    crowd, big, small = Crowd(LimitSettings(max_concurrency=1)), Meter(loop_time), Meter(loop_time)
    done: list[str] = []

    async def ask(meter: Meter, name: str) -> None:
        await crowd.ask(meter)
        done.append(name)

    await asyncio.gather(*(ask(big, "big") for _ in range(5)), *(ask(small, "small") for _ in range(2)))

    assert done == ["big", "big", "small", "big", "small", "big", "big"]


@virtual_time
async def test_no_more_calls_begin_within_a_minute_than_allowed() -> None:
    crowd = Crowd(LimitSettings(requests_per_minute=3))
    await asyncio.gather(*(crowd.ask() for _ in range(8)))

    assert crowd.began == [0, 0, 0, 60, 60, 60, 120, 120]


@virtual_time
async def test_tokens_are_reserved_at_their_worst_and_corrected_afterwards() -> None:
    used = TokenUsage(input_tokens=10, output_tokens=15)
    crowd = Crowd(LimitSettings(tokens_per_minute=50), script=("fine", Finish(reason="stop", usage=used)))
    for _ in range(4):
        await crowd.ask()

    assert crowd.began == [0, 0, 60, 60], "25 tokens each, though 15 were reserved"


@virtual_time
async def test_a_throttled_call_gives_its_tokens_back() -> None:
    crowd = Crowd(LimitSettings(tokens_per_minute=50), script=[RateLimited("slow down", model="fake/a")])
    for _ in range(5):
        with pytest.raises(RateLimited):
            await crowd.ask()

    assert crowd.began == [0] * 5, "15 tokens were reserved for each"


@virtual_time
async def test_a_call_larger_than_the_limit_waits_for_an_empty_minute_and_then_runs() -> None:
    crowd = Crowd(LimitSettings(tokens_per_minute=5))
    await asyncio.gather(crowd.ask(), crowd.ask())

    assert crowd.began[0] == 0
    assert crowd.began[1] >= 60


@virtual_time
async def test_a_calls_time_stands_still_while_it_waits_for_its_turn() -> None:
    crowd = Crowd(LimitSettings(max_concurrency=1))

    async def ask_within(seconds: float) -> str:
        async with TimeLimit(seconds, now=loop_time) as limit:
            reply = await collect(crowd.provider, with_context(plain_request(Meter(loop_time)), time=limit))
        return reply.text

    assert await asyncio.gather(*(ask_within(1.5) for _ in range(5))) == ["fine"] * 5
    assert loop_time() == 5

    crowd.script = [Pause(2), "late"]
    with pytest.raises(TimeoutError):
        await ask_within(1.5)


@virtual_time
async def test_a_waiter_that_leaves_gives_up_its_place() -> None:
    crowd = Crowd(LimitSettings(max_concurrency=1))
    first, second, third = (asyncio.create_task(crowd.ask()) for _ in range(3))
    await asyncio.sleep(0.5)
    second.cancel()
    await asyncio.gather(first, third)

    assert crowd.began == [0, 1]


@virtual_time
async def test_a_cancelled_call_frees_its_place() -> None:
    crowd = Crowd(LimitSettings(max_concurrency=1), script=[Pause(float("inf"))])
    first = asyncio.create_task(crowd.ask())
    await asyncio.sleep(1)
    second = asyncio.create_task(crowd.ask())
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    second.cancel()

    assert crowd.began == [0, 2]


@virtual_time
async def test_an_adaptive_limit_grows_while_all_goes_well_and_halves_when_throttled() -> None:
    crowd = Crowd(LimitSettings(adaptive=True, max_concurrency=64))
    await asyncio.gather(*(crowd.ask() for _ in range(200)))
    grown = await crowd.let_through()
    assert grown > 12

    crowd.script = [RateLimited("slow down", model="fake/a")]
    for _ in range(3):
        await asyncio.sleep(1)
        with pytest.raises(RateLimited):
            await crowd.ask()
    crowd.script = [Pause(1), "fine"]
    assert await crowd.let_through() == pytest.approx(grown / 8, abs=1)


@virtual_time
async def test_calls_throttled_together_halve_an_adaptive_limit_once() -> None:
    crowd = Crowd(LimitSettings(adaptive=True), script=[Pause(1), RateLimited("slow down", model="fake/a")])
    await asyncio.gather(*(crowd.ask() for _ in range(8)), return_exceptions=True)

    crowd.script = [Pause(1), "fine"]
    assert await crowd.let_through() == 4


@pytest.mark.slow
@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.floats(0, 90), st.integers(1, 8)), max_size=40),
)
def test_a_window_never_lets_more_through_within_any_minute(limit: int, steps: Sequence[tuple[float, int]]) -> None:
    window, now, let_through = SlidingWindow(limit), 0.0, []
    for pause, amount in steps:
        now += pause
        wait_s = window.wait_s(min(amount, limit), now)
        now += wait_s
        assert window.wait_s(min(amount, limit), now) == pytest.approx(0, abs=1e-6)
        window.add(min(amount, limit), now)
        let_through.append((now, min(amount, limit)))

    for at, _ in let_through:
        assert sum(amount for when, amount in let_through if at <= when < at + WINDOW_S - 1e-6) <= limit


THROTTLED = RateLimited("slow down", model="fake/a", retry_after_s=10)


def _crowd_told(settings: LimitSettings, *first: Script) -> Crowd:
    """A crowd whose calls first get these replies, one each, and then good ones after a second."""
    crowd, scripts = Crowd(settings), iter(first)
    script = ScriptedProvider(lambda request: crowd.begin(next(scripts, [Pause(1), "fine"])))
    crowd.provider = Limits(Metered(script), crowd.limiter)
    return crowd


async def _ask_at_once(crowd: Crowd, count: int) -> list[str | BaseException]:
    return await asyncio.gather(*(crowd.ask() for _ in range(count)), return_exceptions=True)


@virtual_time
async def test_nobody_begins_a_call_while_the_service_asks_to_wait() -> None:
    crowd = _crowd_told(LimitSettings(max_concurrency=2), [THROTTLED], [THROTTLED])
    await _ask_at_once(crowd, 6)

    assert crowd.began == [0, 0, 10, 11, 11, 12], "one at a time at first: the service took none"


@virtual_time
async def test_the_pause_is_shared_where_nothing_is_limited() -> None:
    crowd = _crowd_told(LimitSettings(), [THROTTLED], [THROTTLED])
    await _ask_at_once(crowd, 2)
    await _ask_at_once(crowd, 2)

    assert crowd.began == [0, 0, 10, 11]


@virtual_time
async def test_a_single_throttled_call_may_be_chance_and_holds_nobody_back() -> None:
    crowd = _crowd_told(LimitSettings(), [THROTTLED], "fine", [THROTTLED])
    for _ in range(4):
        await _ask_at_once(crowd, 1)

    assert crowd.began == [0, 0, 0, 0]


@virtual_time
async def test_a_wait_of_an_hour_is_shared_by_nobody() -> None:
    later = RateLimited("no more for now", model="fake/a", retry_after_s=3600)
    crowd = _crowd_told(LimitSettings(), [later], [later])
    await _ask_at_once(crowd, 2)
    await _ask_at_once(crowd, 1)

    assert crowd.began == [0, 0, 0], "a fallback can answer at once"


@virtual_time
async def test_calls_at_once_shrink_to_half_of_those_that_the_service_took() -> None:
    unasked = RateLimited("slow down", model="fake/a")
    crowd = _crowd_told(LimitSettings(), *[[Pause(1), "fine"]] * 8, [unasked], [unasked])
    asked = asyncio.create_task(_ask_at_once(crowd, 10))
    await asyncio.sleep(0.5)
    await _ask_at_once(crowd, 20)
    await asked

    begun = [crowd.began.count(second) for second in range(5)]
    assert begun == [10, 5, 6, 7, 2], "four by the time the eight good ones end, and one more for every full round"


@virtual_time
async def test_a_call_without_the_time_to_wait_fails_at_once_so_that_a_fallback_can_answer() -> None:
    crowd = _crowd_told(LimitSettings(), [THROTTLED], [THROTTLED])
    await _ask_at_once(crowd, 2)
    async with TimeLimit(4, now=loop_time) as limit:
        with pytest.raises(RateLimited, match="for 10 s more, and this one has less time left") as caught:
            await collect(crowd.provider, with_context(plain_request(Meter(loop_time)), time=limit))

    assert caught.value.retry_after_s == 10
    assert crowd.began == [0, 0]


class _TokenBucket:
    """A service that takes so many requests a second, the first second's at once, and throttles the rest."""

    takes_seed = True

    def __init__(self, per_s: float, retry_after_s: float | None) -> None:
        self._per_s, self._left, self._looked_at, self.throttled = per_s, per_s, 0.0, 0
        self._retry_after_s = retry_after_s
        self.provider = ScriptedProvider(self._answer)

    def _answer(self, request: ModelRequest) -> Script:
        now = loop_time()
        self._left = min(self._per_s, self._left + (now - self._looked_at) * self._per_s)
        self._looked_at = now
        if self._left >= 1:
            self._left -= 1
            return [Pause(0.2), "fine"]
        self.throttled += 1
        return [RateLimited("slow down", model=request.reference, retry_after_s=self._retry_after_s)]


@pytest.mark.slow
@pytest.mark.parametrize("retry_after_s", [0.2, 1.0, None])
@virtual_time
async def test_a_hard_throttle_loses_no_run_of_a_batch_where_nothing_is_limited(retry_after_s: float | None) -> None:
    bucket = _TokenBucket(250, retry_after_s)
    lab = Endpoint(name="fake", kind="scripted")
    mixture = mixture_of(["a", "b", "c"], aggregator="d")
    async with Engine(
        settings=Settings(endpoints={"fake": lab}), providers={"fake": bucket.provider}, clock=loop_time
    ) as engine:
        answers = await asyncio.gather(*(engine.arun(mixture, f"prompt {number}") for number in range(200)))

    assert [answer.status for answer in answers] == ["complete"] * 200
    assert bucket.throttled > 0
