import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from openai import AsyncOpenAI

from moa._messages import Sampling
from moa._policies.metering import Metered
from moa.errors import (
    BadRequest,
    BrokenReply,
    ConfigError,
    ConnectionFailed,
    IdleTimedOut,
    ProviderError,
    RateLimited,
    ServiceFailed,
)
from moa.providers._base import Provider, TextDelta, collect
from moa.providers._endpoint import Endpoint, LimitSettings
from moa.providers._http import HttpRequest, HttpResponse
from moa.providers._openai_compatible import open_openai_compatible
from tests.providers.requests import KEY, Books, ask, events_of, lab
from tests.support.behaviours import Behaviour, completion, sse
from tests.support.model_server import Drip, Hang, ModelServer, Raw, Reset, Status, Text

HAIKU = Text(("Old ", "pond, ", "a frog"), reasoning="five seven five")
TOOLS = Text(
    "",
    tool_calls=({"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},),
    finish="tool_calls",
)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def provider(server: ModelServer) -> AsyncIterator[Provider]:
    opened = open_openai_compatible(lab(server.base_url))
    yield opened
    await opened.aclose()


# -- replies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [HAIKU, TOOLS, Text("", finish="length"), Drip(HAIKU), Drip(HAIKU, size=7)])
async def test_reply_is_the_same_streamed_and_not(
    server: ModelServer, provider: Provider, behaviour: Behaviour
) -> None:
    server.behave("small", behaviour)

    assert await collect(provider, ask()) == await collect(provider, ask(deltas=False))


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize("behaviour", [HAIKU, TOOLS])
async def test_reply_agrees_with_the_official_client(
    server: ModelServer, provider: Provider, behaviour: Behaviour, deltas: bool
) -> None:
    server.behave("small", behaviour)
    ours = await collect(provider, ask(deltas=deltas))

    async with AsyncOpenAI(api_key=KEY, base_url=server.base_url) as client:
        theirs = await _official(client, streamed=deltas)

    assert theirs == {
        "text": ours.text,
        "tools": [(call.id, call.name, call.arguments) for call in ours.tool_calls],
        "finish": ours.finish.reason,
        "usage": ours.finish.usage and (ours.finish.usage.input_tokens, ours.finish.usage.output_tokens),
    }


async def _official(client: AsyncOpenAI, *, streamed: bool) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "Say hello."}]
    if streamed:
        async with client.chat.completions.stream(
            model="small", messages=messages, stream_options={"include_usage": True}
        ) as events:
            completion: Any = await events.get_final_completion()
    else:
        completion = await client.chat.completions.create(model="small", messages=messages)
    choice, usage = completion.choices[0], completion.usage
    return {
        "text": choice.message.content or "",
        "tools": [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls or []],
        "finish": choice.finish_reason,
        "usage": (usage.prompt_tokens, usage.completion_tokens),
    }


async def test_request_is_the_official_clients(server: ModelServer, provider: Provider) -> None:
    server.behave("small", HAIKU)
    fields: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 5, "stop": ["x"], "seed": 3}
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=5, stop=("x",), seed=3)

    await collect(provider, ask(sampling=sampling))
    async with AsyncOpenAI(api_key=KEY, base_url=server.base_url) as client:
        await client.chat.completions.create(
            model="small",
            messages=[{"role": "user", "content": "Say hello."}],
            stream=True,
            stream_options={"include_usage": True},
            **fields,
        )

    ours, theirs = server.requests
    assert ours.body == theirs.body
    assert ours.headers["Authorization"] == theirs.headers["Authorization"]


async def test_text_arrives_before_the_reply_is_whole(server: ModelServer, provider: Provider) -> None:
    server.behave("small", Hang(after=("first ",)))

    async with provider.stream(ask()) as events:
        assert await anext(events) == TextDelta("first ")
        assert server.running == 1


async def test_leaving_the_reply_early_ends_the_call_on_the_server(server: ModelServer, provider: Provider) -> None:
    server.behave("small", Hang(after=("first ",)))

    async with provider.stream(ask()) as events:
        await anext(events)

    await server.until(lambda: server.cancelled == 1)
    # The fake server runs in this loop too; the handlers are its.
    others = [str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task for task in others if "RequestHandler" not in task] == []


