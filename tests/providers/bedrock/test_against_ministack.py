"""Against MiniStack, an emulator of AWS by others: its Bedrock runtime answers what it is asked in AWS's own shapes."""

from typing import Any

import pytest

from moa._messages import Message, ReplyOptions, Sampling, ToolCall
from moa.providers._base import collect
from moa.providers._endpoint import Endpoint
from moa.providers._model_lists import list_models
from tests.support.bedrock_calls import ask, provider_at

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("deltas", [True, False])
@pytest.mark.parametrize("model", ["anthropic.claude-3-haiku-20240307-v1:0", "amazon.nova-lite-v1:0"])
async def test_replies_are_whole_with_their_usage(ministack_url: str, model: str, deltas: bool) -> None:
    request = ask("Why is the sky blue?", model=model, deltas=deltas, sampling=Sampling(max_tokens=50, top_p=0.5))
    async with provider_at(ministack_url) as provider:
        reply = await collect(provider, request)

    assert "ministack mock" in reply.text
    assert reply.finish.reason == "stop"
    assert reply.finish.usage is not None
    assert reply.finish.usage.output_tokens > 0


async def test_its_list_of_models_is_read(ministack_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    models = await list_models(Endpoint(name="bedrock", kind="bedrock", endpoint_url=ministack_url, region="us-east-1"))

    assert any(model.id.startswith("anthropic.") for model in models)
    assert {model.status for model in models} <= {"active", "legacy", "retired"}


@pytest.mark.parametrize("deltas", [True, False])
async def test_a_round_trip_of_tools_is_taken(ministack_url: str, deltas: bool) -> None:
    calls = tuple(ToolCall(id=f"call:{number}", name="f", arguments="{}") for number in range(2))
    turns: tuple[Any, ...] = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Go."),
        *(Message(role="assistant", tool_calls=(call,)) for call in calls),
        *(Message(role="tool", tool_call_id=call.id) for call in calls),
    )
    async with provider_at(ministack_url) as provider:
        reply = await collect(provider, ask(messages=turns, deltas=deltas, options=ReplyOptions(tools=(TOOL,))))

    assert reply.text
