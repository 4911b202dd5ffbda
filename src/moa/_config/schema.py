"""The settings file (`moa.yaml`) as checked values."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool

from moa._mixture.model_reference import ENDPOINT_NAME
from moa._policies.cache.settings import DEFAULT_SIZE_MB, CacheMode
from moa._policies.shared_budget import BudgetSettings, OnFailure, Period
from moa._pricing.price import Price, UsDollars
from moa._validation.strict_model import StrictModel, Text
from moa.providers._endpoint import BatchSettings, BreakerSettings, LimitSettings, Positive, RetrySettings


def _http_parts(text: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number, an unclosed bracket
        usable = False
    if not usable:
        raise ValueError(f"expected {expected}")
    return parts


def _web_address(text: str) -> str:
    parts = _http_parts(text, "an address that starts with http:// or https://")
    if parts.username is not None:
        raise ValueError("an address must not contain a name or password: use api_key_env or headers")
    if parts.query or parts.fragment:
        raise ValueError("expected an address without ? and #: use query for what follows ?")
    return text.rstrip("/")


def _proxy_address(text: str) -> str:
    _http_parts(text, "the address of an HTTP proxy, http://host:port")
    return text


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("expected the name of an environment variable, e.g. LAB_KEY, and not the key itself")
    return name


def _endpoint_name(name: str) -> str:
    if not re.fullmatch(ENDPOINT_NAME, name):
        raise ValueError("expected a name of letters, digits, - _ and . that starts with a letter or digit")
    return name


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line of printable text")
    return text


OFF = BeforeValidator(lambda value: None if value is False else value)
"""Accepts `false`, which disables a policy."""

OFF_WORD = BeforeValidator(lambda value: "off" if value is False else value)
"""Reads an unquoted `off`, which is `false` in YAML, as the string."""

OneLine = Annotated[str, AfterValidator(_one_line)]
Name = Annotated[str, AfterValidator(_endpoint_name)]
Variable = Annotated[str, AfterValidator(_variable)]
Address = Annotated[str, AfterValidator(_web_address)]


class LimitsSection(StrictModel):
    """Limits on concurrent calls and on calls and tokens per minute.

    Attributes:
        max_concurrency: Maximum number of concurrent calls.
        requests_per_minute: Maximum number of calls started within any minute.
        tokens_per_minute: Maximum number of input and output tokens within any minute.
        adaptive: Adapt the concurrency to the service, up to max_concurrency.
    """

    max_concurrency: Positive | None = None
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    adaptive: StrictBool = False

    @property
    def limits(self) -> LimitSettings:
        """Return the limits for the policies."""
        return LimitSettings(
            max_concurrency=self.max_concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            adaptive=self.adaptive,
        )


def _batch_alone(value: Any) -> Any:
    return {} if value is True else value


class EndpointSettings(LimitsSection):
    """An endpoint. For a built-in endpoint, only the given keys change.

    Attributes:
        kind: `openai`, `bedrock`, `local`, or a kind that another package provides.
        base_url: For `openai`: the address before `/chat/completions`.
        api_key_env: For `openai`: the environment variable with the API key.
        region: For `bedrock`; default: from the AWS configuration.
        profile: For `bedrock`; default: from the AWS configuration.
        endpoint_url: For `bedrock`: an address other than AWS's.
        models: Additional limits for single models, by model id.
        headers: Sent with every request.
        query: Added to every request's address.
        proxy: Address of an HTTP proxy; default: the usual environment variables.
        ca_bundle: PEM file with additional certificate authorities, relative to this file.
        prices: US dollars per million tokens, by model id; `*` is every other model.
        price_factor: Factors on the prices, by the service tier that a call was served in, e.g. `{flex: 0.5}`.
        price_provider: The service's id in genai-prices; for kind `bedrock` it is `aws` unless given.
        tier: Service tier to ask for, of agents that name none: `flex` (cheaper and slower), `standard` or `priority`.
        batch: How its batch API is used with `--half-price`; `true`: it has one, `false`: it has none.
        options: Further options of this kind of endpoint.
        retry: When a failed call is retried; `false`: never.
        breaker: When calls to a failing model are suspended; `false`: never.
    """

    kind: Text | None = None
    base_url: Address | None = None
    api_key_env: Variable | None = None
    region: Text | None = None
    profile: Text | None = None
    endpoint_url: Address | None = None
    models: dict[str, LimitsSection] = Field(default_factory=dict)
    headers: dict[OneLine, OneLine] = Field(default_factory=dict, repr=False)
    query: dict[str, str] = Field(default_factory=dict, repr=False)
    proxy: Annotated[str, AfterValidator(_proxy_address)] | None = Field(default=None, repr=False)
    ca_bundle: Text | None = None
    prices: dict[str, Price] = Field(default_factory=dict)
    price_factor: dict[str, UsDollars] = Field(default_factory=dict)
    price_provider: Text | None = None
    tier: Literal["flex", "standard", "priority"] | None = None
    batch: Annotated[BatchSettings | None, BeforeValidator(_batch_alone), OFF] = None
    options: dict[str, Any] = Field(default_factory=dict)
    retry: Annotated[RetrySettings | None, OFF] = RetrySettings()
    breaker: Annotated[BreakerSettings | None, OFF] = BreakerSettings()


class CacheSection(StrictModel):
    """Where replies are stored, and how they are used.

    Attributes:
        mode: How the cache is used.
        path: Its file, relative to this one; default: `calls.sqlite` in the user's cache directory.
        max_size_mb: Maximum size, in megabytes.
    """

    mode: Annotated[CacheMode, OFF_WORD] = "off"
    path: Text | None = None
    max_size_mb: Positive = DEFAULT_SIZE_MB


class BudgetSection(StrictModel):
    """An amount that may be spent, and its period; a number alone is never refilled.

    Attributes:
        usd: US dollars.
        per: When it is refilled: at the start of each `day` or `month` in UTC, or never (`forever`).
    """

    usd: Annotated[UsDollars, Field(gt=0)]
    per: Period = "forever"

    @property
    def settings(self) -> BudgetSettings:
        """The same as the policy takes it."""
        return BudgetSettings(usd=self.usd, per=self.per)


def _amount_alone(value: Any) -> Any:
    return value if isinstance(value, Mapping | BudgetSection) else {"usd": value}


BudgetAmount = Annotated[BudgetSection, BeforeValidator(_amount_alone)]
"""A budget in a file: `5`, or `{usd: 5, per: day}`."""


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class DefaultsSection(StrictModel):
    """Default values of command-line options.

    Attributes:
        mixture: For `-m`: a preset, the path of a mixture file, relative to this one, or a model reference.
        judge: For `--judge` of `moa eval run`.
        judge_model: For `--judge-model`: a model reference, or a list of them for a panel.
    """

    mixture: Text | None = None
    judge: Text | None = None
    judge_model: Annotated[tuple[Text, ...], BeforeValidator(_several)] = ()


class SettingsFile(StrictModel):
    """The whole file.

    Attributes:
        defaults: Default values of command-line options.
        endpoints: By name, as model references use them.
        cache: Where replies are stored.
        state: Where limits and budgets are shared with other processes: `redis://…`, `rediss://…`, `unix://…`, or the
            path of a SQLite file, relative to this one. Without it each process has its own.
        on_state_failure: While `state` is unavailable, `refuse` allows no new spending, and `local` lets each process
            continue with its last share of the limits and the rest of the budgets.
        budget_usd: US dollars for everything that runs with this file; shared where `state` is.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    defaults: DefaultsSection = Field(default_factory=DefaultsSection)
    endpoints: dict[Name, EndpointSettings] = Field(default_factory=dict)
    cache: CacheSection = Field(default_factory=CacheSection)
    state: Annotated[Text | None, Field(repr=False)] = None
    on_state_failure: OnFailure = "refuse"
    budget_usd: BudgetAmount | None = None