@pytest.mark.parametrize("after", [(), ("first ",)])
@pytest.mark.parametrize("deltas", [True, False])
async def test_cancelling_the_call_ends_it_on_the_server(
    server: ModelServer, provider: Provider, after: tuple[str, ...], deltas: bool
) -> None:
    server.behave("small", Hang(after=after))
    call = asyncio.create_task(collect(provider, ask(deltas=deltas)))
    await server.until(lambda: server.bill.cut_off_input_tokens > 0)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await server.until(lambda: server.cancelled == 1)


async def test_connection_is_kept_after_a_whole_reply(server: ModelServer, provider: Provider) -> None:
    server.behave("small", HAIKU)

    for deltas in (True, False, True):
        await collect(provider, ask(deltas=deltas))

    assert len({received.peer for received in server.requests}) == 1


async def test_connection_is_not_kept_when_the_endpoint_says_so(server: ModelServer) -> None:
    server.behave("small", HAIKU)
    provider = open_openai_compatible(lab(server.base_url, headers={"Connection": "close"}))

    for _ in range(2):
        await collect(provider, ask())
    await provider.aclose()

    assert len({received.peer for received in server.requests}) == 2


async def test_more_than_a_hundred_calls_run_at_once(server: ModelServer, provider: Provider) -> None:
    gate = asyncio.Event()
    server.behave("small", Text("yes", gate=gate))

    calls = [asyncio.create_task(collect(provider, ask())) for _ in range(120)]
    await server.until(lambda: server.running == 120)
    gate.set()

    assert {reply.text for reply in await asyncio.gather(*calls)} == {"yes"}


async def test_concurrency_stays_within_the_endpoints_limit(server: ModelServer) -> None:
    limited = open_openai_compatible(lab(server.base_url, limits=LimitSettings(max_concurrency=3)))
    server.behave("small", HAIKU)

    await asyncio.gather(*(collect(limited, ask()) for _ in range(12)))
    await limited.aclose()

    assert (len(server.requests), server.peak) == (12, 3)


async def test_stream_in_place_of_json_and_json_in_place_of_a_stream_are_understood(
    server: ModelServer, provider: Provider
) -> None:
    body = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}'
    server.behave("json", Raw(body, content_type="application/json; charset=utf-8"))
    server.behave("sse", Raw(b'data: {"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]}\n\n'))

    assert (await collect(provider, ask("json"))).text == "yes"
    assert (await collect(provider, ask("sse", deltas=False))).text == "yes"


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "application/octet-stream", "text/event-stream"])
async def test_whole_reply_is_understood_whatever_its_content_type(
    server: ModelServer, provider: Provider, content_type: str
) -> None:
    body = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}'
    server.behave("small", Raw(body, content_type=content_type))

    assert (await collect(provider, ask())).text == "yes"


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Status(429, headers={"retry-after": "3"}), RateLimited),
        (Status(500), ServiceFailed),
        (Status(503, "no healthy upstream"), ServiceFailed),
        (Status(307, headers={"location": "http://127.0.0.1:1/v1/chat/completions?key=x"}), BadRequest),
        (Reset(), ConnectionFailed),
        (Reset(after_bytes=40), BrokenReply),
        (Raw(b"<html>Please log in</html>", content_type="text/html"), BadRequest),
        (Raw(b"", content_type="application/json"), BrokenReply),
        (Raw(b"", content_type="text/event-stream"), BrokenReply),
        (Raw(b'{"choices":[]}', content_type="application/json"), BrokenReply),
        (Raw(b'{"error":{"message":"boom"}}', content_type="application/json"), ServiceFailed),
        (Raw(b'data: {"choices":[{"delta":{"content":"ha'), BrokenReply),
    ],
)
async def test_fault_is_an_error_and_never_text(
    server: ModelServer, provider: Provider, behaviour: Behaviour, expected: type[ProviderError], deltas: bool
) -> None:
    server.behave("small", behaviour)

    with pytest.raises(ProviderError) as caught:
        await collect(provider, ask(deltas=deltas))

    assert type(caught.value) is expected
    assert caught.value.model == "lab/small"
    assert len(server.requests) == 1


async def test_text_before_an_error_in_the_same_piece_is_given_first_and_is_in_the_books(
    server: ModelServer, provider: Provider
) -> None:
    text = b'data: {"choices":[{"delta":{"content":"one two three"}}]}\n\n'
    server.behave("small", Raw(text + b'data: {"error":{"message":"boom"}}\n\n'), Raw(text + b"data: no JSON\n\n"))

    for _ in range(2):
        async with provider.stream(ask()) as events:
            assert await anext(events) == TextDelta("one two three")
            with pytest.raises(ProviderError):
                await anext(events)


