"""AWS's own SDK as the judge: the same call by boto3 and by us, at the same stand-in."""

import asyncio
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, TextPart, ToolCall
from moa.providers._base import collect
from tests.support.bedrock_calls import CONVERSE_INPUT, ask, serving, signing_session
from tests.support.bedrock_server import REGION, Says

ARN = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-3-haiku-20240307-v1:0"
MODELS = ["anthropic.claude-3-haiku-20240307-v1:0", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", ARN]
PNG = b"\x89PNG\r\n"


@contextmanager
def client_at(url: str) -> Iterator[Any]:
    session = boto3.Session(botocore_session=signing_session())
    client = session.client(
        "bedrock-runtime", region_name=REGION, endpoint_url=url, config=Config(retries={"total_max_attempts": 1})
    )
    try:
        yield client
    finally:
        client.close()


REQUEST = {
    "messages": (
        Message(role="system", content="Be brief."),
        Message(
            role="user",
            content=(TextPart(text="Grüße & what is this? \"'<>"), ImagePart(data=PNG, media_type="image/png")),
        ),
        Message(role="assistant", tool_calls=(ToolCall(id="t1", name="look", arguments='{"at": 1}'),)),
        Message(role="tool", content="a cat", tool_call_id="t1"),
    ),
    "sampling": Sampling(temperature=0.5, top_p=1.0, top_k=250, max_tokens=512, stop=("END",)),
    "options": ReplyOptions(tools=({"type": "function", "function": {"name": "look"}},), tool_choice="auto"),
}
THE_SAME = {
    "additionalModelResponseFieldPaths": ["/stop_sequence", "/delta/stop_sequence"],
    "system": [{"text": "Be brief."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "Grüße & what is this? \"'<>"},
                {"image": {"format": "png", "source": {"bytes": PNG}}},
            ],
        },
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": 1}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "a cat"}]}}]},
    ],
    "inferenceConfig": {"temperature": 0.5, "topP": 1.0, "maxTokens": 512, "stopSequences": ["END"]},
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {}}}}}],
        "toolChoice": {"auto": {}},
    },
    "additionalModelRequestFields": {"top_k": 250},
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("deltas", [False, True], ids=["converse", "converse_stream"])
async def test_request_is_the_one_that_boto3_sends(model: str, deltas: bool) -> None:
    async with serving(Says("A ", "cat.")) as (server, provider):
        ours = await collect(provider, ask(model=model, deltas=deltas, **REQUEST))
        with client_at(server.url) as client:
            call = functools.partial(_stream if deltas else _converse, client, modelId=model, **THE_SAME)
            theirs = await asyncio.to_thread(call)

    mine, reference = server.seen
    assert (mine.raw_path, mine.body) == (reference.raw_path, reference.body)
    assert (mine.signed, reference.signed) == (True, True)
    assert (ours.text, ours.finish.usage.total_tokens if ours.finish.usage else None) == theirs


def _converse(client: Any, **request: Any) -> tuple[str, int]:
    reply = client.converse(**request)
    return reply["output"]["message"]["content"][0]["text"], reply["usage"]["totalTokens"]


def _stream(client: Any, **request: Any) -> tuple[str, int]:
    text, tokens = "", 0
    for event in client.converse_stream(**request)["stream"]:
        text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        tokens += event.get("metadata", {}).get("usage", {}).get("totalTokens", 0)
    return text, tokens


@pytest.mark.skipif(
    "outputConfig" not in CONVERSE_INPUT.members, reason="this botocore's service model has no structured output"
)
async def test_json_schema_is_sent_as_boto3_sends_it() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    structure = {"jsonSchema": {"schema": '{"type":"object"}', "name": "n"}}
    async with serving(Says("{}")) as (server, provider):
        await collect(provider, ask("Hi", deltas=False, options=ReplyOptions(response_format=schema)))
        with client_at(server.url) as client:
            request = {
                "modelId": server.seen[0].model,
                "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
                "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}},
            }
            await asyncio.to_thread(functools.partial(_converse, client, **request))

    assert server.seen[0].body == server.seen[1].body
