"""What services are known to refuse before anybody has asked: where a learnt profile begins."""

from urllib.parse import urlsplit

from moa.errors import Rejection
from moa.providers._bedrock.families import family_of
from moa.providers._endpoint import Endpoint

_BY_HOST = {
    # Every chat model of OpenAI's takes the newer name, the reasoning ones nothing else.
    "api.openai.com": ("max_tokens",),
    # Ids of tool calls are nine letters and digits; and no user turn follows a tool's result.
    "api.mistral.ai": ("tool_call_id", "user_after_tool"),
}
"""By an endpoint's host. Sources: OpenAI's API reference (`max_tokens` is deprecated); mistral-common's validators."""


def known_refusals(endpoint: Endpoint, model: str) -> frozenset[Rejection]:
    """Return what a model's service is known to refuse."""
    parts: set[str] = set()
    if endpoint.kind == "openai":
        parts.update(_BY_HOST.get(urlsplit(endpoint.base_url or "").hostname or "", ()))
        if endpoint.options.get("takes_seed") is False:
            parts.add("seed")
    elif endpoint.kind == "bedrock":
        # Converse has no field for a seed and none for log probabilities.
        parts |= {"seed", "logprobs"}
        family = family_of(model)
        parts |= {"system"} - ({"system"} if family.takes_system else set())
        parts |= {"top_k"} if family.top_k is None else set()
        parts |= {"reasoning_effort"} if family.effort is None else set()
    return frozenset(map(Rejection, parts))
