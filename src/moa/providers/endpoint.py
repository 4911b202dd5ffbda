"""Where models are called: one endpoint with its address, credentials and limits, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from moa.prices import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint, completely resolved: no environment variable and no file is read below this.

    Attributes:
        name: The part of a model reference before its first `/`.
        kind: Which adapter speaks to it: `openai`, `bedrock`, `local`, `scripted`, or an entry point's name.
        base_url: For `openai`: where `/chat/completions` is.
        api_key: For `openai`; None sends no Authorization header.
        region: For `bedrock`; None leaves it to the AWS chain.
        profile: For `bedrock`; None leaves it to the AWS chain.
        endpoint_url: For `bedrock`: another address than AWS's own.
        max_concurrency: Most calls at once; None for no limit.
        headers: Sent with every request; may hold secrets, so never shown.
        query: Added to every request's address.
        proxy: Address of an HTTP proxy.
        ca_bundle: PEM file with further certificate authorities.
        prices: The user's own prices, by model id.
        price_provider: The service's id in genai-prices; None: only the user's own prices count.
        options: What else the adapter of this kind takes.
    """

    name: str
    kind: str
    base_url: str | None = None
    api_key: SecretStr | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    max_concurrency: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    price_provider: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
