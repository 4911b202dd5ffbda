"""What requests of OpenAI's two APIs have in common."""

from typing import Annotated, Any, Literal

from pydantic import Field

from moa._server.api.request import MoaFields, passthrough_fields
from moa._server.api.request_model import RequestModel

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, lt=2**31)]
TopLogprobs = Annotated[int, Field(ge=0, le=20)]
Verbosity = Literal["low", "medium", "high"]

IGNORED_HERE = "this server keeps nothing"


class StreamOptions(RequestModel):
    """How a stream is written."""

    include_obfuscation: Literal[False] | None = None


class OpenAIRequest(RequestModel):
    """The fields that both APIs have under the same name."""

    model: str
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_logprobs: TopLogprobs | None = None
    parallel_tool_calls: bool | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    stream: bool | None = None
    moa: MoaFields = MoaFields()

    def extra(self, **others: object) -> dict[str, Any]:
        """The fields that only the aggregator's service understands, these and others."""
        return passthrough_fields(
            **others,
            parallel_tool_calls=self.parallel_tool_calls,
            service_tier=self.service_tier,
            prompt_cache_key=self.prompt_cache_key,
            prompt_cache_retention=self.prompt_cache_retention,
            safety_identifier=self.safety_identifier,
            user=self.user,
        )
