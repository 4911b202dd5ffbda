"""Chat completions, asked with OpenAI's own client."""

import asyncio
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from moa._mixture.loading import load
from moa._server.api.chat_request import read_chat_request
from moa.providers._endpoint import Endpoint
from tests.support.model_server import Hang, Raw, Reset, Status, Text
from tests.support.served import DUO, HELLO, served

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = {"index": 0, "id": "call_7", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
MIXED = (
    {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}},
    {"index": 1, "id": "call_b", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}},
    {"index": 0, "function": {"arguments": '"Rome"}'}},
    {"index": 1, "function": {"arguments": '"Oslo"}'}},
)
"""Two calls whose pieces come in turns."""
PIXEL = "data:image/png;base64,iVBORw0KGgo="


async def test_an_answer_comes_with_the_usage_of_all_calls_and_the_totals_in_headers() -> None:
    async with served() as server:
        raw = await server.openai.chat.completions.with_raw_response.create(model="moa/duo", messages=HELLO)
        reply = raw.parse()

    assert reply.choices[0].message.content == "This is writer"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    bill = server.upstream.bill
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (bill.input_tokens, bill.output_tokens)
    cost = (bill.input_tokens + 2 * bill.output_tokens) / 1e6
    assert float(raw.headers["x-moa-cost-usd"]) == pytest.approx(cost)
    assert raw.headers["x-moa-status"] == "complete"
    assert float(raw.headers["x-moa-critical-path-ms"]) > 0


async def test_a_stream_gives_the_pieces_then_the_reason_then_usage_and_totals() -> None:
    async with served() as server:
        stream = await server.openai.chat.completions.create(
            model="moa/duo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text or "" for text in texts) == "This is writer"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == server.upstream.bill.input_tokens + server.upstream.bill.output_tokens
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["moa"]["status"] == "complete"
    assert chunks[-1].model_extra["moa"]["calls"] == 3


async def test_a_stream_without_usage_has_the_totals_in_the_chunk_of_the_reason() -> None:
    async with served() as server:
        stream = await server.openai.chat.completions.create(model="solo", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]

    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["moa"]["calls"] == 1
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_survives(stream: bool) -> None:
    async with served() as server:
        server.upstream.behave("writer", Text("", tool_calls=(CALL,), finish="tool_calls"))
        asked = {"model": "moa/duo", "messages": HELLO, "tools": [WEATHER], "tool_choice": "required"}
        if stream:
            async with server.openai.chat.completions.stream(**asked) as events:
                async for _ in events:
                    pass
                reply = await events.get_final_completion()
        else:
            reply = await server.openai.chat.completions.create(**asked)

    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.tool_calls is not None
    [call] = reply.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_7", "weather", '{"city":"Rome"}')
    sent = {request.model: request.body for request in server.upstream.requests}
    assert sent["writer"]["tools"] == [WEATHER]
    assert sent["writer"]["tool_choice"] == "required"
    assert "tools" not in sent["one"]


async def test_a_tools_result_reaches_the_aggregator() -> None:
    turns: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [{k: v for k, v in CALL.items() if k != "index"}]},
        {"role": "tool", "tool_call_id": "call_7", "content": "sunny"},
    ]
    async with served() as server:
        await server.openai.chat.completions.create(model="moa/solo", messages=turns, tools=[WEATHER])

    [request] = server.upstream.requests
    assert request.body["messages"][-1] == {"role": "tool", "tool_call_id": "call_7", "content": "sunny"}


class City(BaseModel):
    name: str
    people: int


async def test_a_json_schema_reaches_the_aggregator_and_the_client_reads_its_object() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text('{"name": "Rome", "people": 3}'))
        reply = await server.openai.chat.completions.parse(model="moa/duo", messages=HELLO, response_format=City)

    assert reply.choices[0].message.parsed == City(name="Rome", people=3)
    sent = {request.model: request.body for request in server.upstream.requests}
    assert sent["writer"]["response_format"]["json_schema"]["name"] == "City"
    assert "response_format" not in sent["one"]


