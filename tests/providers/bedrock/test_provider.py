import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson
import pytest

from moa._messages import ToolCall
from moa._usage import TokenUsage
from moa.errors import AuthenticationFailed, BrokenReply, ConnectionFailed, IdleTimedOut, RateLimited, ServiceFailed
from moa.providers._base import Finish, Reply, TextDelta, collect
from moa.providers._bedrock import open_bedrock
from moa.providers._endpoint import Endpoint
from moa.providers._http import HttpRequest, HttpResponse
from tests.support.bedrock_calls import MODEL, ask, provider_at, serving, signing_session
from tests.support.bedrock_server import CREDENTIALS, REGION, BedrockServer, Fails, Says, Sends
from tests.support.event_stream import exception

BOTH = pytest.mark.parametrize("deltas", [False, True], ids=["whole", "streamed"])


@BOTH
async def test_reply_has_its_text_usage_and_request_id(deltas: bool) -> None:
    async with serving(Says("Hello, ", "world.")) as (server, provider):
        reply = await collect(provider, ask(deltas=deltas))

    assert reply.text == "Hello, world."
    assert reply.finish == Finish(
        reason="stop", usage=TokenUsage(input_tokens=7, output_tokens=2), request_id="request-1"
    )
    assert server.billed == {"inputTokens": 7, "outputTokens": 2}


async def test_request_goes_to_converse_stream_only_if_deltas_are_wanted() -> None:
    async with serving(Says("a")) as (server, provider):
        await collect(provider, ask(deltas=False))
        await collect(provider, ask(deltas=True))

    assert [seen.raw_path.rpartition("/")[2] for seen in server.seen] == ["converse", "converse-stream"]
    assert {seen.model for seen in server.seen} == {MODEL}


async def test_streamed_and_whole_replies_fold_to_the_same() -> None:
    says = Says(
        "It is ",
        "sunny.",
        reasoning=["Let me ", "see."],
        tools=[("t1", "weather", ['{"city"', ': "Rome"}']), ("t2", "now", [])],
        stop="tool_use",
        usage={"inputTokens": 1, "outputTokens": 9, "cacheReadInputTokens": 20, "cacheWriteInputTokens": 300},
        extra={"trace": {"promptRouter": {"invokedModelId": "meta.llama"}}},
    )
    async with serving(says) as (_, provider):
        whole, streamed = [_compact(await collect(provider, ask(deltas=deltas))) for deltas in (False, True)]

    assert whole == streamed
    assert (whole.text, whole.reasoning) == ("It is sunny.", "Let me see.")
    assert whole.tool_calls == (
        ToolCall(id="t1", name="weather", arguments='{"city":"Rome"}'),
        ToolCall(id="t2", name="now", arguments="{}"),
    )
    assert (whole.finish.reason, whole.finish.served_by) == ("tool_calls", "meta.llama")
    assert whole.finish.usage == TokenUsage(
        input_tokens=321, output_tokens=9, cached_input_tokens=20, cache_write_tokens=300
    )


def _compact(reply: Reply) -> Reply:
    calls = tuple(ToolCall(id=c.id, name=c.name, arguments=c.arguments.replace(": ", ":")) for c in reply.tool_calls)
    return Reply(text=reply.text, reasoning=reply.reasoning, tool_calls=calls, finish=reply.finish)


@BOTH
async def test_refusal_of_the_service_is_an_error_with_its_wait(deltas: bool) -> None:
    refusal = Fails(429, "ThrottlingException", "Too many requests", {"retry-after": "2"})
    async with serving(refusal) as (_, provider):
        with pytest.raises(RateLimited) as caught:
            await collect(provider, ask(deltas=deltas))

    assert (caught.value.retry_after_s, caught.value.status) == (2.0, 429)
    assert str(caught.value) == f"bedrock/{MODEL}: ThrottlingException: Too many requests"


@pytest.mark.parametrize("padding", ["", "y" * 550])
@pytest.mark.parametrize("deltas", [False, True], ids=["whole", "streamed"])
async def test_errors_show_nothing_secret_of_the_request_that_a_server_repeats(deltas: bool, padding: str) -> None:
    endpoint = Endpoint(
        name="bedrock",
        kind="bedrock",
        region=REGION,
        endpoint_url="http://aws.test",
        headers={"X-Gate": "gate-secret/1"},
        query={"code": "query secret+2"},
    )
    refusing = Repeats(deltas=deltas, padding=padding)
    provider = open_bedrock(endpoint, refusing, make_session=signing_session)

    with pytest.raises(ServiceFailed) as caught:
        await collect(provider, ask(deltas=deltas))

    shown = f"{caught.value} {caught.value.info}"
    assert "it broke" in shown
    signature = refusing.headers["Authorization"].rpartition("=")[2]
    for secret in ("gate-secr", "query", CREDENTIALS.token, CREDENTIALS.secret_key, signature):
        assert str(secret)[:8] not in shown


