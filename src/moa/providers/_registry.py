"""Which adapter speaks to which kind of endpoint; other packages add theirs by an entry point `moa.providers`."""

from collections.abc import Callable
from importlib.metadata import entry_points

from moa.errors import ConfigError
from moa.providers._base import Provider
from moa.providers._batch_jobs.service import JobService
from moa.providers._endpoint import Endpoint

Factory = Callable[[Endpoint], Provider]


def _openai(endpoint: Endpoint) -> Provider:
    from moa.providers._openai_compatible import open_openai_compatible

    return open_openai_compatible(endpoint)


def _bedrock(endpoint: Endpoint) -> Provider:
    from moa.providers._bedrock import open_bedrock

    return open_bedrock(endpoint)


def _local(endpoint: Endpoint) -> Provider:
    from moa.providers._local import open_local

    return open_local(endpoint)


def _scripted(endpoint: Endpoint) -> Provider:
    from moa.providers._scripted import open_scripted

    return open_scripted(endpoint)


BUILT_IN: dict[str, Factory] = {"openai": _openai, "bedrock": _bedrock, "local": _local, "scripted": _scripted}
"""An adapter is imported when the first endpoint of its kind is opened: nobody pays for what they don't use."""


def open_provider(endpoint: Endpoint) -> Provider:
    """Return the provider that speaks to an endpoint.

    Raises:
        ConfigError: Nobody provides this kind, or the endpoint lacks what its adapter needs.
    """
    factory = BUILT_IN.get(endpoint.kind) or _from_entry_point(endpoint.kind)
    if factory is None:
        kinds = ", ".join((*BUILT_IN, *entry_points(group="moa.providers").names))
        raise ConfigError(
            f"kind {endpoint.kind!r} is none of {kinds}; a package can add one by an entry point `moa.providers`",
            key=f"endpoints.{endpoint.name}.kind",
        )
    return factory(endpoint)


def open_batch_service(endpoint: Endpoint) -> JobService | None:
    """Return the batch API of an endpoint; None if it has none.

    Raises:
        ConfigError: The endpoint lacks what its batch API needs.
    """
    if endpoint.batch is None:
        return None
    if endpoint.kind == "openai":
        from moa.providers._openai_compatible.batch_jobs import OpenAIBatchService

        return OpenAIBatchService(endpoint, endpoint.batch)
    if endpoint.kind == "bedrock":
        from moa.providers._bedrock.batch_jobs import BedrockBatchService

        return BedrockBatchService(endpoint, endpoint.batch)
    return None


def _from_entry_point(kind: str) -> Factory | None:
    for entry in entry_points(group="moa.providers", name=kind):
        factory: Factory = entry.load()
        return factory
    return None
