"""Batches through Bedrock's batch inference: jobs of at least 100 records in S3, and the rest in the flexible tier."""

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from moa import Engine, Settings
from moa.batch import arun
from moa.batch._half_price import job_states
from moa.errors import ConfigError
from moa.providers import BatchSettings, Endpoint, Price
from tests.support.half_price import RETRY, Place, interrupted

__all__ = ["s3"]  # a fixture
from tests.support.bedrock_jobs import ROLE, BedrockJobs
from tests.support.kills import killed_and_finished
from tests.support.ministack import s3

ALONE = {"name": "mine", "layers": [], "aggregator": {"model": "lab/amazon.nova-lite-v1:0", "max_tokens": 10}}
MIXTURE = {
    "name": "mine",
    "layers": [
        {"proposers": [{"model": f"lab/amazon.nova-{size}-v1:0", "max_tokens": 10} for size in ("lite", "pro")]}
    ],
    "aggregator": {"model": "lab/amazon.nova-premier-v1:0", "max_tokens": 10},
}
HALF = 15 * 1000 / 1e6 / 2


def settings(server: BedrockJobs, **batch: Any) -> Settings:
    options = {"poll_s": 0.001, "quiet_s": 0.05, "s3": "s3://prompts/moa", "role_arn": ROLE, **batch}
    endpoint = Endpoint(
        name="lab",
        kind="bedrock",
        region="us-east-1",
        endpoint_url=server.url,
        prices={"*": Price(input=Decimal(1000), output=Decimal(1000))},
        price_factor={"batch": Decimal("0.5"), "flex": Decimal("0.5")},
        retry=RETRY,
        batch=BatchSettings(**options),
    )
    return Settings(endpoints={"lab": endpoint})


@pytest.fixture
async def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    async with BedrockJobs() as made:
        if "s3" not in request.fixturenames:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", made.url)
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(*(f"p{number}" for number in range(120)))
    return made


async def test_records_go_into_a_job_and_their_replies_come_back_in_any_order(
    place: Place, server: BedrockJobs
) -> None:
    await place.answer(settings(server, kms_key="arn:aws:kms:us-east-1:123456789012:key/1"), ALONE)

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(120)]
    assert {row["answer_cost_usd"] for row in place.answers} == {HALF}
    # One is asked ahead, to see whether the model takes such requests.
    assert (len(server.jobs), server.processed.total(), server.at_once, server.objects) == (1, 119, ["flex"], {})
    [job] = server.jobs.values()
    assert job["outputDataConfig"]["s3OutputDataConfig"]["s3EncryptionKeyId"].endswith("key/1")


async def test_too_few_records_are_asked_at_once_in_the_flexible_tier(
    place: Place, server: BedrockJobs, caplog: pytest.LogCaptureFixture
) -> None:
    place.write("p0", "p1", "p2")
    await place.answer(settings(server), ALONE)

    assert (server.at_once, len(server.jobs)) == (["flex"] * 3, 0)
    assert {row["answer_cost_usd"] for row in place.answers} == {HALF}
    assert "3 requests are too few for a batch job (fewest: 100), so they are asked at once" in caplog.text


async def test_a_model_without_the_flexible_tier_is_asked_in_the_usual_one_at_its_price(
    place: Place, server: BedrockJobs, caplog: pytest.LogCaptureFixture
) -> None:
    server.has_flex = False
    place.write("p0", "p1", "p2")
    await place.answer(settings(server), ALONE)

    assert server.at_once == [None] * 3
    assert {row["answer_cost_usd"] for row in place.answers} == {2 * HALF}
    assert "no flexible tier" in caplog.text


async def test_records_that_expired_or_failed_are_asked_again_and_no_others(place: Place, server: BedrockJobs) -> None:
    failed = set[str]()

    def answer(prompt: str) -> tuple[int, str]:
        if prompt == "p5" and prompt not in failed:
            failed.add(prompt)
            return 503, "service unavailable"
        return 200, f"re: {prompt}"

    server.answer = answer
    server.ends_as = {0: "Expired"}
    await place.answer(settings(server), ALONE)

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(120)]
    # One was asked ahead, 60 expired and one failed, in the job or at once: fewer than a job takes.
    assert (server.processed + server.processed_at_once).total() == 120
    assert len(server.at_once) == 62


async def test_a_record_that_is_refused_fails_its_row(place: Place, server: BedrockJobs) -> None:
    server.answer = lambda prompt: (400, "The text is malformed") if prompt == "p7" else (200, "yes")
    result = await place.answer(settings(server), ALONE)

    assert result.progress.failed == 1
    assert "The text is malformed" in place.answers[7]["answer_error"]


async def test_a_job_that_fails_whole_says_why(place: Place, server: BedrockJobs) -> None:
    server.ends_as = {0: "Failed"}
    result = await place.answer(settings(server), ALONE)

    assert "the role can't read the bucket" in str(result.stopped)


async def test_a_job_whose_creation_was_not_confirmed_is_created_once(place: Place, server: BedrockJobs) -> None:
    # Case: a gateway that got a 500 although Bedrock had accepted the job left it running and billed, unknown to
    # anybody (told in BerriAI/litellm-docs pull request 1408).
    server.lose_create, server.refuse_create = {1}, {0}
    await place.answer(settings(server), ALONE)

    assert (len(server.jobs), server.creations) == (1, 2)
    assert set(server.processed.values()) == {1}


