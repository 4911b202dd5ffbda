"""The built-in endpoints, which need no settings file."""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from moa._config.schema import EndpointSettings
from moa._pricing.lookup import ANY_MODEL, FREE
from moa.providers._endpoint import BatchSettings


def _service(name: str, base_url: str) -> EndpointSettings:
    """A hosted service with its key in NAME_API_KEY and its prices in genai-prices under the same name."""
    return EndpointSettings(
        kind="openai",
        base_url=base_url,
        api_key_env=f"{name.upper()}_API_KEY",
        price_provider=name,
        price_factor=_FACTORS.get(name, {}),
        batch=_BATCH.get(name),
    )


def _own_server(port: int) -> EndpointSettings:
    """A server on this machine, without a key; its tokens cost nothing."""
    return EndpointSettings(kind="openai", base_url=f"http://127.0.0.1:{port}/v1", prices={ANY_MODEL: FREE})


_SERVICES = {
    "openai": "https://api.openai.com/v1",
    "together": "https://api.together.xyz/v1",
    "groq": "https://api.groq.com/openai/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "mistral": "https://api.mistral.ai/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
}

_HALF = Decimal("0.5")
BEDROCK_FACTORS: Mapping[str, Decimal] = MappingProxyType({"batch": _HALF, "flex": _HALF, "priority": Decimal("1.75")})
"""Factors on the usual price of Bedrock's models, also of endpoints of the user's own of this kind."""

_FACTORS: Mapping[str, dict[str, Decimal]] = {
    "openai": {"batch": _HALF, "flex": _HALF},
    "groq": {"batch": _HALF, "flex": Decimal(1)},
}
"""Factors on the usual price, where they are the same for all models. Together's differs by model.

Sources: the price lists of OpenAI (batch and flex), Groq (batch; flex costs what the usual tier does) and Amazon
Bedrock (batch and flex half, priority 75 % more).
"""

_BATCH = {"openai": BatchSettings(), "groq": BatchSettings(), "together": BatchSettings(upload="redirect")}
"""The services with a batch API in OpenAI's format."""

BUILT_IN: Mapping[str, EndpointSettings] = MappingProxyType(
    {
        **{name: _service(name, base_url) for name, base_url in _SERVICES.items()},
        "ollama": _own_server(11434),
        "vllm": _own_server(8000),
        "llamacpp": _own_server(8080),
        "bedrock": EndpointSettings(kind="bedrock", price_provider="aws", price_factor=dict(BEDROCK_FACTORS)),
        # One reply at a time: batched computation changes the last bits of a result, and so the words of a reply.
        "local": EndpointSettings(kind="local", prices={ANY_MODEL: FREE}, max_concurrency=1),
    }
)
"""The built-in endpoints by name. The settings file may change any of them."""


def carries_a_key(name: str) -> bool:
    """Return whether a built-in endpoint of this name sends the user's credentials."""
    settings = BUILT_IN.get(name)
    return settings is not None and (settings.api_key_env is not None or settings.kind == "bedrock")
