"""What tokens cost: the user's own prices first, then the dated tables of `genai-prices`, else unknown."""

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from types import MappingProxyType

from moa._ledger import Pricer
from moa._pricing.price import Price, cost_of
from moa._pricing.table import load_table, table_pricer
from moa._usage import TokenUsage

ANY_MODEL = "*"
"""Among an endpoint's own prices: every model that isn't named."""

FREE = Price(input=Decimal(0), output=Decimal(0))
"""What models on one's own machine cost."""


def find_price(
    price_provider: str | None,
    model: str,
    *,
    own: Mapping[str, Price] = MappingProxyType({}),
    override: Price | None = None,
) -> Pricer:
    """Return what tells the price of this model's usage, in US dollars; it says None where the price is unknown.

    The table is looked up when the first usage is priced, once. `preload` loads it beforehand.

    Args:
        price_provider: The service's id in genai-prices; None: it has no table there.
        model: The model's id as its service knows it.
        own: The endpoint's own prices, by model id or `ANY_MODEL`.
        override: The agent's own price; goes before everything else.
    """
    mine = _mine(model, own, override)
    if mine is not None:
        return partial(cost_of, mine)
    if price_provider is None:
        return _unknown
    return partial(_from_table, price_provider, model)


def preload() -> None:
    """Load the table of prices: about a second of work, which a thread can do while the first models answer."""
    load_table()


def _mine(model: str, own: Mapping[str, Price], override: Price | None) -> Price | None:
    return override or own.get(model) or own.get(ANY_MODEL)


def _unknown(usage: TokenUsage) -> Decimal | None:
    return None


def _from_table(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    # Looked up here and not before, as the table takes a second to load; the look-up itself is kept.
    return table_pricer(provider, model)(usage)
