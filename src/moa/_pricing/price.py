"""The price of one model as a value, and its product with a usage."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from moa._usage import TokenUsage

_MILLION = Decimal(1_000_000)

HOUR_FACTOR = Decimal(2) / Decimal("1.25")
"""What writing to a cache for an hour costs, as a factor on writing for five minutes. Source: the price lists of
Anthropic and Amazon Bedrock: 2 and 1.25 times an uncached token; no other service has two times."""


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("decimal_type", "expected a number")
    return value


UsDollars = Annotated[
    Decimal,
    Field(ge=0, allow_inf_nan=False),
    BeforeValidator(_number),
    WithJsonSchema({"type": "number", "minimum": 0}),
    PlainSerializer(float, return_type=float, when_used="json"),
]
"""An amount in checked files: a finite number from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one model, in US dollars per million tokens.

    Attributes:
        input: Price of prompt tokens.
        output: Price of written tokens, reasoning included.
        cached_input: Price of prompt tokens that come from the service's cache; None: as `input`.
        cache_write: Price of prompt tokens that are written to it; None: as `input`.
        cache_write_1h: Price of those of them that are kept for an hour; None: 1.6 times `cache_write`, or as `input`
            without it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    input: UsDollars
    output: UsDollars
    cached_input: UsDollars | None = None
    cache_write: UsDollars | None = None
    cache_write_1h: UsDollars | None = None


def cost_of(price: Price, usage: TokenUsage) -> Decimal:
    """Return what this usage costs at this price, in US dollars."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    total = price.input * max(usage.input_tokens - cached - written, 0) + price.output * usage.output_tokens
    if cached:
        total += cached * (price.input if price.cached_input is None else price.cached_input)
    if written:
        total += written * (price.input if price.cache_write is None else price.cache_write)
    if long := min(usage.cache_write_1h_tokens, written):
        short = price.input if price.cache_write is None else price.cache_write
        usual = short if price.cache_write is None else short * HOUR_FACTOR
        total += long * ((usual if price.cache_write_1h is None else price.cache_write_1h) - short)
    return total / _MILLION
