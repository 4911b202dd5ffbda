"""Requests, sessions and providers for tests of Bedrock: nothing of this machine's AWS configuration gets in."""

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from botocore.credentials import CredentialResolver
from botocore.session import Session

from moa._messages import Message
from moa.providers._base import ModelRequest
from moa.providers._bedrock import open_bedrock
from moa.providers._bedrock.provider import BedrockProvider
from moa.providers._endpoint import Endpoint
from tests.support.bedrock_server import CREDENTIALS, REGION, BedrockServer, Reply

CONVERSE_INPUT: Any = Session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape
"""What botocore's service model says of Converse's request."""

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


def ask(prompt: str = "Hi", *, model: str = MODEL, **fields: Any) -> ModelRequest:
    fields.setdefault("messages", (Message(role="user", content=prompt),))
    return ModelRequest(reference=f"bedrock/{model}", model=model, **fields)


def sealed_session(*credential_providers: Any) -> Session:
    """A session that looks for credentials nowhere but there: neither in files nor on the network."""
    session = Session()
    session.register_component("credential_provider", CredentialResolver(list(credential_providers)))
    return session


@functools.cache
def signing_session() -> Session:
    """A session with the stand-in's credentials; one for all tests, as it takes a while to make."""
    session = sealed_session()
    session.set_credentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token)
    return session


@asynccontextmanager
async def provider_at(url: str, **fields: Any) -> AsyncIterator[BedrockProvider]:
    fields.setdefault("region", REGION)
    endpoint = Endpoint(name="bedrock", kind="bedrock", endpoint_url=url, **fields)
    provider = open_bedrock(endpoint, make_session=signing_session)
    try:
        yield provider
    finally:
        await provider.aclose()


@asynccontextmanager
async def serving(
    *replies: Reply, by_model: Callable[[str], Reply] | None = None, **fields: Any
) -> AsyncIterator[tuple[BedrockServer, BedrockProvider]]:
    """A stand-in and a provider for it."""
    async with BedrockServer(*replies, by_model=by_model) as server, provider_at(server.url, **fields) as provider:
        yield server, provider