PASSED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0.3}, {"temperature": 0.3}),
    ({"top_p": 0.5, "top_k": 9}, {"top_p": 0.5, "top_k": 9}),
    ({"max_tokens": 7}, {"max_tokens": 7}),
    ({"max_completion_tokens": 8}, {"max_tokens": 8}),
    ({"stop": "END"}, {"stop": ["END"]}),
    ({"stop": ["A", "B"]}, {"stop": ["A", "B"]}),
    ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ({"frequency_penalty": 0.5, "presence_penalty": -1}, {"frequency_penalty": 0.5, "presence_penalty": -1}),
    ({"logit_bias": {"50256": -100}}, {"logit_bias": {"50256": -100}}),
    ({"verbosity": "low", "user": "u1"}, {"verbosity": "low", "user": "u1"}),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ({"logprobs": True}, {"logprobs": True, "top_logprobs": 0}),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
]


@pytest.mark.slow
async def test_every_field_of_sampling_reaches_the_aggregator() -> None:
    async with served() as server:
        statuses = [(await server.chat(**given))[0] for given, _ in PASSED]

    assert statuses == [200] * len(PASSED)
    for request, (_, sent) in zip(server.upstream.requests, PASSED, strict=True):
        assert {name: request.body.get(name) for name in sent} == sent


async def test_a_seed_gives_every_agent_a_seed_that_is_the_same_again() -> None:
    async with served() as server:
        for _ in range(2):
            await server.chat(model="moa/duo", seed=5)

    seeds = [(request.model, request.body["seed"]) for request in server.upstream.requests]
    assert sorted(seeds[:3]) == sorted(seeds[3:])
    assert len({seed for _, seed in seeds}) == 3


NEUTRAL: dict[str, Any] = {
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "store": False,
    "modalities": ["text"],
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "tools": None,
    "stream_options": None,
    "metadata": None,
}


async def test_fields_that_ask_for_nothing_special_are_taken_and_not_sent() -> None:
    async with served() as server:
        status, _ = await server.chat(**NEUTRAL)

    assert status == 200
    [request] = server.upstream.requests
    assert not request.body.keys() & NEUTRAL.keys()


async def test_an_unknown_model_is_not_found_and_the_nearest_is_named() -> None:
    async with served() as server:
        with pytest.raises(openai.NotFoundError, match="did you mean 'moa/duo'") as caught:
            await server.openai.chat.completions.create(model="moa/dua", messages=HELLO)

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_an_image_reaches_every_agent() -> None:
    content: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    async with served() as server:
        await server.openai.chat.completions.create(model="moa/duo", messages=[{"role": "user", "content": content}])

    asked = [request.body["messages"][0]["content"] for request in server.upstream.requests]
    assert asked == [content] * 3