@pytest.mark.slow
async def test_stream_reset_after_any_byte_is_a_failure_or_the_whole_text(
    server: ModelServer, provider: Provider
) -> None:
    text = Text(("yes ", "no"))
    last = len(b"".join(sse(text, {"model": "small", "messages": [], "stream_options": {"include_usage": True}})))
    server.behave("small", lambda body, number: Reset(after_bytes=number, of=text))
    outcomes = []

    for _ in range(last + 1):
        try:
            reply = await collect(provider, ask())
        except BrokenReply:
            outcomes.append("broken")
        else:
            outcomes.append("whole")
            assert (reply.text, reply.finish.reason) == ("yes no", "stop")

    assert (outcomes[0], outcomes[-1]) == ("broken", "whole")


async def test_silence_inside_a_stream_is_an_idle_timeout(server: ModelServer, provider: Provider) -> None:
    server.behave("small", Hang(after=("first ",)))

    with pytest.raises(IdleTimedOut):
        await collect(provider, ask(idle_timeout_s=0.02))

    await server.until(lambda: server.cancelled == 1)


async def test_silence_before_the_headers_is_no_idle_timeout(server: ModelServer, provider: Provider) -> None:
    gate = asyncio.Event()
    server.behave("small", Text("late", gate=gate))
    call = asyncio.create_task(collect(provider, ask(idle_timeout_s=0.01)))
    await server.until(lambda: server.running == 1)
    asyncio.get_running_loop().call_later(0.05, gate.set)

    assert (await call).text == "late"


async def test_stream_left_open_after_its_end_gives_the_reply_and_its_connection_up() -> None:
    class Endless:
        status, headers = 200, {"content-type": "text/event-stream"}

        async def read(self) -> bytes:
            raise AssertionError("a stream is not read whole")

        async def chunks(self) -> AsyncIterator[bytes]:
            yield b'data: {"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
            await asyncio.Event().wait()

    @asynccontextmanager
    async def transport(request: HttpRequest) -> AsyncIterator[HttpResponse]:
        yield Endless()

    provider = open_openai_compatible(lab("http://models.test/v1"), transport)

    assert (await collect(provider, ask())).text == "yes"


async def test_reported_usage_is_the_servers_bill_and_cut_off_replies_are_estimated_apart(server: ModelServer) -> None:
    provider, books = Metered(open_openai_compatible(lab(server.base_url))), Books()
    faults = (Status(429), Status(500), Reset(), Reset(after_bytes=200), Raw(b"data: {broken"))
    server.behave("small", *faults, HAIKU, Text("", finish="content_filter"), Text("cut off here", finish="length"))

    for deltas in (True, False):
        for _ in range(8):
            with contextlib.suppress(ProviderError):
                await collect(provider, ask(context=books.context, deltas=deltas))
    await provider.aclose()

    ledger = books.meter.ledger()
    assert len(ledger.attempts) == len(server.requests) >= 16
    assert (ledger.usage.input_tokens, ledger.usage.output_tokens) == (
        server.bill.input_tokens,
        server.bill.output_tokens,
    )
    assert {
        attempt.error.code for attempt in ledger.attempts if attempt.usage_source == "estimated" and attempt.error
    } == {"broken_reply"}


# -- secrets -------------------------------------------------------------------------------------------------------


async def test_errors_never_show_the_key_even_if_the_server_does(server: ModelServer, provider: Provider) -> None:
    server.behave("status", Status(401, f"who is {KEY}?"))
    server.behave("stream", Raw(f'data: {{"error":{{"message":"who is {KEY}?"}}}}\n\n'.encode()))

    for model in ("status", "stream"):
        with pytest.raises(ProviderError, match=r"who is \*\*\*") as caught:
            await collect(provider, ask(model))
        assert KEY not in repr(caught.value) + str(caught.value) + str(caught.value.info)


