"""Batches at half the price: calls go by file jobs, nothing is sent twice, and nothing that was paid for is lost."""

import asyncio
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import AsyncOpenAI

from moa import Engine, Settings
from moa.batch import arun, run
from moa.batch._half_price import job_states
from moa.errors import UsageError
from moa.providers import Endpoint, Price, RetrySettings
from moa.providers._endpoint import BatchSettings
from tests.cli.moa_command import moa
from tests.support.batch_server import BatchServer
from tests.support.kills import killed_and_finished

RAPID = BatchSettings(poll_s=0.001, quiet_s=0.02)
RETRY = RetrySettings(base_s=0.001, cap_s=0.001)
ALONE = {"name": "mine", "layers": [], "aggregator": {"model": "lab/m", "max_tokens": 10}}
MIXTURE = {
    "name": "mine",
    "layers": [{"proposers": [{"model": "lab/a", "max_tokens": 10}, {"model": "lab/b", "max_tokens": 10}]}],
    "aggregator": {"model": "lab/m", "max_tokens": 10},
}


def settings(server: BatchServer, batch: BatchSettings | None = RAPID, **options: Any) -> Settings:
    prices = {"*": Price(input=1000, output=1000)}
    endpoint = Endpoint(
        **{
            "name": "lab",
            "kind": "openai",
            "base_url": server.base_url,
            "prices": prices,
            "price_factor": {"batch": Decimal("0.5")},
            "retry": RETRY,
            "batch": batch,
            **options,
        }
    )
    return Settings(endpoints={"lab": endpoint})