def _with_logprobs() -> Raw:
    entry = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [entry]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return Raw(b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
async def test_log_probabilities_come_through(stream: bool) -> None:
    async with served() as server:
        server.upstream.behave("writer", _with_logprobs())
        asked: Any = {"model": "moa/solo", "messages": HELLO, "logprobs": True}
        if stream:
            chunks = [chunk async for chunk in await server.openai.chat.completions.create(**asked, stream=True)]
            found = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
        else:
            found = [(await server.openai.chat.completions.create(**asked)).choices[0].logprobs]

    assert [entry.token for logprobs in found for entry in logprobs.content] == ["Hi"]


async def test_proposals_stream_as_reasoning_before_the_answer_when_asked_for() -> None:
    async with served() as server:
        stream = await server.openai.chat.completions.create(
            model="moa/duo", messages=HELLO, stream=True, extra_body={"moa": {"proposals": "reasoning"}}
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]

    thoughts = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    assert thoughts.count("Proposal ") == 2
    assert "This is one" in thoughts
    assert "This is two" in thoughts
    assert "".join(delta.content or "" for delta in deltas) == "This is writer"


async def test_the_ledger_comes_on_request() -> None:
    async with served() as server:
        _, reply = await server.chat(model="moa/duo", moa={"ledger": True, "proposals": "reasoning"})
        _, plain = await server.chat(model="moa/duo")

    assert [call["model"] for call in reply["moa"]["calls"]] == ["lab/one", "lab/two", "lab/writer"]
    assert [p["text"] for p in reply["moa"]["layers"][0]["proposals"]] == ["This is one", "This is two"]
    assert "This is one" in reply["choices"][0]["message"]["reasoning_content"]
    assert "moa" not in plain


async def test_bypass_asks_the_aggregator_alone() -> None:
    async with served() as server:
        status, _ = await server.chat(model="moa/duo", moa={"bypass": True})

    assert status == 200
    [request] = server.upstream.requests
    assert request.model == "writer"
    assert request.body["messages"] == HELLO


async def test_a_request_may_change_the_mixture_for_itself_alone() -> None:
    changes = {"aggregator": {"temperature": 0.25}, "layers": [{"proposers": [{"model": "lab/two"}]}]}
    async with served() as server:
        await server.chat(model="moa/duo", moa={"mixture": changes})
        changed = {request.model: request.body for request in server.upstream.requests}
        server.upstream.requests.clear()
        await server.chat(model="moa/duo")

    assert changed.keys() == {"two", "writer"}
    assert (changed["writer"]["temperature"], changed["writer"]["max_tokens"]) == (0.25, 50)
    assert {request.model for request in server.upstream.requests} == {"one", "two", "writer"}


FORBIDDEN: list[dict[str, Any]] = [
    {"aggregator": {"price": {"input": 0, "output": 0}}},
    {"prompt": "/etc/passwd"},
    {"prompt": "mine.j2", "template": "{{ proposals }}"},
    {"aggregator": {"model": "disk//tmp/evil.gguf"}},
    {"aggregator": {"fallback": ["disk//tmp/evil.gguf"]}},
    {"aggregator": {"model": "elsewhere/model"}},
    {"endpoints": {"lab": {"base_url": "http://evil.test"}}},
    {"prompt": 5},
]


@pytest.mark.parametrize("changes", FORBIDDEN, ids=str)
async def test_a_request_may_not_set_prices_templates_local_paths_or_endpoints(changes: dict[str, Any]) -> None:
    async with served() as server:
        endpoints: Any = server.app.state.service.models._settings.endpoints
        endpoints["disk"] = Endpoint(name="disk", kind="local")
        status, reply = await server.chat(model="moa/duo", moa={"mixture": changes})

    assert status == 400, reply
    assert server.upstream.requests == []


async def test_a_mixtures_own_price_and_budget_hold_whatever_a_request_changes() -> None:
    own = load(
        {
            "name": "thrifty",
            "layers": [],
            "budget_usd": 0.000001,
            "aggregator": {"model": "lab/writer", "max_tokens": 50, "price": {"input": 3, "output": 3}},
        }
    )
    async with served(own) as server:
        status, reply = await server.chat(model="moa/thrifty", moa={"mixture": {"budget_usd": 100}})

    assert (status, reply["error"]["code"]) == (402, "over_budget")
    assert server.upstream.requests == []


async def test_a_requests_budget_and_deadline_hold() -> None:
    async with served() as server:
        poor, reply = await server.chat(moa={"budget_usd": 1e-9})
        server.upstream.behave("writer", Text("late", delay_s=30))
        late, timed_out = await server.chat(moa={"deadline_s": 0.05})

    assert (poor, reply["error"]["code"]) == (402, "over_budget")
    assert (late, timed_out["error"]["code"]) == (504, "deadline_exceeded")


FAILURES = [
    (Status(429, headers={"retry-after": "9"}), 429, "rate_limited"),
    (Status(400, {"error": {"message": "bad schema"}}), 400, "bad_request"),
    (Status(500), 502, "service_failed"),
    (Status(401), 502, "authentication_failed"),
    (Reset(), 502, "connection_failed"),
]


@pytest.mark.parametrize(("behaviour", "status", "code"), FAILURES, ids=lambda value: str(value)[:20])
async def test_a_failed_service_is_an_error_and_never_an_answer(behaviour: Any, status: int, code: str) -> None:
    async with served() as server:
        server.upstream.behave("writer", behaviour)
        got, reply = await server.chat()

    assert (got, reply["error"]["code"]) == (status, code)
    assert "choices" not in reply


async def test_a_degraded_answer_says_so() -> None:
    async with served() as server:
        server.upstream.behave("one", Status(500))
        async with server.http.post(
            f"{server.url}/v1/chat/completions", json={"model": "moa/duo", "messages": HELLO}
        ) as response:
            assert response.status == 200
            assert response.headers["x-moa-status"] == "degraded"


async def _collect(stream: Any, texts: list[str]) -> None:
    async for chunk in stream:
        texts.append(chunk.choices[0].delta.content or "")


async def test_an_error_in_mid_stream_comes_in_band_after_all_that_was_written() -> None:
    hasty = load({"name": "solo", "layers": [], "aggregator": {"model": "lab/writer", "idle_timeout_s": 0.1}})
    async with served(hasty) as server:
        server.upstream.behave("writer", Hang(after=("one ",)))
        stream = await server.openai.chat.completions.create(model="moa/solo", messages=HELLO, stream=True)
        texts: list[str] = []
        with pytest.raises(openai.APIError, match="broke off") as caught:
            await _collect(stream, texts)

    assert "".join(texts) == "one "
    assert caught.value.code == "answer_interrupted"


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (Status(500), openai.InternalServerError),
        (Status(429, headers={"retry-after": "7"}), openai.RateLimitError),
        (Status(400, {"error": {"message": "bad seed"}}), openai.BadRequestError),
    ],
)
async def test_an_error_before_the_first_token_of_a_stream_has_its_own_status(
    upstream: Status, expected: type[openai.APIStatusError]
) -> None:
    async with served() as server:
        server.upstream.behave("writer", upstream)
        with pytest.raises(expected) as caught:
            await server.openai.chat.completions.create(model="moa/solo", messages=HELLO, stream=True)

    assert caught.value.response.headers.get("retry-after") == upstream.headers.get("retry-after")


