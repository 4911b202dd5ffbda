"""What a call used: tokens and money, and how they add up."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

UsageSource = Literal["reported", "estimated", "upper_bound", "unknown"]
"""Where a token count comes from: the service said it, we counted characters, it is the most that the call can have
used (it was cut off unseen, so its `max_tokens` count), or nobody knows."""

NOT_REPORTED: tuple[UsageSource, ...] = ("estimated", "upper_bound")
"""Sources of counts that no service has confirmed."""

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens of one call, or of many added up.

    Attributes:
        input_tokens: All tokens of the prompt, cached ones included.
        output_tokens: All tokens that the model wrote, reasoning included.
        cached_input_tokens: The part of `input_tokens` that was read from the service's prompt cache.
        cache_write_tokens: The part of `input_tokens` that was written to it.
        cache_write_1h_tokens: The part of `cache_write_tokens` that is kept for an hour, which costs more.
        reasoning_tokens: The part of `output_tokens` that was reasoning.
        tier: The service tier that these tokens were served in, in the service's word (`flex`, `priority`, `batch` …);
            None for its usual one. Of tokens of several tiers added up: None.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    tier: str | None = None
    cache_write_1h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: TokenUsage) -> TokenUsage:
        """Add field by field."""
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            tier=self.tier if self.tier == other.tier else None,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
        )

    def as_dict(self) -> dict[str, Any]:
        """The five counts and their total, by name; the tier and tokens kept for an hour, if there are any."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "total_tokens": self.total_tokens,
            **({"tier": self.tier} if self.tier is not None else {}),
            **({"cache_write_1h_tokens": self.cache_write_1h_tokens} if self.cache_write_1h_tokens else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """US dollars of one attempt, or of many added up; an unknown price stays unknown.

    Attributes:
        priced_usd: Price of the usage that services reported, where the price is known.
        estimated_usd: Price of usage that we had to estimate (calls that were cut off); not part of `priced_usd`.
        charged_usd: What of both was really charged: 0 where a reply came from our own cache.
        saved_usd: What the services' prompt caches saved of `priced_usd`, below 0 where only writing to them was paid.
        unpriced_calls: Attempts that used tokens at a price that nobody knows.
    """

    priced_usd: Decimal = _ZERO
    estimated_usd: Decimal = _ZERO
    charged_usd: Decimal = _ZERO
    saved_usd: Decimal = _ZERO
    unpriced_calls: int = 0

    @property
    def cost_usd(self) -> Decimal | None:
        """Price of all reported usage, or None if any of it has no known price."""
        return None if self.unpriced_calls else self.priced_usd

    def __add__(self, other: Spend) -> Spend:
        """Add field by field."""
        return Spend(
            priced_usd=self.priced_usd + other.priced_usd,
            estimated_usd=self.estimated_usd + other.estimated_usd,
            charged_usd=self.charged_usd + other.charged_usd,
            saved_usd=self.saved_usd + other.saved_usd,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


def json_usd(amount: Decimal | None) -> float | None:
    """The amount as a JSON number of US dollars, unknown staying null."""
    return None if amount is None else float(amount)
