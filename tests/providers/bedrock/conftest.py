import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from botocore.credentials import CredentialResolver
from botocore.session import Session

from moa.messages import Message
from moa.providers.base import ModelRequest
from moa.providers.bedrock import open_bedrock
from moa.providers.bedrock.provider import BedrockProvider
from moa.providers.endpoint import Endpoint
from tests.support.bedrock_server import CREDENTIALS, REGION, BedrockServer, Reply

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
REFERENCE = f"bedrock/{MODEL}"


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


@pytest.fixture(autouse=True)
def _no_aws_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    # botocore reads these itself; a session can't be told to leave them alone.
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
