"""Where models are called: one endpoint with its address, credentials and limits, as a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, StrictInt

from moa._pricing.price import Price
from moa._validation.strict_model import Amount, Seconds, Text

Positive = Annotated[StrictInt, Field(ge=1)]


def _bucket(address: str) -> str:
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[^?#]*)?", address):
        raise ValueError("expected s3://BUCKET/PREFIX")
    return address.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """When and how often a failed call is retried.

    Source: exponential backoff with full jitter as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015);
    the budget as in "Site Reliability Engineering", chapter 21 (retries as a share of the fresh calls). Throttled calls
    don't draw on it: the limits pace them.

    Attributes:
        max_attempts: Attempts of one call, the first one counted.
        base_s: Longest pause after the first attempt, in seconds; it doubles with every further one.
        cap_s: Longest pause of all, in seconds. A pause that the service asks for is not capped.
        per_call: Retries of one model within a minute, as a share of its first attempts.
        burst: Retries within a minute that there are in any case.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    max_attempts: Annotated[StrictInt, Field(ge=1, le=20)] = 4
    base_s: Seconds = 0.5
    cap_s: Seconds = 20.0
    per_call: Amount = 0.2
    burst: Amount = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When calls to a failing model are suspended.

    Attributes:
        failures: Faults in a row that open the breaker.
        cooldown_s: Seconds until one call is let through to probe; if it succeeds the breaker closes.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    failures: Positive = 5
    cooldown_s: Seconds = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How much may be asked at once and per minute; None for no limit.

    Attributes:
        max_concurrency: Calls at once.
        requests_per_minute: Calls begun within any minute.
        tokens_per_minute: Tokens, input and output, within any minute.
        adaptive: Find the concurrency by itself, up to `max_concurrency`: a little more while all goes well, half of it
            when the service throttles.
    """

    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    adaptive: bool = False

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is limited."""
        return self == LimitSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How the batch API of an endpoint is used.

    Attributes:
        min_requests: Fewest requests of a job: fewer are asked at once; for `bedrock` at least 100.
        max_requests: Most requests of a job.
        max_mb: Largest input of a job, in megabytes.
        hours: Hours that the service may take for a job.
        poll_s: Seconds between two questions whether a job has ended.
        quiet_s: Seconds without a further request after which a job is sent.
        upload: `form`, or `redirect` for a service (Together) that answers with the address of the upload.
        url: For `openai`: the path that requests name, where it isn't `/v1/chat/completions` (Azure: without `/v1`).
        s3: For `bedrock`: `s3://BUCKET/PREFIX` of inputs and outputs.
        role_arn: For `bedrock`: the role by which Bedrock reads and writes there.
        kms_key: For `bedrock`: the key that encrypts outputs; None: the bucket's own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    min_requests: Positive = 1
    max_requests: Positive = 50_000
    max_mb: Positive = 100
    hours: Annotated[StrictInt, Field(ge=1, le=168)] = 24
    poll_s: Seconds = 30.0
    quiet_s: Seconds = 5.0
    upload: Literal["form", "redirect"] = "form"
    url: Annotated[str, Field(strict=True, pattern="^/")] | None = None
    s3: Annotated[str, AfterValidator(_bucket)] | None = None
    role_arn: Text | None = None
    kms_key: Text | None = None


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
        limits: For all of its models together.
        model_limits: Further limits for single models, by model id.
        retry: When to try again; None never does.
        breaker: When a model is skipped; None never is.
        headers: Sent with every request; may hold secrets, so never shown.
        query: Added to every request's address.
        proxy: Address of an HTTP proxy.
        ca_bundle: PEM file with further certificate authorities.
        prices: The user's own prices, by model id.
        price_factor: The user's own factors on a model's prices, by the service tier that a call was served in.
        price_provider: The service's id in genai-prices; None: only the user's own prices count.
        tier: The service tier to ask for, `flex`, `standard` or `priority`; None: none is named.
        batch: How its batch API is used, by those who ask for that; None: it has none.
        options: What else the adapter of this kind takes.
    """

    name: str
    kind: str
    base_url: str | None = field(default=None, repr=False)
    api_key: SecretStr | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = field(default=None, repr=False)
    limits: LimitSettings = LimitSettings()
    model_limits: Mapping[str, LimitSettings] = field(default_factory=dict)
    retry: RetrySettings | None = RetrySettings()
    breaker: BreakerSettings | None = BreakerSettings()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    price_factor: Mapping[str, Decimal] = field(default_factory=dict)
    price_provider: str | None = None
    tier: str | None = None
    batch: BatchSettings | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def limits_of(self, model: str) -> LimitSettings:
        """Return the further limits of one model; the embedded one writes as many replies at once as it has slots."""
        limits = self.model_limits.get(model, LimitSettings())
        if self.kind == "local" and limits.max_concurrency is None:
            slots = self.options.get("slots", self.limits.max_concurrency or 1)
            return replace(limits, max_concurrency=slots) if isinstance(slots, int) and slots > 0 else limits
        return limits
