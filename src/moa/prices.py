"""What tokens cost: the user's own prices first, then the dated tables of `genai-prices`, else unknown."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError


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
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    input: UsDollars
    output: UsDollars
    cached_input: UsDollars | None = None
    cache_write: UsDollars | None = None