async def test_throttled_calls_of_all_kinds_are_repeated_and_create_one_job(place: Place, server: BedrockJobs) -> None:
    server.throttle.update(create=3, get=3, list=2)
    server.lose_create = {3}
    await place.answer(settings(server), ALONE)

    assert len(server.jobs) == 1
    assert set(server.processed.values()) == {1}


async def test_files_of_others_double_and_cut_lines_in_an_output_are_passed_over(
    place: Place, server: BedrockJobs
) -> None:
    server.is_untidy = True
    await place.answer(settings(server), ALONE)

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(120)]
    assert (len(server.jobs), server.processed.total()) == (1, 119)


async def test_a_model_that_takes_more_records_at_least_says_so_in_its_settings(
    place: Place, server: BedrockJobs
) -> None:
    # Case: the quota "Minimum number of records per batch inference job" differs by model; it was 1,000 for all
    # (langchain-ai/langchain-aws issue 250).
    await place.answer(settings(server, min_requests=1000), ALONE)

    assert (len(server.jobs), server.at_once) == (0, ["flex"] * 120)


async def test_a_record_names_no_model_and_a_profile_of_regions_is_the_jobs(place: Place, server: BedrockJobs) -> None:
    # Case: "Extra inputs are not permitted", as records named the model (maximhq/bifrost pull request 4516).
    profile = "lab/us.amazon.nova-lite-v1:0"
    await place.answer(settings(server), {**ALONE, "aggregator": {"model": profile, "max_tokens": 10}})

    [job] = server.jobs.values()
    assert job["modelId"] == "us.amazon.nova-lite-v1:0"
    assert server.record_fields == {"messages", "inferenceConfig"}


@pytest.mark.slow
async def test_another_process_collects_a_job_and_the_command_ends_it(place: Place, server: BedrockJobs) -> None:
    server.polls = 10**6

    await interrupted(place, settings(server), lambda: server.until(lambda: bool(server.jobs)), ALONE)
    [state] = await job_states(place.jobs, settings(server))
    assert (state.word, state.job.requests) == ("InProgress", 119)
    server.polls = 1
    await place.answer(settings(server), ALONE)

    assert (server.creations, set(server.processed.values()), len(server.processed)) == (1, {1}, 119)
    assert server.at_once == ["flex"]


async def test_a_missing_bucket_or_role_is_said_before_anything_is_sent(place: Place, server: BedrockJobs) -> None:
    async with Engine(settings=settings(server, role_arn=None), batch_jobs=place.jobs) as engine:
        with pytest.raises(ConfigError, match="role_arn"):
            await arun(place.source, ALONE, place.target, engine=engine)


@pytest.mark.slow
async def test_kills_at_random_moments_buy_no_record_twice(place: Place, server: BedrockJobs) -> None:
    place.write(*(f"p{number}" for number in range(250)))
    folder, chance, failed = place.source.parent, random.Random(11), Counter[str]()
    (folder / "mine.yaml").write_text(yaml.safe_dump(MIXTURE))
    endpoint = {
        "kind": "bedrock",
        "region": "us-east-1",
        "endpoint_url": server.url,
        "max_concurrency": 1,
        "prices": {"*": {"input": 1000, "output": 1000}},
        "price_factor": {"batch": 0.5, "flex": 0.5},
        "batch": {"poll_s": 0.02, "quiet_s": 0.3, "s3": "s3://prompts/moa", "role_arn": ROLE},
        "retry": {"base_s": 0.001, "max_attempts": 6},
    }
    (folder / "moa.yaml").write_text(yaml.safe_dump({"endpoints": {"lab": endpoint}}))

    def answer(prompt: str) -> tuple[int, str]:
        failed[prompt] += 1
        return (503, "busy") if chance.random() < 0.1 and failed[prompt] < 2 else (200, f"re: {prompt[:10]}")

    server.polls, server.answer = 4, answer
    server.lose_create, server.refuse_create, server.ends_as = {1, 3}, {2}, {1: "Expired"}
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "mine.yaml", "--config", "moa.yaml", "--half-price"]
    await killed_and_finished(*command, folder=folder, server=server, chance=chance, steps=24)

    bill = server.processed + server.processed_at_once
    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert (len(place.answers), len(bill)) == (250, 3 * 250)
    # Jobs are looked up, so that no record is in two; of calls made at once, one may be under way at each kill.
    assert set(server.processed.values()) == {1}
    assert bill.total() - 3 * 250 <= 20
    assert len(server.jobs) >= 3
    assert not server.objects


@pytest.mark.slow
async def test_inputs_and_outputs_go_through_an_s3_of_others(place: Place, s3: Any, server: BedrockJobs) -> None:
    # MiniStack keeps the objects; its own jobs never run, so the fake's run over them.
    server.storage = s3
    async with Engine(settings=settings(server), batch_jobs=place.jobs) as engine:
        await arun(place.source, ALONE, place.target, engine=engine)

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(120)]
    assert "Contents" not in s3.list_objects_v2(Bucket="prompts")
