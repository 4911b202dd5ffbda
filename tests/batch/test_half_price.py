"""Batches at half the price: calls go by file jobs, nothing is sent twice, and nothing that was paid for is lost."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from moa import Settings
from moa.errors import UsageError
from moa.providers._endpoint import BatchSettings
from tests.support.batch_server import BatchServer
from tests.support.half_price import ALONE, MIXTURE, RAPID, Place, interrupted, settings


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
