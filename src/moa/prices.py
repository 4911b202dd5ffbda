"""What tokens cost: the user's own prices first, then the dated tables of `genai-prices`, else unknown."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of one model, in US dollars per million tokens.

    Attributes:
        input: Price of prompt tokens.
        output: Price of written tokens, reasoning included.
        cached_input: Price of prompt tokens that come from the service's cache; None: as `input`.
        cache_write: Price of prompt tokens that are written to it; None: as `input`.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
