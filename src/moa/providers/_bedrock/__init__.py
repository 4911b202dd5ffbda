"""Amazon Bedrock: Converse and ConverseStream over our own transport, with botocore for what is AWS's own."""

from moa.errors import ConfigError
from moa.providers._bedrock.aws import Aws, SessionFactory
from moa.providers._bedrock.provider import BedrockProvider
from moa.providers._endpoint import Endpoint
from moa.providers._http import HttpTransport, Transport

__all__ = ["open_bedrock"]


def open_bedrock(
    endpoint: Endpoint, transport: Transport | None = None, *, make_session: SessionFactory | None = None
) -> BedrockProvider:
    """Return a provider for one endpoint; region and credentials are looked for at its first call.

    Args:
        endpoint: `region`, `profile` and `endpoint_url` that are None are left to the AWS chain. An `api_key` is
            sent as a Bedrock API key, over TLS only.
        transport: Sends requests; None for connections of its own.
        make_session: Makes the botocore session that credentials come from; None for one of the endpoint's profile.

    Raises:
        MissingDependency: botocore isn't installed.
        ConfigError: The endpoint's certificates can't be read, or it has options.
    """
    if endpoint.options:
        raise ConfigError("an endpoint of kind bedrock takes no options", key=f"endpoints.{endpoint.name}.options")
    aws = Aws(endpoint, make_session)
    if transport is not None:
        return BedrockProvider(aws, transport, aclose=_nothing_to_close)
    http = HttpTransport(limit=endpoint.limits.max_concurrency, proxy=endpoint.proxy, ca_bundle=endpoint.ca_bundle)
    return BedrockProvider(aws, http, aclose=http.aclose)


async def _nothing_to_close() -> None:
    """The transport is its owner's to close."""