@pytest.mark.parametrize("deltas", [True, False])
async def test_a_key_in_the_place_of_a_models_name_is_in_no_ledger(
    server: ModelServer, provider: Provider, deltas: bool
) -> None:
    reply = completion(Text("fine"), {"model": KEY, "messages": []})
    server.behave("echo", Raw(reply, content_type="application/json"))
    books = Books()

    await collect(Metered(provider), ask("echo", context=books.context, deltas=deltas))

    assert [attempt.served_by for attempt in books.attempts] == ["***"]


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "shift"),
    [
        (lambda pad: Status(401, {"error": {"message": f"{pad} {KEY} {pad}"}}), 490),
        (lambda pad: Status(401, f"{pad} {KEY} {pad}"), 490),
        (lambda pad: Status(502, "<i>" * 3000 + f"<b {pad}>{KEY}"), 990),
        (lambda pad: Raw(f'{{"{pad}{KEY}{pad}'.encode(), content_type="application/json"), 190),
        (lambda pad: Raw(f'["{pad}{KEY}{pad}"]'.encode(), content_type="application/json"), 190),
        (lambda pad: Raw(json.dumps({"choices": [[pad + KEY + pad]]}).encode(), "application/json"), 174),
        (lambda pad: Raw(f'data: {{"error":{{"message":"{pad}{KEY}{pad}"}}}}\n\n'.encode()), 490),
        (lambda pad: Raw(f"data: {{{pad}{KEY}{pad}\n\n".encode()), 190),
        (lambda pad: Text("", finish="stop", tool_calls=({"function": pad + KEY + pad},)), 185),
    ],
)
async def test_errors_show_no_part_of_a_key_where_they_cut_the_servers_words(
    server: ModelServer, provider: Provider, behaviour: Callable[[str], Behaviour], shift: int, deltas: bool
) -> None:
    for length in range(shift - 20, shift + 10, 5):
        server.behave("small", behaviour("y" * length))
        with pytest.raises(ProviderError) as caught:
            await collect(provider, ask(deltas=deltas))
        assert KEY[:4] not in str(caught.value)


async def test_errors_hide_a_query_in_the_spelling_of_an_address(server: ModelServer) -> None:
    secret = "s3cret+of/the team=="
    provider = open_openai_compatible(lab(server.base_url, query={"code": secret}))
    spelled = [quote(secret), quote_plus(secret), quote(secret, safe=""), secret]
    server.behave("small", *(Status(404, f"no such page: /v1?code={echoed}&v=1") for echoed in spelled))

    for _ in spelled:
        with pytest.raises(ProviderError, match=r"code=\*\*\*&v=1"):
            await collect(provider, ask())
    await provider.aclose()


async def test_key_is_sent_only_if_there_is_one(server: ModelServer) -> None:
    endpoint = Endpoint(
        name="lab",
        kind="openai",
        base_url=server.base_url + "/",
        headers={"x-team": "blue"},
        query={"api-version": "1"},
    )
    server.behave("small", HAIKU)
    provider = open_openai_compatible(endpoint)

    await collect(provider, ask())
    await provider.aclose()

    (received,) = server.requests
    assert "Authorization" not in received.headers
    assert (received.headers["x-team"], received.query) == ("blue", {"api-version": "1"})
    assert received.headers["User-Agent"].startswith("mixture-of-agents/")


@pytest.mark.parametrize("base_url", [None, "", "models.test/v1", "ftp://models.test", "http://", "http://[::1"])
def test_endpoint_without_a_usable_address_is_turned_down(base_url: str | None) -> None:
    with pytest.raises(ConfigError, match="endpoints\\.lab\\.base_url"):
        open_openai_compatible(Endpoint(name="lab", kind="openai", base_url=base_url))


def test_key_that_no_header_can_hold_is_turned_down_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        open_openai_compatible(lab("http://models.test", headers={"x-key": "two\nlines"}))

    assert "two" not in str(caught.value)


def test_seeds_are_taken_unless_the_endpoint_says_otherwise() -> None:
    assert open_openai_compatible(lab("http://models.test")).takes_seed
    assert not open_openai_compatible(lab("http://models.test", options={"takes_seed": False})).takes_seed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"takes_seed": "false"}, "endpoints.lab.options.takes_seed: must be true or false, not 'false'"),
        ({"take_seed": False}, "endpoints.lab.options.take_seed: unknown option"),
    ],
)
def test_an_option_that_is_wrong_is_refused_by_name(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        open_openai_compatible(lab("http://models.test", options=options))


async def test_events_end_after_their_last_one(server: ModelServer, provider: Provider) -> None:
    server.behave("small", HAIKU)

    assert len(await events_of(provider, ask())) == 5
