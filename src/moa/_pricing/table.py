"""Look-ups in the tables of `genai-prices`.

The library is imported on first use only: that and building its tables take about a second. It finds models by
partly loose rules ("contains amazon.nova-lite"), which would give an unknown model the price of another one; so a
result is used only if the names match exactly.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache, lru_cache, partial
from typing import Any

from moa._ledger import Pricer
from moa._pricing.price import Price, cost_of
from moa._usage import TokenUsage

BEDROCK = "aws"
"""The id of Amazon Bedrock in genai-prices."""

_ARN = re.compile(r"^arn:[^/]*:(?:foundation-model|inference-profile)/")
_PROFILE = re.compile(r"^(?:global|regional|apac|us-gov|[a-z]{2})\.(?=[a-z0-9-]+\.)")
_BEDROCK_ID = re.compile(r"(.*?)(?:-v(\d+))?((?::\w+)*)", re.DOTALL)
_DATE_OR_NOTHING = re.compile(r"(?:-latest|-preview)?(?:[-@.]?(?:[0-9]{3,}|[0-9]{2}-[0-9]{2,4})[0-9-]*)?")
_NOT_BY_THE_TOKEN = ("requests_kcount",)


@cache
def load_table() -> Any:
    """Return the library's tables; the first call takes about a second."""
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


@lru_cache(maxsize=4096)
def table_pricer(provider_id: str, model: str) -> Pricer:
    """Return a function from a usage of this model to its cost by the tables; it returns None for unknown models.

    Args:
        provider_id: The service's id in genai-prices.
        model: The model's id as its service knows it: for Bedrock also inference profiles (`us.…`) and ARNs.
    """
    found = _find(provider_id, _plain_id(model))
    if found is None:
        return lambda usage: None
    provider, info = found
    price = _flat_price(info.prices)
    return partial(cost_of, price) if price else partial(_calculate, provider, info)


def context_window(provider_id: str, model: str) -> int | None:
    """Return the size of a model's context window in tokens, None if unknown; arguments as in `table_pricer`."""
    found = _find(provider_id, _plain_id(model))
    return None if found is None else found[1].context_window


def _plain_id(model: str) -> str:
    """The id in lower case; of an ARN, only the id."""
    return _ARN.sub("", model.lower())


def _find(provider_id: str, model: str) -> tuple[Any, Any] | None:
    try:
        provider, info = load_table().find_provider_model(model, None, provider_id, None)
    except LookupError:
        return None
    same = _same_bedrock_model if provider.id == BEDROCK else _same_model
    return (provider, info) if same(model, info) and _priced_by_token(info) else None


def _priced_by_token(info: Any) -> bool:
    """Whether both input and output have a price, and nothing else is charged for a plain call."""
    variants = [info.prices] if not isinstance(info.prices, list) else [entry.prices for entry in info.prices]
    return all(
        prices.input_mtok is not None
        and prices.output_mtok is not None
        and all(getattr(prices, key) is None for key in _NOT_BY_THE_TOKEN)
        for prices in variants
    )


def _same_bedrock_model(model: str, info: Any) -> bool:
    """Whether an id names this model: equal but for the profile's prefix, and of no other version."""
    (stem, version), (own_stem, own_version) = _bedrock_name(model), _bedrock_name(info.id.lower())
    return stem == own_stem and all(mine == theirs for mine, theirs in zip(version, own_version, strict=False))


def _bedrock_name(model: str) -> tuple[str, list[str]]:
    """An id's stem and the numbers of its version: `us.meta.llama3-8b-v1:0` is `meta.llama3-8b` and `1`, `0`."""
    stem, major, minor = _BEDROCK_ID.fullmatch(model).groups()  # type: ignore[union-attr]  # it matches every text
    return _PROFILE.sub("", stem), [major, *minor.split(":")[1:2]] if major else []


def _same_model(model: str, info: Any) -> bool:
    """Whether an id is one that the table lists, a dated one of it, or a fine-tuned one where those are listed."""
    return any(_names(kind, text, model) for kind, text in _rules(info.match))


def _names(kind: str, text: str, model: str) -> bool:
    if kind == "regex":
        return re.search(text, model) is not None
    rest = model.removeprefix(text) if model.startswith(text) else None
    if rest is None or kind == "equals":
        return rest == ""
    return text.startswith("ft:") or _DATE_OR_NOTHING.fullmatch(rest) is not None


def _rules(match: Any) -> Iterator[tuple[str, str]]:
    """The single rules of a model's matching logic: their kind and their text in lower case."""
    for kind in ("or_", "and_"):
        for part in getattr(match, kind, ()):
            yield from _rules(part)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if hasattr(match, kind):
            yield kind, getattr(match, kind).lower()
    if hasattr(match, "regex"):
        yield "regex", match.regex


def _flat_price(prices: Any) -> Price | None:
    """The prices as plain rates, None if they depend on the prompt's length, the date or the kind of output.

    Multiplying them ourselves takes a few microseconds, the library's general calculation a hundred.
    """
    if isinstance(prices, list) or prices.output_reasoning_mtok is not None:
        return None
    # Without a rate of its own, the library prices what is kept for an hour as any other write.
    hour = prices.cache_write_mtok if prices.cache_write_1h_mtok is None else prices.cache_write_1h_mtok
    rates = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok, hour)
    if not all(rate is None or isinstance(rate, Decimal) for rate in rates):
        return None
    return Price(input=rates[0], output=rates[1], cached_input=rates[2], cache_write=rates[3], cache_write_1h=hour)


def _calculate(provider: Any, info: Any, usage: TokenUsage) -> Decimal | None:
    from genai_prices.types import Usage

    # The library refuses parts that are larger than their whole, which services do report.
    parts = usage.cached_input_tokens + usage.cache_write_tokens
    tokens = Usage(
        input_tokens=max(usage.input_tokens, parts),
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=min(usage.cache_write_1h_tokens, usage.cache_write_tokens),
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=min(usage.reasoning_tokens, usage.output_tokens),
    )
    total: Decimal = info.calc_price(tokens, provider).total_price
    return total
