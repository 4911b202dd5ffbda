"""Batches at half the price that are interrupted, by a kill or for a day: nothing is bought twice."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from moa import Engine
from moa.batch import arun, run
from moa.batch._half_price import job_states
from moa.errors import UsageError
from tests.cli.moa_command import moa
from tests.support.batch_server import BatchServer
from tests.support.half_price import ALONE, MIXTURE, RETRY, Place, interrupted, settings, settings_file
from tests.support.kills import killed_and_finished


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(*(f"p{number}" for number in range(10)))
    return made


async def test_another_process_collects_what_the_first_one_has_sent(place: Place) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        jobs = await job_states(place.jobs, settings(server))
        server.polls = 1
        await place.answer(settings(server))

    assert [(state.word, state.job.requests, state.is_open) for state in jobs] == [("in_progress", 10, True)]
    assert (server.creations, set(server.processed.values())) == (1, {1})
    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]
    assert {row["answer_cost_usd"] for row in place.answers} == {15 * 1000 / 1e6 / 2}


async def test_a_job_under_way_is_not_bought_again_at_once(place: Place) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        async with Engine(settings=settings(server)) as engine:
            with pytest.raises(UsageError, match="1 batch jobs of these answers are under way"):
                await arun(place.source, ALONE, place.target, engine=engine)

    assert server.asked_at_once == 0


async def test_a_job_that_was_written_down_but_never_sent_is_sent_once(place: Place) -> None:
    async with BatchServer() as server:
        server.refuse_create = dict.fromkeys(range(100), 503)
        await interrupted(place, settings(server), lambda: server.until(lambda: server.creations == 1))
        server.refuse_create = {}
        await place.answer(settings(server))

    assert (len(server.batches), set(server.processed.values())) == (1, {1})
    assert sorted(server.deleted) == sorted(server.files)


async def test_a_job_whose_creation_was_never_confirmed_is_found_by_the_next_process(place: Place) -> None:
    async with BatchServer() as server:
        for number in range(5):  # other batches of the account, more than a page of the list
            server.batches[f"other_{number}"] = {"id": f"other_{number}", "status": "completed", "input_file_id": "x"}
        server.lose_create, server.lose_list = {0}, True
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 6))
        server.lose_list = False
        await place.answer(settings(server))

    assert (server.creations, set(server.processed.values())) == (1, {1})


async def test_cancelled_jobs_give_what_they_have_processed_and_the_rest_is_sent_again(place: Place) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        await job_states(place.jobs, settings(server), cancel=True)
        server.polls = 1
        await place.answer(settings(server))

    assert [batch["status"] for batch in server.batches.values()] == ["cancelled", "completed"]
    assert set(server.processed.values()) == {1}
    assert {row["answer_status"] for row in place.answers} == {"complete"}


async def test_a_day_later_a_job_that_expired_halfway_is_shown_cannot_be_ended_and_loses_nothing(place: Place) -> None:
    async with BatchServer() as server:
        server.polls, server.expire = 10**6, {0: 4}
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        server.polls = 1
        words = [
            [(state.word, state.done, state.is_open) for state in await job_states(place.jobs, settings(server), **how)]
            for how in ({}, {"cancel": True}, {})
        ]
        await place.answer(settings(server))

    assert words == [[("expired", 10, False)]] * 3
    assert set(server.processed.values()) == {1}
    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]


async def test_replies_that_the_service_has_deleted_are_missed_aloud_and_bought_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        server.polls = 1
        await job_states(place.jobs, settings(server))
        server.deleted.append(server.batches["batch_1"]["output_file_id"])
        await place.answer(settings(server))

    assert "replies of batch job batch_1 are gone from the service" in caplog.text
    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]
    assert set(server.processed.values()) == {2}


async def test_a_row_whose_jobs_all_expire_names_that_as_its_cause(place: Place) -> None:
    async with BatchServer() as server:
        server.expire = dict.fromkeys(range(10), 0)
        result = await place.answer(settings(server))

    assert len(server.batches) == RETRY.max_attempts
    assert "not processed: late" in str(result.stopped)


async def test_the_jobs_of_a_running_batch_belong_to_its_process(place: Place) -> None:
    async with BatchServer() as server, Engine(settings=settings(server), batch_jobs=place.jobs):
        with pytest.raises(UsageError, match="another process"):
            await place.answer(settings(server))


async def test_a_key_that_is_refused_loses_no_job(place: Place) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        server.unauthorized = True
        result = await place.answer(settings(server))
        assert result.progress.failed == 10
        server.unauthorized, server.polls = False, 1
        await place.answer(settings(server), retry_failed=True)

    assert (server.creations, set(server.processed.values())) == (1, {1})
    assert {row["answer_status"] for row in place.answers} == {"complete"}


async def test_the_command_shows_its_jobs_and_ends_them(place: Place) -> None:
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: len(server.batches) == 1))
        config = settings_file(place.source.parent, server)
        common = ("batch", "-o", str(place.target), "--config", str(config))
        status = await asyncio.to_thread(moa, *common, "--status")
        plan = await asyncio.to_thread(
            moa,
            *common,
            str(place.source),
            "-m",
            "lab/m",
            "--set",
            "aggregator.max_tokens=10",
            "--half-price",
            "--plan",
            "--tier",
            "flex",
        )
        ended = await asyncio.to_thread(moa, *common, "--cancel")

    assert "batch_1" in status.out
    assert "in_progress" in status.out
    assert "at most $0.075" in plan.err
    assert "expected: about" in plan.err
    assert [batch["status"] for batch in server.batches.values()] == ["cancelled"]
    assert "the next start with --half-price collects" in ended.err


@pytest.mark.slow
async def test_a_stopped_command_says_which_jobs_go_on_and_a_finished_one_that_none_does(place: Place) -> None:
    command = ["batch", str(place.source), "-o", str(place.target), "-m", "lab/m", "--half-price"]
    async with BatchServer() as server:
        server.polls = 10**6
        config = settings_file(place.source.parent, server)
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", "from moa._cli.main import main; main()", *command, "--config", str(config)],
            stderr=subprocess.PIPE,
        )
        await server.until(lambda: any(batch["asked"] for batch in server.batches.values()))
        process.send_signal(signal.SIGINT)
        _, stopped = await process.communicate()
        server.polls = 1
        ended = await asyncio.to_thread(moa, *command, "--config", str(config))

    assert process.returncode == 130
    assert "stopped by Ctrl-C with 0 rows done; the same command goes on from there" in stopped.decode()
    assert "1 batch job at the services not ended: see --status; --cancel ends them" in stopped.decode()
    last = next(line for line in ended.err.splitlines() if "answered by" in line)
    assert "10 rows answered by lab/m; " in last
    assert "job" not in last


async def test_synchronous_code_has_half_the_price_too(place: Place) -> None:
    async with BatchServer() as server:
        config = settings_file(place.source.parent, server)
        result = await asyncio.to_thread(run, place.source, ALONE, place.target, config=config, half_price=True)

    assert (result.stopped, len(server.batches), server.asked_at_once) == (None, 1, 0)
    assert not place.jobs.exists()


async def test_what_was_bought_at_once_before_is_not_bought_again_by_jobs(place: Place) -> None:
    async with BatchServer() as server:
        config = settings_file(place.source.parent, server)
        server.answer = lambda body: ({"message": "no"}, 400) if body["model"] == "m" else ("yes", 200)
        first = await asyncio.to_thread(run, place.source, MIXTURE, place.target, config=config)
        server.answer = lambda body: ("yes", 200)
        options = {"config": config, "half_price": True, "retry_failed": True}
        await asyncio.to_thread(run, place.source, MIXTURE, place.target, **options)

    assert first.progress.failed == 10
    assert Counter(model for model, _ in server.processed_at_once.elements()) == {"a": 10, "b": 10}
    assert Counter(model for model, _ in server.processed.elements()) == {"m": 10}
    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert sorted(path.name for path in place.source.parent.glob("out.jsonl*")) == ["out.jsonl", "out.jsonl.journal"]


def test_the_command_without_prompts_says_so(place: Place) -> None:
    ended = moa("batch", "-o", str(place.target))

    assert (ended.code, "PROMPTS" in ended.err) == (2, True)


@pytest.mark.slow
async def test_kills_at_random_moments_send_no_job_twice(place: Place) -> None:
    prompts = [f"p{number}" for number in range(120)]
    place.write(*prompts)
    folder = place.source.parent
    (folder / "mine.yaml").write_text(yaml.safe_dump(MIXTURE))
    chance = random.Random(5)
    failures = Counter[tuple[str, str]]()

    def answer(body: dict[str, Any]) -> tuple[object, int]:
        request = body["model"], body["messages"][-1]["content"]
        failures[request] += 1
        if chance.random() < 0.1 and failures[request] < 2:
            return {"message": "busy"}, 503
        return f"re: {request[1][:10]}", 200

    async with BatchServer() as server:
        server.polls, server.answer = 4, answer
        server.lose_create, server.refuse_create, server.expire = {1, 6}, {3: 503}, {2: 10, 5: 0}
        settings_file(folder, server)
        command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "mine.yaml", "--config", "moa.yaml", "--half-price"]
        await killed_and_finished(*command, "--at-once", "60", folder=folder, server=server, chance=chance)

    assert len(place.answers) == 120
    # Jobs are looked up, so that no request is in two. Of those that are asked ahead of a job, one may be under way at
    # each kill.
    bill = server.processed + server.processed_at_once
    assert set(server.processed.values()) == {1}
    assert len(bill) == 3 * 120
    assert bill.total() - 3 * 120 <= 20
    dearer = len(server.processed_at_once.keys() - server.processed.keys())
    cost = (3 * 120 + dearer) * 15 * 1000 / 1e6 / 2
    assert sum(row["answer_cost_usd"] for row in place.answers) == pytest.approx(cost)
    assert sorted(set(server.files) - set(server.deleted)) == []
