"""Service tiers of the OpenAI API: which are mapped, which refused, and what the reply says was served."""

import json
from typing import Any, get_args, get_type_hints

import openai
import pytest
from openai.types.chat import completion_create_params
from openai.types.chat.chat_completion import ChatCompletion
from openai.types.responses.service_tier import ServiceTier

from tests.support.batch_server import reply_to
from tests.support.behaviours import Raw
from tests.support.served import HELLO, ServedModel, served


def words(annotation: Any) -> set[str]:
    found = set[str]()
    for part in get_args(annotation):
        found |= {part} if isinstance(part, str) else words(part)
    return found


CHAT_TIERS = words(get_type_hints(completion_create_params.CompletionCreateParamsBase)["service_tier"])
SENT = {"auto": None, "default": None, "flex": "flex", "priority": "priority", "fast": "priority"}


def serve_in(server: ServedModel, **tiers: str | None) -> None:
    for model, tier in tiers.items():
        body = reply_to({"model": model}, "yes", 200) | ({"service_tier": tier} if tier else {})
        server.upstream.behave(model, *[Raw(json.dumps(body).encode(), "application/json")] * 9)


@pytest.mark.parametrize("tier", sorted(CHAT_TIERS))
async def test_each_tier_that_the_sdk_knows_reaches_all_calls_or_is_refused_by_name(tier: str) -> None:
    async with served() as server:
        serve_in(server, one=None, two=None, writer=None)
        asked = server.openai.chat.completions.create(model="moa/duo", messages=HELLO, service_tier=tier)
        if tier not in SENT:
            with pytest.raises(openai.BadRequestError, match="give auto, default, flex, priority, fast") as caught:
                await asked
            assert caught.value.param == "service_tier"
            assert server.upstream.requests == []
            return
        await asked

    assert [request.body.get("service_tier") for request in server.upstream.requests] == [SENT[tier]] * 3


@pytest.mark.parametrize("tier", sorted(words(ServiceTier)))
async def test_the_responses_api_takes_the_same_tiers(tier: str) -> None:
    async with served() as server:
        serve_in(server, writer=SENT.get(tier))
        asked = server.openai.responses.create(model="moa/solo", input="hi", service_tier=tier)
        if tier not in SENT:
            with pytest.raises(openai.BadRequestError, match="service_tier"):
                await asked
            return
        assert (await asked).service_tier == (SENT[tier] or "default")


@pytest.mark.parametrize(
    ("one", "two", "writer", "told"),
    [
        ("flex", "flex", "flex", "flex"),
        ("flex", None, "flex", "default"),
        ("priority", "priority", "default", "default"),
        ("on_demand", "on_demand", "on_demand", "default"),
        ("batch", "batch", "batch", "default"),
    ],
)
async def test_the_reply_says_the_tier_that_all_calls_were_served_in(
    one: str | None, two: str | None, writer: str | None, told: str
) -> None:
    async with served() as server:
        serve_in(server, one=one, two=two, writer=writer)
        reply = await server.openai.chat.completions.create(model="moa/duo", messages=HELLO, service_tier="flex")

    assert reply.service_tier == told
    assert told in words(ChatCompletion.model_fields["service_tier"].annotation)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_the_last_chunk_of_a_stream_says_the_tier(options: dict[str, Any]) -> None:
    async with served() as server:
        stream = await server.openai.chat.completions.create(
            model="moa/solo", messages=HELLO, service_tier="flex", stream=True, **options
        )
        tiers = [chunk.service_tier async for chunk in stream]

    assert (tiers[-1], set(tiers[:-1])) == ("default", {None})
    assert server.upstream.requests[0].body["service_tier"] == "flex"


async def test_a_message_says_that_it_was_served_with_priority() -> None:
    async with served() as server:
        serve_in(server, writer="priority")
        message = await server.anthropic.messages.create(model="moa/solo", max_tokens=50, messages=HELLO)

    assert message.usage.service_tier == "priority"