class Place:
    """Prompts and answers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target, self.jobs = folder / "in.jsonl", folder / "out.jsonl", folder / "out.jsonl.jobs"

    def write(self, *prompts: str) -> None:
        self.source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))

    async def answer(
        self, configured: Settings, mixture: Any = ALONE, budget: float | None = None, **options: Any
    ) -> Any:
        async with Engine(settings=configured, batch_jobs=self.jobs, budget_usd=budget) as engine:
            return await arun(self.source, mixture, self.target, engine=engine, **options)

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.target.read_text().split("\n") if line]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.write(*(f"p{number}" for number in range(10)))
    return made


async def test_every_layer_is_a_job_of_each_model_at_half_the_price(place: Place) -> None:
    async with BatchServer() as server:
        result = await place.answer(settings(server), MIXTURE)

    assert result.stopped is None
    assert len(server.batches) == 3
    assert server.asked_at_once == 0
    assert Counter(model for model, _ in server.processed.elements()) == {"a": 10, "b": 10, "m": 10}
    assert [row["answer_status"] for row in place.answers] == ["complete"] * 10
    # 3 calls of 15 tokens, for 1000 dollars per million, and half of it.
    assert {row["answer_cost_usd"] for row in place.answers} == {3 * 15 * 1000 / 1e6 / 2}
    # The files at the service and on disk are removed.
    assert sorted(server.deleted) == sorted(server.files)
    assert not place.jobs.exists()


async def test_replies_in_another_order_reach_their_own_prompts(place: Place) -> None:
    async with BatchServer() as server:
        await place.answer(settings(server))

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]


async def test_equal_prompts_have_replies_of_their_own(place: Place) -> None:
    place.write("same", "same", "other")
    async with BatchServer() as server:
        await place.answer(settings(server))

    assert server.processed == {("m", "same"): 2, ("m", "other"): 1}
    assert len(server.batches) == 1


async def test_requests_that_failed_go_into_another_job_and_no_other_does(place: Place) -> None:
    failures = Counter[str]()

    def answer(body: dict[str, Any]) -> tuple[object, int]:
        prompt = body["messages"][-1]["content"]
        if int(prompt[1:]) % 2 and not failures[prompt]:
            failures[prompt] += 1
            return {"message": "overloaded"}, 503
        return "yes", 200

    async with BatchServer() as server:
        server.answer = answer
        await place.answer(settings(server))

    assert {row["answer"] for row in place.answers} == {"yes"}
    assert set(server.processed.values()) == {1}
    assert [len(server.files[batch["input_file_id"]][1].splitlines()) for batch in server.batches.values()] == [10, 5]


async def test_what_expired_or_is_missing_is_sent_again_and_what_was_processed_is_kept(place: Place) -> None:
    async with BatchServer() as server:
        server.expire, server.drop_lines = {0: 4}, {1}
        await place.answer(settings(server))

    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]
    # 6 expired, and of their second job every other line was lost: only those are processed twice.
    assert sorted(server.processed.values()) == [1] * 7 + [2] * 3


def without_temperature(body: dict[str, Any]) -> tuple[object, int]:
    if "temperature" in body:
        return {"message": "Unsupported parameter: 'temperature'", "param": "temperature"}, 400
    return "yes", 200


WARM = {**ALONE, "aggregator": {**ALONE["aggregator"], "temperature": 0.5}}


async def test_a_parameter_that_is_refused_is_left_out_of_the_next_job(place: Place) -> None:
    async with BatchServer() as server:
        server.answer = without_temperature
        await place.answer(settings(server), WARM)

    assert {row["answer"] for row in place.answers} == {"yes"}
    assert len(server.batches) == 2


async def test_a_parameter_that_is_refused_is_learnt_before_many_requests_wait_for_a_job(place: Place) -> None:
    place.write(*(f"p{number}" for number in range(60)))
    async with BatchServer() as server:
        server.answer = without_temperature
        await place.answer(settings(server), WARM)

    assert {row["answer"] for row in place.answers} == {"yes"}
    # One is refused and one answered without the parameter, at the usual price; the others are one job.
    assert server.asked_at_once == 2
    assert [batch["request_counts"] for batch in server.batches.values()] == [{"completed": 59, "failed": 0}]
    usual = 15 * 1000 / 1e6
    assert Counter(row["answer_cost_usd"] for row in place.answers) == {usual: 1, usual / 2: 59}


async def test_a_request_that_was_answered_ahead_of_its_job_is_not_bought_again_after_a_kill(place: Place) -> None:
    place.write(*(f"p{number}" for number in range(60)))
    async with BatchServer() as server:
        server.polls = 10**6
        await interrupted(place, settings(server), lambda: server.until(lambda: bool(server.processed_at_once)))
        server.polls = 1
        await place.answer(settings(server))

    bill = server.processed + server.processed_at_once
    assert (len(bill), set(bill.values())) == (60, {1})


async def test_a_deployment_that_has_batches_only_gets_all_requests_in_its_job(place: Place) -> None:
    # Case: "OperationNotSupported" of Azure's deployments of the type "global batch" (BerriAI/litellm issue 5279).
    place.write(*(f"p{number}" for number in range(60)))
    async with BatchServer() as server:
        server.only_batches = True
        await place.answer(settings(server))

    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert (server.asked_at_once, len(server.batches)) == (1, 1)
    assert server.processed.total() == 60


async def test_a_job_that_was_created_without_an_answer_is_found_and_not_sent_again(place: Place) -> None:
    async with BatchServer() as server:
        server.lose_create = {0}
        await place.answer(settings(server))

    assert (server.creations, set(server.processed.values())) == (1, {1})


async def test_a_list_that_is_behind_sends_no_job_twice(place: Place) -> None:
    async with BatchServer() as server:
        server.lose_create, server.late_list = {0}, 2
        await place.answer(settings(server))

    assert (server.creations, set(server.processed.values())) == (1, {1})


async def test_a_job_that_was_not_created_is_tried_again(place: Place) -> None:
    async with BatchServer() as server:
        server.refuse_create = {0: 503}
        await place.answer(settings(server))

    assert (server.creations, len(server.batches)) == (2, 1)


async def test_a_job_that_the_service_has_forgotten_is_sent_again(place: Place) -> None:
    async with BatchServer() as server:
        server.forget = {0}
        await place.answer(settings(server))

    assert len(server.batches) == 2
    assert {row["answer_status"] for row in place.answers} == {"complete"}


async def test_a_job_refused_for_one_request_fails_that_one_and_sends_the_others_again(place: Place) -> None:
    # Case: a batch whose validation fails names the line; the file is refused whole (openai-python issue 1643 and
    # OpenAI's `BatchError`).
    async with BatchServer() as server:
        server.refuse = {0: [{"code": "invalid_request", "message": "bad image", "line": 3, "param": None}]}
        result = await place.answer(settings(server))

    rows = place.answers
    assert [row["answer_status"] for row in rows].count("failed") == 1
    assert "bad image" in next(row["answer_error"] for row in rows if row["answer_status"] == "failed")
    assert result.progress.failed == 1
    assert set(server.processed.values()) == {1}


async def test_jobs_beyond_the_accounts_quota_wait_or_are_made_smaller(place: Place) -> None:
    # Case: "Enqueued token limit reached" fails a batch after it was created (openai-python issue 1643).
    async with BatchServer() as server:
        server.most_enqueued, server.polls = 3, 2
        await place.answer(settings(server))

    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert set(server.processed.values()) == {1}
    assert len(server.batches) < 60


async def test_jobs_are_as_many_as_their_limits_need(place: Place) -> None:
    async with BatchServer() as server:
        await place.answer(settings(server, BatchSettings(poll_s=0.001, quiet_s=0.02, max_requests=4)))

    sizes = [len(server.files[batch["input_file_id"]][1].splitlines()) for batch in server.batches.values()]
    assert sizes == [4, 4, 2]


async def test_waves_follow_one_another(place: Place) -> None:
    async with BatchServer() as server:
        await place.answer(settings(server), MIXTURE, at_once=5)

    sizes = [len(server.files[batch["input_file_id"]][1].splitlines()) for batch in server.batches.values()]
    assert sizes == [5] * 6


async def test_what_cant_apply_is_said_and_left_out(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    hasty = {
        **MIXTURE,
        "deadline_s": 0.001,
        "wait": {"min_proposals": 1, "grace_s": 0},
        "aggregator": {"model": "lab/m", "max_tokens": 10, "hedge": {"after_s": 0.001}, "timeout_s": 0.001},
    }
    async with BatchServer() as server:
        await place.answer(settings(server), hasty)

    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert set(server.processed.values()) == {1}
    for name in ("deadline_s", "grace_s", "hedge"):
        assert name in caplog.text


async def test_a_budget_counts_half_the_price(place: Place) -> None:
    async with BatchServer() as server:
        # Each row reserves 10 output tokens and its prompt, for half a thousand dollars per million.
        result = await place.answer(settings(server), budget=0.13)

    assert result.stopped is None
    assert result.progress.spent_usd == Decimal("0.075")


async def test_a_budget_holds_where_jobs_have_a_least_size_and_calls_are_made_at_once(place: Place) -> None:
    async with BatchServer() as server:
        result = await place.answer(settings(server, replace(RAPID, min_requests=11)), budget=0.13)

    # All ten rows cost $0.15 at the usual price, and reserve $0.13 at that of jobs.
    assert (len(server.batches), result.stopped) == (0, "budget")
    assert result.progress.spent_usd == Decimal("0.015") * server.asked_at_once <= Decimal("0.13")


async def test_rows_that_cant_be_asked_stop_nothing(place: Place) -> None:
    def answer(body: dict[str, Any]) -> tuple[object, int]:
        refused = body["messages"][-1]["content"] == "p1" and body["model"] == "a"
        return ({"message": "no"}, 400) if refused else ("yes", 200)

    odd = ["not JSON", '{"other": 1}', '{"messages": [{"role": "user"}]}', '{"prompt": ""}', "[]", '"p1"']
    place.source.write_text("\n".join([*odd[:5] * 4, odd[5], '{"prompt": "p2"}', '{"prompt": "line\u2028end"}']))
    async with BatchServer() as server:
        server.answer = answer
        result = await place.answer(settings(server), {**MIXTURE, "wait": {"min_proposals": 2}}, at_once=21)

    assert (result.stopped, result.progress.failed) == (None, 21)
    assert [row["answer_status"] for row in place.answers] == ["failed"] * 21 + ["complete"] * 2


async def test_a_batch_in_a_state_of_a_name_of_its_own_goes_on(place: Place) -> None:
    # Case: services in OpenAI's format have further states between creation and end, such as "in_queue".
    async with BatchServer() as server:
        server.waiting, server.polls = "in_queue", 5
        await place.answer(settings(server))

    assert set(server.processed.values()) == {1}


async def test_a_batch_whose_files_are_named_later_than_its_end_is_not_bought_again(place: Place) -> None:
    # Case: "completed" before `output_file_id` is there, an "observed timing window" (BerriAI/litellm issue 37713).
    async with BatchServer() as server:
        server.late_files = 2
        await place.answer(settings(server))

    assert (len(server.batches), set(server.processed.values())) == (1, {1})
    assert {row["answer_status"] for row in place.answers} == {"complete"}


async def test_a_download_that_ends_early_without_an_error_is_repeated(place: Place) -> None:
    async with BatchServer() as server:
        server.cut_downloads = 2
        await place.answer(settings(server))

    assert (len(server.batches), set(server.processed.values())) == (1, {1})


async def test_an_input_that_the_service_does_not_know_yet_is_waited_for(place: Place) -> None:
    # Case: "Cannot find file … or project … does not have access to it" right after its upload, although it is there
    # (bespokelabsai/curator issue 116).
    async with BatchServer() as server:
        server.hidden_inputs = 1
        await place.answer(settings(server))

    assert (server.creations, len(server.batches)) == (2, 1)
    assert {row["answer_status"] for row in place.answers} == {"complete"}


async def test_a_batch_of_which_every_request_failed_has_no_output_and_says_why(place: Place) -> None:
    # Case: `output_file_id` is null then (BerriAI/litellm issue 33987, ProjectTech4DevAI/kaapi-backend issue 723).
    async with BatchServer() as server:
        server.answer = lambda body: ({"message": "this model takes no images"}, 400)
        result = await place.answer(settings(server))

    assert "this model takes no images" in str(result.stopped)
    assert len(server.batches) == 1


async def test_byte_order_marks_and_line_ends_of_other_systems_lose_no_reply(place: Place) -> None:
    async with BatchServer() as server:
        server.odd_lines = True
        await place.answer(settings(server))

    assert (len(server.batches), set(server.processed.values())) == (1, {1})


async def test_the_separators_of_unicode_end_no_line(place: Place) -> None:
    # Case: `splitlines` also splits at U+2028, U+2029 and U+0085 (awslabs/gluonts pull request 920).
    prompts = [f"a{mark}b" for mark in ("\u2028", "\u2029", "\u0085", "\x0b", "\x1e")]
    place.write(*prompts)
    async with BatchServer() as server:
        await place.answer(settings(server))

    assert [row["answer"] for row in place.answers] == [f"re: {prompt}" for prompt in prompts]
    assert len(server.batches) == 1


async def test_a_service_with_paths_of_its_own_is_named_them(place: Place) -> None:
    # Case: Zhipu's batches take `/v4/chat/completions`, Azure's behind a gateway `/chat/completions`.
    async with BatchServer() as server:
        await place.answer(settings(server, replace(RAPID, url="/v4/chat/completions")))

    [batch] = server.batches.values()
    lines = [json.loads(line) for line in server.files[batch["input_file_id"]][1].splitlines()]
    assert {batch["endpoint"], *(line["url"] for line in lines)} == {"/v4/chat/completions"}


async def test_fewer_requests_than_a_service_takes_in_a_job_are_asked_at_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with BatchServer() as server:
        await place.answer(settings(server, replace(RAPID, min_requests=11)))

    assert (len(server.batches), server.asked_at_once) == (0, 10)
    assert {row["answer_cost_usd"] for row in place.answers} == {15 * 1000 / 1e6}
    assert "10 requests are too few for a batch job (fewest: 11)" in caplog.text


async def test_endpoints_have_jobs_of_their_own_side_by_side(place: Place) -> None:
    async with BatchServer() as one, BatchServer() as other:
        both = {"lab": settings(one).endpoints["lab"], "den": replace(settings(other).endpoints["lab"], name="den")}
        mixture = {
            "name": "mine",
            "layers": [{"proposers": [{"model": "lab/a"}, {"model": "den/b"}], "wait": {"min_proposals": 2}}],
            "aggregator": {"model": "den/m"},
        }
        await place.answer(Settings(endpoints=both), mixture)

    assert {row["answer_status"] for row in place.answers} == {"complete"}
    assert (len(one.batches), len(other.batches)) == (1, 2)


async def test_the_fake_service_is_one_for_openais_own_client(tmp_path: Path) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    line["body"]["messages"] = [{"role": "user", "content": "hi"}]  # type: ignore[index]
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    async with BatchServer() as server, AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
        file = await client.files.create(file=tmp_path / "in.jsonl", purpose="batch")
        created = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"moa_job": "t"}
        )
        batch = await client.batches.retrieve(created.id)
        listed = [one.metadata async for one in client.batches.list(limit=1)]
        content = await client.files.content(batch.output_file_id or "")

    assert (batch.status, listed) == ("completed", [{"moa_job": "t"}])
    assert json.loads(content.text)["response"]["body"]["choices"][0]["message"]["content"] == "re: hi"


async def test_uploads_by_redirect_and_upper_case_states_as_together_has_them(place: Place) -> None:
    # As Together's own client does it: the address of the upload comes in a header, batches have no metadata and are
    # wrapped in `job`, lists are plain, and states are in upper case.
    async with BatchServer() as server:
        server.is_together, server.lose_create = True, {0}
        batch = BatchSettings(poll_s=0.001, quiet_s=0.02, upload="redirect")
        await place.answer(settings(server, batch))

    assert (server.creations, set(server.processed.values())) == (1, {1})
    assert [row["answer"] for row in place.answers] == [f"re: p{number}" for number in range(10)]
    assert "authorization" not in server.upload_headers


async def test_an_endpoint_without_a_batch_api_is_refused_with_what_to_do(place: Place) -> None:
    async with BatchServer() as server:
        with pytest.raises(UsageError, match="batch: true"):
            await place.answer(settings(server, None))

    assert not server.requests


async def interrupted(place: Place, configured: Settings, when: Any, mixture: Any = ALONE) -> None:
    """Start a batch and end it when a condition holds, as a kill would."""
    async with Engine(settings=configured, batch_jobs=place.jobs) as engine:
        running = asyncio.ensure_future(arun(place.source, mixture, place.target, engine=engine))
        await when()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


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


def settings_file(folder: Path, server: BatchServer) -> Path:
    endpoint = {
        "kind": "openai",
        "base_url": server.base_url,
        "prices": {"*": {"input": 1000, "output": 1000}},
        "price_factor": {"batch": 0.5},
        "batch": {"poll_s": 0.02, "quiet_s": 0.1, "max_requests": 60},
        "retry": {"base_s": 0.001, "max_attempts": 6},
    }
    path = folder / "moa.yaml"
    path.write_text(yaml.safe_dump({"endpoints": {"lab": endpoint}}))
    return path


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
