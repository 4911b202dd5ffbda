"""The model that judges where none is given: a living one, of a maker that is on neither side, where the user is."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from moa._config.settings import Settings
from moa._runtime.default_engine import in_background
from moa._runtime.health import check_endpoints
from moa.errors import UsageError
from moa.evaluation._judges.self_preference import family
from moa.providers._endpoint import Endpoint

JUDGE_MODELS: Mapping[str, tuple[str, ...]] = {
    "aws": (
        "us.moonshotai.kimi-k3",
        "us.zai.glm-5.3",
        "us.anthropic.claude-sonnet-5-5",
        "mistral.mistral-large-3-675b-instruct",
    ),
    "openai": ("gpt-6.1-terra",),
    "together": (
        "moonshotai/Kimi-K3",
        "zai-org/GLM-5.3",
        "deepseek-ai/DeepSeek-V4-Pro-0813",
        "Qwen/Qwen3.7-Max",
        "openai/gpt-oss-120b",
    ),
    "groq": ("openai/gpt-oss-120b", "qwen/qwen3.8-27b"),
    "openrouter": ("moonshotai/kimi-k3", "deepseek/deepseek-v4-pro-0813", "qwen/qwen3.7-max", "openai/gpt-6.1-terra"),
    "mistral": ("mistral-medium-3-5", "zai-glm-5-3"),
    "deepseek": ("deepseek-v4-pro",),
    "fireworks": (
        "accounts/fireworks/models/kimi-k3",
        "accounts/fireworks/models/glm-5p3",
        "accounts/fireworks/models/deepseek-v4-pro",
    ),
}
"""Capable models of November 2026 by their service's name in the price table, the first choice first."""

_GEOGRAPHY = re.compile(r"(us|us-gov|eu|apac|jp|au|ca|sa|me|af)\.")


def default_judge_model(sides: Mapping[str, Sequence[str]], settings: Settings) -> str:
    """Return the reference of a model that may judge: of no maker that is party, at an endpoint that is used anyway.

    Args:
        sides: For each system by name, references of all its models, or its generator's name.
        settings: The endpoints; those of the sides come first, then others that have their credentials.

    Raises:
        UsageError: None is known; the user has to name one.
    """
    models = [model for side in sides.values() for model in side]
    makers = {family(model) for model in models}
    used = dict.fromkeys(model.partition("/")[0] for model in models)
    asked = [settings.endpoints[name] for name in used if name in settings.endpoints]
    if (found := _first(asked, models, makers)) is not None:
        return found
    hosted = {name: one for name, one in settings.endpoints.items() if _service(one) in JUDGE_MODELS}
    healths = in_background(check_endpoints(replace(settings, endpoints=hosted), connect=None))
    ready = [hosted[health.name] for health in healths if health.state == "ready"]
    if (found := _first(ready, models, makers)) is not None:
        return found
    raise UsageError(
        "no model is known that could judge: of a maker that is on neither side, at an endpoint that has its "
        "credentials. Name one by --judge-model ENDPOINT/MODEL"
    )


def _first(endpoints: Sequence[Endpoint], models: Sequence[str], makers: Collection[str | None]) -> str | None:
    for endpoint in endpoints:
        for model in JUDGE_MODELS.get(_service(endpoint) or "", ()):
            if family(model) not in makers:
                return f"{endpoint.name}/{_in_region(model, endpoint, models)}"
    return None


def _service(endpoint: Endpoint) -> str | None:
    return endpoint.price_provider if endpoint.kind in ("openai", "bedrock") else None


def _in_region(model: str, endpoint: Endpoint, models: Sequence[str]) -> str:
    """Return a model by the inference profile that can be asked from where the endpoint is."""
    here = [reference.partition("/")[2] for reference in models if reference.startswith(f"{endpoint.name}/")]
    profiles = {match[1] for one in here if (match := _GEOGRAPHY.match(one))}
    is_american = "us" in profiles or (not profiles and (endpoint.region or "us-").startswith("us-"))
    return model if is_american or endpoint.kind != "bedrock" else re.sub(r"^us\.", "global.", model)
