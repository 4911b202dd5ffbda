"""Hedging: a second attempt beside a slow one."""

from collections.abc import Sequence

import pytest

from moa._ledger import Attempt, Meter
from moa._policies.hedge import LEAST_SAMPLES, Hedged
from moa._policies.metering import Metered
from moa.errors import ServiceFailed
from moa.providers._base import ModelRequest, Reply, collect
from moa.providers._call_context import Hedging
from moa.providers._scripted import Pause, Script, ScriptedProvider
from tests.support.requests import plain_request, with_context
from tests.support.virtual_clock import loop_time, virtual_time


class Race:
    """A hedged model with one script for each attempt, in order."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = iter(scripts)
        self.meter = Meter(loop_time)
        self.hedge = Hedged(Metered(ScriptedProvider(lambda request: next(self._scripts))))

    def request(self, *, after_s: float | None = 2, replayable: bool = True) -> ModelRequest:
        return with_context(plain_request(self.meter), hedging=Hedging(after_s=after_s), replayable=replayable)

    async def run(self, **arguments: bool) -> Reply:
        return await collect(self.hedge, self.request(**arguments))

    @property
    def attempts(self) -> Sequence[Attempt]:
        return self.meter.ledger().attempts


@virtual_time
async def test_a_quick_call_is_made_once() -> None:
    race = Race([Pause(1), "first"], "never")
    assert (await race.run()).text == "first"

    assert [(attempt.status, attempt.hedge) for attempt in race.attempts] == [("ok", False)]


@virtual_time
async def test_the_first_whole_reply_wins_and_the_other_is_cancelled_and_in_the_books() -> None:
    race = Race(["begun ", Pause(60), "first"], [Pause(1), "second"])
    assert (await race.run()).text == "second"

    assert [(attempt.status, attempt.hedge) for attempt in race.attempts] == [("cancelled", False), ("ok", True)]
    assert race.attempts[0].usage_source == "estimated"
    assert loop_time() == 3


@virtual_time
async def test_a_slow_first_attempt_may_still_win() -> None:
    race = Race([Pause(3), "first"], [Pause(60), "second"])

    assert (await race.run()).text == "first"
    assert [attempt.status for attempt in race.attempts] == ["ok", "cancelled"]


@virtual_time
async def test_a_watched_reply_is_won_by_the_first_token_and_streams_on() -> None:
    race = Race([Pause(10), "late"], [Pause(1), "second ", Pause(60), "to the end"])

    assert (await race.run(replayable=False)).text == "second to the end"
    assert loop_time() == 63


@virtual_time
async def test_a_watched_reply_that_has_begun_is_not_hedged() -> None:
    race = Race(["begun ", Pause(60), "first"], "never")

    assert (await race.run(replayable=False)).text == "begun first"
    assert len(race.attempts) == 1


@pytest.mark.parametrize("replayable", [True, False])
@virtual_time
async def test_an_attempt_that_fails_leaves_the_race_to_the_other(replayable: bool) -> None:
    boom = ServiceFailed("boom", model="fake/a")
    race = Race([Pause(3), boom], [Pause(5), "second"])

    assert (await race.run(replayable=replayable)).text == "second"


@virtual_time
async def test_if_both_fail_the_first_failure_is_told() -> None:
    race = Race([Pause(3), ServiceFailed("one", model="fake/a")], [ServiceFailed("two", model="fake/a")])
    with pytest.raises(ServiceFailed, match="one"):
        await race.run()


@virtual_time
async def test_without_a_set_delay_the_agents_own_p95_decides() -> None:
    quick = [[Pause(1), "quick"]] * LEAST_SAMPLES
    race = Race(*quick, [Pause(60), "slow"], [Pause(1), "second"])
    for _ in range(LEAST_SAMPLES):
        await collect(race.hedge, race.request(after_s=None))
    before = loop_time()
    reply = await collect(race.hedge, race.request(after_s=None))

    assert reply.text == "second"
    assert loop_time() - before == 2


@virtual_time
async def test_a_call_that_was_helped_counts_as_slow_so_that_the_p95_does_not_sink() -> None:
    helped = [[Pause(60), "slow"], [Pause(1), "second"]] * 2
    race = Race(*[[Pause(1), "quick"]] * LEAST_SAMPLES, *helped, [Pause(1.5), "in time"], "never")
    for _ in range(LEAST_SAMPLES + 3):
        reply = await collect(race.hedge, race.request(after_s=None))

    assert reply.text == "in time"
    assert not race.attempts[-1].hedge, "the two that were helped took 2 s, so that 1.5 s are not slow any more"


@virtual_time
async def test_a_request_without_hedging_is_passed_through() -> None:
    race = Race([Pause(60), "first"], "never")
    reply = await collect(race.hedge, plain_request(race.meter))

    assert reply.text == "first"
    assert len(race.attempts) == 1


@virtual_time
async def test_an_empty_reply_does_not_win_over_a_good_one_that_is_on_its_way() -> None:
    race = Race([Pause(3), " "], [Pause(2), "second"])

    assert (await race.run()).text == "second"