async def test_an_error_after_the_headers_had_to_be_sent_comes_in_band() -> None:
    async with served(hold_headers_s=0.0) as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text((), gate=gate, finish="length"))
        stream = await server.openai.chat.completions.create(model="moa/solo", messages=HELLO, stream=True)
        gate.set()
        with pytest.raises(openai.APIError, match="gave an answer"):
            async for _ in stream:
                pass


async def test_the_headers_of_a_stream_wait_for_the_first_piece_no_longer_than_they_may() -> None:
    async with served(hold_headers_s=0.01) as server:
        gate = asyncio.Event()
        server.upstream.behave("writer", Text("late", gate=gate))
        stream = await server.openai.chat.completions.create(model="moa/solo", messages=HELLO, stream=True)
        gate.set()
        texts: list[str] = []
        await _collect(stream, texts)

    assert "".join(texts) == "late"


async def test_a_bad_request_leaves_another_alone() -> None:
    async with served() as server:
        server.upstream.behave("writer", Text(("fine",), delay_s=0.05))
        good, bad = server.chat(), server.chat(temperature="x")
        (good_status, reply), (bad_status, _) = await asyncio.gather(good, bad)

    assert (good_status, bad_status) == (200, 400)
    assert reply["choices"][0]["message"]["content"] == "fine"


async def test_models_are_listed_mixtures_first_and_found_one_by_one() -> None:
    async with served(DUO) as server:
        listed = [model async for model in server.openai.models.list()]
        one = await server.openai.models.retrieve("moa/duo")
        with pytest.raises(openai.NotFoundError):
            await server.openai.models.retrieve("moa/none")

    assert [model.id for model in listed] == ["moa/duo", "lab/one", "lab/two", "lab/writer"]
    assert (one.id, one.owned_by) == ("moa/duo", "moa")


async def test_a_single_model_answers_alone() -> None:
    async with served() as server:
        reply = await server.openai.chat.completions.create(model="lab/two", messages=HELLO)

    assert reply.choices[0].message.content == "This is two"
    assert [request.model for request in server.upstream.requests] == ["two"]


async def test_a_clients_cache_marks_reach_a_service_that_wants_them_and_no_other() -> None:
    content: Any = [
        {"type": "text", "text": "A book", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "What of it?"},
    ]
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body: Any = {"model": "moa/solo", "messages": [{"role": "system", "content": "Be brief.", **mark}]}
    body["messages"].append({"role": "user", "content": content})
    body["tools"] = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}, **mark},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object"}, **mark}},
    ]
    async with served() as server:
        await server.openai.chat.completions.create(**body)

    request = read_chat_request(body)
    assert [(one.cache_points, one.cache_ttl) for one in request.messages] == [((9,), "1h"), ((6,), None)]
    assert [tool["cache_control"] for tool in request.options.tools] == [mark["cache_control"]] * 2
    assert "cache_control" not in str(server.upstream.requests[0].body)
    sent = [message["content"] for message in server.upstream.requests[0].body["messages"]]
    assert sent == ["Be brief.", "A book\nWhat of it?"]
