"""What tokens cost: the user's own prices first, then the dated tables of `genai-prices`, else unknown."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Protocol

from moa._ledger import Pricer
from moa._pricing.price import Price, cost_of
from moa._pricing.table import BEDROCK, load_table, table_pricer
from moa._usage import TokenUsage

ANY_MODEL = "*"
"""Among an endpoint's own prices: every model that isn't named."""

STANDARD = "standard"
"""The tier of the usual price, where usage without a tier means another one."""

FREE = Price(input=Decimal(0), output=Decimal(0))
"""What models on one's own machine cost."""


class PriceSource(Protocol):
    """Where the prices of an endpoint's models come from.

    Attributes:
        price_provider: The service's id in genai-prices; None: it has no table there.
        prices: The user's own prices, by model id or `ANY_MODEL`.
        price_factor: The user's own factors on a model's prices, by service tier. A tier without one has the table's
            price for it, where the table has one; else its price is unknown.
    """

    @property
    def price_provider(self) -> str | None: ...

    @property
    def prices(self) -> Mapping[str, Price]: ...

    @property
    def price_factor(self) -> Mapping[str, Decimal]: ...


def find_price(source: PriceSource | None, model: str, *, override: Price | None = None) -> Pricer:
    """Return what tells the price of this model's usage, in US dollars; it says None where the price is unknown.

    The table is looked up when the first usage is priced, once. `preload` loads it beforehand.

    Args:
        source: The model's endpoint; None: nothing is known of it.
        model: The model's id as its service knows it.
        override: The agent's own price; goes before everything else.
    """
    own, provider = (source.prices, source.price_provider) if source is not None else ({}, None)
    factors = source.price_factor if source is not None else {}
    mine = override or own.get(model) or own.get(ANY_MODEL)
    if mine is not None:
        return partial(_by_tier, partial(cost_of, mine), factors, None, model)
    usual: Pricer = _unknown if provider is None else partial(_from_table, provider, model)
    return partial(_by_tier, usual, factors, provider, model)


def in_tier(price: Pricer, tier: str, usage: TokenUsage) -> Decimal | None:
    """Return the price of a usage, which was or will be served in a tier unless it names another one."""
    return price(usage if usage.tier is not None else replace(usage, tier=tier))


def preload() -> None:
    """Load the table of prices: about a second of work, which a thread can do while the first models answer."""
    load_table()


def _unknown(usage: TokenUsage) -> Decimal | None:
    return None


def _by_tier(
    usual: Pricer, factors: Mapping[str, Decimal], provider: str | None, model: str, usage: TokenUsage
) -> Decimal | None:
    if usage.tier is None or usage.tier == STANDARD:
        return usual(usage)
    price = usual(usage)
    if price is not None and (usage.tier in factors or not price):
        return price * factors.get(usage.tier, Decimal(1))
    # Of Bedrock's ids the table ignores what follows the version, so that any tier would have the usual price.
    if provider is None or provider == BEDROCK:
        return None
    return _from_table(provider, f"{model}:{usage.tier}", usage)


def _from_table(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    # Looked up here and not before, as the table takes a second to load; the look-up itself is kept.
    return table_pricer(provider, model)(usage)
