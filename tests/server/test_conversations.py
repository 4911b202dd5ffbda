"""Requests that continue a conversation which the server keeps."""

from typing import Any

import anthropic
import openai
import pytest
from anthropic import beta_async_tool

from moa._server.api.conversations import (
    LARGE_BYTES,
    MOST_LARGE,
    MOST_LOOK_UPS,
    MOST_LOOKED_UP_BYTES,
    SMALL_BYTES,
    Conversations,
)
from moa._server.api_keys import ApiKeys, KeySettings, hash_key
from moa._server.http.errors import RequestError
from moa._state.memory import MemoryStore
from moa.errors import StateUnavailable
from tests.support.model_server import Text
from tests.support.served import HELLO, ServedModel, served

CALL = {"index": 0, "id": "call_7", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
ASK: Any = {"model": "moa/solo"}


def _sent(server: ServedModel) -> list[dict[str, Any]]:
    """The conversation that the aggregator was shown last."""
    return [{k: v for k, v in turn.items() if v is not None} for turn in server.upstream.requests[-1].body["messages"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_continued_by_its_id(stream: bool) -> None:
    async with served() as server:
        if stream:
            async with server.openai.responses.stream(**ASK, input="One", instructions="Be brief") as events:
                first: Any = await events.get_final_response()
        else:
            first = await server.openai.responses.create(**ASK, input="One", instructions="Be brief")
        second = await server.openai.responses.create(**ASK, input="Two", previous_response_id=first.id)
        await server.openai.responses.create(**ASK, input="Three", previous_response_id=second.id)

        assert _sent(server) == [
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": "This is writer"},
            {"role": "user", "content": "Two"},
            {"role": "assistant", "content": "This is writer"},
            {"role": "user", "content": "Three"},
        ]
        assert second.previous_response_id == first.id


async def test_an_item_is_referred_to_by_its_id_with_and_without_a_type() -> None:
    async with served() as server:
        first = await server.openai.responses.create(**ASK, input="One")
        reference: Any = {"type": "item_reference", "id": first.output[0].id}
        untyped: Any = {"id": first.output[0].id}
        for item in (reference, untyped):
            again: Any = [{"role": "user", "content": "One"}, item, {"role": "user", "content": "Two"}]
            await server.openai.responses.create(**ASK, input=again)

            assert _sent(server)[1] == {"role": "assistant", "content": "This is writer"}


async def test_what_was_not_to_be_stored_is_not_and_another_keys_conversation_is_never_found() -> None:
    keys = ApiKeys([KeySettings(name=name, sha256=hash_key(f"moa-{name}")) for name in ("alice", "bob")])
    async with served(keys=keys, key="moa-alice") as server:
        unstored = await server.openai.responses.create(**ASK, input="One", store=False)
        stored = await server.openai.responses.create(**ASK, input="One")
        bob = server.openai.with_options(api_key="moa-bob")
        for client, previous in ((server.openai, unstored.id), (bob, stored.id), (server.openai, "resp_guess")):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(**ASK, input="Two", previous_response_id=previous)
            assert caught.value.code == "previous_response_not_found"

        assert (unstored.store, stored.store, len(server.upstream.requests)) == (False, True, 2)


async def test_anthropics_tool_runner_goes_through_a_tool_by_a_thread() -> None:
    @beta_async_tool
    async def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        return f"Sunny in {city}"

    def answers(body: Any, number: int) -> Text:
        last = body["messages"][-1]
        return Text(f"It says: {last['content']}") if last["role"] == "tool" else Text("", tool_calls=(CALL,))

    async with served() as server:
        server.upstream.behave("writer", answers)
        runner = server.anthropic.beta.messages.tool_runner(
            **ASK, max_tokens=99, system="Be brief", tools=[weather], messages=[{"role": "user", "content": "Weather?"}]
        )
        final = await runner.until_done()

        assert final.content[0].text == "It says: Sunny in Rome"
        assert [turn["role"] for turn in _sent(server)] == ["system", "user", "assistant", "tool"]
        assert [tool["function"]["name"] for tool in server.upstream.requests[-1].body["tools"]] == ["weather"]


async def test_a_thread_that_is_not_kept_any_more_is_told_by_the_code_on_which_the_client_sends_all_again() -> None:
    async with served() as server:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await server.anthropic.beta.messages.create(
                **ASK,
                max_tokens=9,
                messages=[{"role": "user", "content": "Go on"}],
                thread={"type": "continue", "previous_message_id": "msg_gone"},
            )

    body: Any = caught.value.body
    assert (caught.value.status_code, body["error"]["details"]["error_code"]) == (404, "thread_not_found")


async def test_an_owners_oldest_values_make_room_and_nobody_elses() -> None:
    store = MemoryStore()
    alice, bob = Conversations(store, "alice"), Conversations(store, "bob")
    await bob.put({"k": "bob's"})
    await alice.put({str(number): "x" * LARGE_BYTES for number in (0,)})
    await alice.put({f"large{number}": "x" * SMALL_BYTES for number in range(MOST_LARGE + 1)})
    await alice.put({"small": 1})

    found = [await alice.get(key) is not None for key in ("0", "large0", "large1", f"large{MOST_LARGE}", "small")]
    assert found == [False, False, True, True, True]
    assert (await bob.get("k"), await alice.get("k")) == ("bob's", None)


async def test_a_request_looks_up_a_bounded_number_of_items_and_bytes() -> None:
    """A body of a megabyte held 30,000 references to one item of four megabytes."""
    store = MemoryStore()
    await Conversations(store, "alice").put({"large": "x" * (LARGE_BYTES - 2), "small": 1})
    for identity, most in (("large", MOST_LOOKED_UP_BYTES // LARGE_BYTES), ("small", MOST_LOOK_UPS)):
        conversations = Conversations(store, "alice")
        for _ in range(most):
            assert await conversations.get(identity) is not None
        with pytest.raises(RequestError) as caught:
            await conversations.get(identity)
        assert caught.value.status == 413


async def test_references_to_much_that_is_stored_are_refused() -> None:
    async with served() as server:
        first: Any = await server.openai.responses.create(**ASK, input="x" * 3_000_000)
        reference: Any = {"type": "item_reference", "id": first.id}
        with pytest.raises(openai.APIStatusError) as caught:
            await server.openai.responses.create(**ASK, input=[reference] * 3)

    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_keys_of_two_files_that_have_one_name_share_no_conversations() -> None:
    found = []
    for key in ("moa-1", "moa-2"):
        caller = ApiKeys([KeySettings(name="team", sha256=hash_key(key))]).caller(key)
        assert caller is not None
        found.append(caller.account)

    assert found[0] != found[1]


async def test_a_store_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
            raise StateUnavailable("no such host")

    await Conversations(Broken(), "alice").put({"k": 1})

    assert "no such host" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stored_response_is_shown_with_what_it_answered_and_deleted(stream: bool) -> None:
    """As the SDK's `retrieve`, `input_items.list` and `delete` call it; a gateway without them answered 404."""
    async with served() as server:
        responses = server.openai.responses
        await responses.create(**ASK, input="no other")
        if stream:
            async with responses.stream(**ASK, input="One", instructions="Be brief") as events:
                made: Any = await events.get_final_response()
        else:
            made = await responses.create(**ASK, input="One", instructions="Be brief")
        next_ = await responses.create(**ASK, input=HELLO, previous_response_id=made.id)

        found = await responses.retrieve(made.id)
        given = [item async for item in responses.input_items.list(next_.id, order="asc")]
        newest_first = [item.id async for item in responses.input_items.list(next_.id)]
        await responses.delete(made.id)
        for call in (responses.retrieve, responses.delete, responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await call(made.id)

    assert (found.id, found.created_at, found.usage) == (made.id, made.created_at, made.usage)
    assert (found.status, found.instructions, found.output_text) == ("completed", "Be brief", "This is writer")
    assert [(item.role, item.content[0].text) for item in given] == [  # type: ignore[union-attr]
        ("user", "One"),
        ("assistant", "This is writer"),
        ("user", "Say hello"),
    ]
    assert newest_first == [item.id for item in reversed(given)]


async def test_what_is_no_stored_response_is_not_shown() -> None:
    async with served() as server:
        made = await server.openai.responses.create(**ASK, input="One", store=False)
        kept = await server.openai.responses.create(**ASK, input="One")
        for identity in (made.id, kept.output[0].id, "resp_none"):
            with pytest.raises(openai.NotFoundError):
                await server.openai.responses.retrieve(identity)
        with pytest.raises(openai.BadRequestError, match="stream"):
            await server.openai.responses.retrieve(kept.id, stream=True)


async def test_a_response_in_the_background_is_whole_at_once_and_so_for_those_that_poll_it() -> None:
    async with served() as server:
        made = await server.openai.responses.create(**ASK, input="One", background=True)
        polled = await server.openai.responses.retrieve(made.id)

    assert (made.background, made.status, polled.status) == (True, "completed", "completed")
