"""Asks for the service tier that an agent, a command or an endpoint names."""

from dataclasses import replace
from types import MappingProxyType

from moa.providers._base import ModelRequest, Provider, ReplyStream, WrappedProvider

NAMES = MappingProxyType({"flex": "flex", "standard": "default", "priority": "priority"})
"""Our names of the tiers, and the services'. Sources: the API references of OpenAI and Amazon Bedrock."""


class ServiceTier(WrappedProvider):
    """Adds the tier to requests that name none. It stands inside of the cache: a reply is the same in every tier.

    Args:
        inner: The provider.
        tier: The endpoint's own tier, for requests whose agent has none.
    """

    def __init__(self, inner: Provider, tier: str | None) -> None:
        super().__init__(inner)
        self._tier = tier

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply."""
        tier, extra = request.context.tier or self._tier, request.sampling.extra
        if tier is None or not {"service_tier", "serviceTier"}.isdisjoint(extra):
            return self.inner.stream(request)
        sampling = replace(request.sampling, extra={**extra, "service_tier": NAMES[tier]})
        return self.inner.stream(replace(request, sampling=sampling))