class Repeats:
    """A transport whose server fails with all that it was sent and knows in its message."""

    def __init__(self, *, deltas: bool, padding: str) -> None:
        self._deltas, self._padding = deltas, padding
        self.headers: Mapping[str, str] = {}
        self.status = 200 if deltas else 500

    @asynccontextmanager
    async def __call__(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        values = " ".join((*request.headers.values(), request.url, CREDENTIALS.secret_key))
        self._message, self.headers = f"it broke {self._padding} {values}", request.headers
        yield self

    async def read(self) -> bytes:
        return orjson.dumps({"message": self._message})

    async def chunks(self) -> AsyncIterator[bytes]:
        yield exception("modelStreamErrorException", self._message)


async def test_wrong_secret_key_is_an_authentication_failure() -> None:
    async with serving(Says("a"), region="us-east-2") as (_, provider):
        with pytest.raises(AuthenticationFailed, match=r"InvalidSignatureException.*\(renew the AWS credentials"):
            await collect(provider, ask())


async def test_deltas_come_while_the_model_still_writes() -> None:
    go_on = asyncio.Event()
    async with serving(Says("first", "second", hold=go_on)) as (_, provider), provider.stream(ask()) as events:
        first = await anext(events)
        go_on.set()
        rest = [event async for event in events]

    assert first == TextDelta("first")
    assert rest[0] == TextDelta("second")


async def test_leaving_a_stream_early_takes_the_connection_away() -> None:
    async with serving(Says("first", "never", hold=asyncio.Event())) as (server, provider):
        async with provider.stream(ask()) as events:
            assert await anext(events) == TextDelta("first")
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_silence_inside_a_stream_is_an_idle_timeout() -> None:
    async with serving(Says("first", "never", hold=asyncio.Event())) as (_, provider):
        with pytest.raises(IdleTimedOut):
            await collect(provider, ask(idle_timeout_s=0.02))


async def test_stream_leaves_its_connection_to_the_next_call() -> None:
    end = asyncio.Event()
    async with serving(Sends(Says("a").frames(), hold=end)) as (server, provider):
        for _ in range(2):
            async with provider.stream(ask()) as events:
                async for event in events:
                    if isinstance(event, Finish):
                        end.set()

    assert len({seen.peer for seen in server.seen}) == 1


async def test_whole_stream_stays_whole_although_its_connection_never_ends() -> None:
    async with serving(Sends(Says("all").frames(), hold=asyncio.Event())) as (_, provider):
        reply = await collect(provider, ask(idle_timeout_s=0.02))

    assert reply.text == "all"


async def test_exception_event_in_mid_stream_is_an_error_after_the_text() -> None:
    frames = [*Says("some ", "text").frames()[:3], exception("modelStreamErrorException", "The model broke down")]
    async with serving(Sends(frames)) as (_, provider), provider.stream(ask()) as events:
        assert [await anext(events), await anext(events)] == [TextDelta("some "), TextDelta("text")]
        with pytest.raises(ServiceFailed, match="modelStreamErrorException: The model broke down"):
            await anext(events)


@pytest.mark.parametrize("missing", [-1, -2], ids=["metadata", "messageStop"])
async def test_stream_without_its_last_events_is_a_broken_reply(missing: int) -> None:
    frames = Says("some").frames()
    del frames[missing]
    async with serving(Sends(frames)) as (_, provider):
        with pytest.raises(BrokenReply, match="before the reply was whole"):
            await collect(provider, ask())


@BOTH
async def test_connection_that_breaks_off_is_a_broken_reply(deltas: bool) -> None:
    says = Says("some ", "text")
    pieces = says.frames()[:2] if deltas else [says.whole()[:20]]
    async with serving(Sends(pieces, cut=True)) as (_, provider):
        with pytest.raises(BrokenReply):
            await collect(provider, ask(deltas=deltas))


async def test_wrong_checksum_is_a_broken_reply() -> None:
    frames = Says("some ", "text").frames()
    frames[1] = frames[1][:-1] + bytes([frames[1][-1] ^ 1])
    async with serving(Sends(frames)) as (_, provider):
        with pytest.raises(BrokenReply, match="damaged: Checksum mismatch"):
            await collect(provider, ask())


async def test_server_that_is_down_is_a_failed_connection() -> None:
    async with BedrockServer(Says("a")) as server:
        url = server.url
    async with provider_at(url) as provider:
        with pytest.raises(ConnectionFailed):
            await collect(provider, ask())


async def test_calls_at_once_get_each_their_own_reply() -> None:
    async with serving(by_model=lambda model: Says("I am ", model)) as (_, provider):
        models = [f"maker.model-{number}" for number in range(40)]
        replies = await asyncio.gather(*(collect(provider, ask(model=model)) for model in models))

    assert [reply.text for reply in replies] == [f"I am {model}" for model in models]


async def test_provider_says_that_it_takes_no_seed() -> None:
    async with provider_at("http://127.0.0.1:1") as provider:
        assert provider.takes_seed is False


async def test_endpoint_headers_and_query_are_sent_and_signed() -> None:
    fields = {"headers": {"X-Team": "blue"}, "query": {"stage": "a b/c"}}
    async with serving(Says("a"), **fields) as (server, provider):
        await collect(provider, ask())

    (seen,) = server.seen
    assert seen.headers["X-Team"] == "blue"
    assert seen.raw_path.endswith("/converse-stream?stage=a%20b%2Fc")
    assert "x-team" in seen.headers["Authorization"]
