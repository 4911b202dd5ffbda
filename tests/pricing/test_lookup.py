"""What usages cost: our own prices, the table's, and unknown ones; genai-prices itself is the oracle."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._pricing.lookup import ANY_MODEL, FREE, find_price, preload
from moa._pricing.price import Price, cost_of
from moa._usage import TokenUsage
from moa.providers._endpoint import Endpoint

USAGE = TokenUsage(input_tokens=1000, output_tokens=500)
MIXED = TokenUsage(
    input_tokens=300_000, output_tokens=777, cached_input_tokens=120_000, cache_write_tokens=5_000, reasoning_tokens=77
)
FOR_AN_HOUR = replace(MIXED, cache_write_1h_tokens=3_000)
OWN = Price(input=Decimal(1), output=Decimal(2))
BUILT_IN = (
    "aws",
    "openai",
    "together",
    "groq",
    "openrouter",
    "mistral",
    "deepseek",
    "fireworks",
    "google",
)


def cost(provider: str | None, model: str, usage: TokenUsage = USAGE) -> Decimal | None:
    return find_price(source(provider), model)(usage)


def source(
    provider: str | None = None,
    prices: Mapping[str, Price] = MappingProxyType({}),
    price_factor: Mapping[str, Decimal] = MappingProxyType({}),
) -> Endpoint:
    return Endpoint(name="here", kind="given", price_provider=provider, prices=prices, price_factor=price_factor)


@cache
def table() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def oracle(provider: str, model: str, usage: TokenUsage) -> Decimal:
    from genai_prices import Usage, calc_price

    tokens = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    return calc_price(tokens, model, provider_id=provider).total_price


def chat_models(provider_id: str) -> Iterator[str]:
    """Names of a service's models that the table prices by input and output tokens, as a request would have them."""
    (provider,) = [found for found in table().providers if found.id == provider_id]
    for info in provider.models:
        prices = info.prices[0].prices if isinstance(info.prices, list) else info.prices
        name = info.id.replace("regional.", "us.") if provider_id == "aws" else info.match
        name = name if isinstance(name, str) else getattr(name, "equals", None)
        if name and prices.input_mtok is not None and prices.output_mtok is not None:
            yield name


@pytest.mark.parametrize("provider", BUILT_IN)
@pytest.mark.parametrize("usage", [USAGE, MIXED, FOR_AN_HOUR], ids=["plain", "cached", "for an hour"])
def test_every_listed_model_costs_what_the_library_says(provider: str, usage: TokenUsage) -> None:
    names = list(chat_models(provider))

    assert len(names) > 3
    assert {name: cost(provider, name, usage) for name in names} == {
        name: oracle(provider, name, usage) for name in names
    }


TOKENS = st.integers(min_value=0, max_value=400_000)


@given(
    model=st.sampled_from(["gpt-4o", "gpt-4o-mini", "gpt-6-luna", "gpt-5.6-sol", "o3", "gpt-4"]),
    parts=st.tuples(TOKENS, TOKENS, TOKENS),
    written=TOKENS,
)
def test_any_usage_costs_what_the_library_says(model: str, parts: tuple[int, int, int], written: int) -> None:
    usage = TokenUsage(
        input_tokens=sum(parts), cached_input_tokens=parts[1], cache_write_tokens=parts[2], output_tokens=written
    )

    assert cost("openai", model, usage) == oracle("openai", model, usage)


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "0.000875"),
        ("us.anthropic.claude-3-haiku-20240307-v1:0", "0.000875"),
        ("eu.anthropic.claude-3-haiku-20240307-v1:0", "0.000875"),
        ("apac.anthropic.claude-3-haiku-20240307-v1:0", "0.000875"),
        ("anthropic.claude-3-haiku-20240307-v1:0:48k", "0.000875"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "0.0008"),
        ("us.meta.llama3-2-3b-instruct-v1:0", "0.000225"),
        ("meta.llama3-2-3b-instruct", "0.000225"),
        ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-2-3b-instruct-v1:0", "0.000225"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0", "0.00018"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "0.00385"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "0.0035"),
    ],
)
def test_a_bedrock_id_is_priced_through_profiles_versions_and_arns(model: str, usd: str) -> None:
    assert cost("aws", model) == Decimal(usd)


@pytest.mark.parametrize(
    "model",
    [
        "amazon.nova-lite-v2:0",
        "us.amazon.nova-lite-ultra-v1:0",
        "meta.llama3-2-3b-instruct-v9:0",
        "meta.llama3-2-3b-instruct-long-v1:0",
        "mistral.mixtral-8x7b-instruct-v0:2",
        "mistral.mixtral-8x7b-instruct-v1:1",
        "anthropic.claude-3-haiku-20990101-v1:0",
        "anthropic.claude-haiku-99-v1:0",
        "my.us.meta.llama3-2-3b-instruct-v1:0",
        "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123",
        "arn:aws:bedrock:us-east-1:1:provisioned-model/amazon.nova-lite",
        "cohere.nothing-v1:0",
        "",
    ],
)
def test_a_bedrock_id_that_does_not_exist_has_no_price(model: str) -> None:
    assert cost("aws", model) is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-nonsense"),
        ("openai", "gpt-99"),
        ("deepseek", "deepseek-v4-pro-max"),
        ("deepseek", "deepseek-chat-9"),
        ("together", "Qwen/Qwen1.5-110B-Chat"),
        ("nobody", "gpt-4o"),
        ("openai", "text-embedding-3-small"),
        ("perplexity", "sonar"),
        (None, "gpt-4o"),
    ],
)
def test_an_unknown_price_stays_unknown(provider: str | None, model: str) -> None:
    assert cost(provider, model) is None


def test_a_dated_name_of_a_listed_model_is_priced() -> None:
    assert cost("openai", "gpt-6-sol-2026-01-31") == oracle("openai", "gpt-6-sol", USAGE)
    assert cost("deepseek", "deepseek-v4-pro-0813") == cost("deepseek", "deepseek-v4-pro") is not None
    assert cost("openai", "ft:gpt-4o-mini-2024-07-18:me::abc") == oracle("openai", "ft:gpt-4o-mini-2024-07-18:x", USAGE)


def test_the_agents_price_goes_before_the_endpoints_and_the_endpoints_before_the_table() -> None:
    named, other = Price(input=Decimal(3), output=Decimal(0)), Price(input=Decimal(5), output=Decimal(0))
    own = {"gpt-4o": named, ANY_MODEL: other}

    assert find_price(source("openai", own), "gpt-4o", override=OWN)(USAGE) == Decimal("0.002")
    assert find_price(source("openai", own), "gpt-4o")(USAGE) == Decimal("0.003")
    assert find_price(source("openai", own), "else")(USAGE) == Decimal("0.005")
    assert find_price(source("openai"), "gpt-4o")(USAGE) == Decimal("0.0075")


def test_a_free_price_is_zero_and_known() -> None:
    assert find_price(source(None, {ANY_MODEL: FREE}), "any")(USAGE) == Decimal(0)


def test_cached_tokens_have_their_own_prices_and_else_that_of_input() -> None:
    usage = TokenUsage(input_tokens=100, cached_input_tokens=60, cache_write_tokens=30, output_tokens=1)
    price = Price(input=Decimal(10), output=Decimal(7), cached_input=Decimal(1), cache_write=Decimal(12))

    assert find_price(None, "m", override=price)(usage) == Decimal(10 * 10 + 60 * 1 + 30 * 12 + 7) / 1_000_000
    assert find_price(None, "m", override=OWN)(usage) == Decimal(100 * 1 + 2) / 1_000_000


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-6-luna"])
def test_parts_that_are_reported_larger_than_their_whole_are_priced_by_themselves(model: str) -> None:
    usage = TokenUsage(input_tokens=10, cached_input_tokens=1000, output_tokens=5, reasoning_tokens=9)
    whole = TokenUsage(input_tokens=1000, cached_input_tokens=1000, output_tokens=5)

    assert cost("openai", model, usage) == cost("openai", model, whole)


@pytest.mark.slow
def test_warming_loads_the_table_and_finding_a_price_does_not() -> None:
    program = (
        "import sys, moa._pricing.lookup as p; from moa.providers._endpoint import Endpoint;"
        "price = p.find_price(Endpoint(name='o', kind='given', price_provider='openai'), 'gpt-4o');"
        "assert not any(name.startswith('genai_prices') for name in sys.modules); p.preload();"
        "assert 'genai_prices.data' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
    preload()


def test_a_tier_is_priced_by_the_users_factor_else_by_the_table_else_not_at_all() -> None:
    factors = {"flex": Decimal("0.5")}
    flex, priority = replace(USAGE, tier="flex"), replace(USAGE, tier="priority")
    usual = find_price(source("openai"), "gpt-4o")(USAGE)
    assert usual is not None

    assert find_price(source("openai", price_factor=factors), "gpt-4o")(flex) == usual / 2
    assert find_price(source("openai", price_factor=factors), "gpt-4o")(priority) is None
    assert find_price(None, "mine", override=OWN)(priority) is None
    assert find_price(source(None, {"*": FREE}), "local")(priority) == 0


def test_a_tier_of_bedrock_is_not_taken_for_a_part_of_the_models_version() -> None:
    reserved = replace(USAGE, tier="reserved")

    usual = find_price(source("aws"), "us.amazon.nova-lite-v1:0")(USAGE)
    assert usual is not None
    assert find_price(source("aws"), "us.amazon.nova-lite-v1:0")(reserved) is None
    assert find_price(source("aws"), "us.amazon.nova-lite-v1:0")(replace(USAGE, tier="standard")) == usual


def test_tokens_that_are_cached_for_an_hour_cost_twice_an_uncached_one() -> None:
    # Source: Anthropic's price list: 1.25 and 2 times the price of input.
    price = Price(input=Decimal(4), output=Decimal(0), cached_input=Decimal("0.4"), cache_write=Decimal(5))
    usage = TokenUsage(input_tokens=3_000_000, cache_write_tokens=2_000_000, cache_write_1h_tokens=1_000_000)

    assert cost_of(price, usage) == 4 + 5 + 8
    # A service may count more of them than it has written at all.
    assert cost_of(price, replace(usage, cache_write_1h_tokens=9_000_000)) == 4 + 8 + 8


@pytest.mark.parametrize(
    ("provider", "model", "fresh", "read", "written", "hour"),
    [
        # Sources: the vendors' price lists, in US dollars per million tokens.
        ("anthropic", "claude-opus-4-5", "5", "0.5", "6.25", "10"),
        ("anthropic", "claude-haiku-4-5", "1", "0.1", "1.25", "2"),
        ("aws", "global.anthropic.claude-haiku-4-5-20251001-v1:0", "1", "0.1", "1.25", "2"),
        ("aws", "us.amazon.nova-lite-v1:0", "0.06", "0.015", "0.06", "0.06"),
        ("openai", "gpt-4o", "2.5", "1.25", "2.5", "2.5"),
        ("openai", "gpt-5", "1.25", "0.125", "1.25", "1.25"),
        ("google", "gemini-2.5-flash", "0.3", "0.03", "0.3", "0.3"),
    ],
)
def test_reading_and_writing_a_cache_costs_what_the_vendor_lists(
    provider: str, model: str, fresh: str, read: str, written: str, hour: str
) -> None:
    price, tokens = find_price(source(provider), model), 100_000
    usages = (
        TokenUsage(input_tokens=tokens),
        TokenUsage(input_tokens=tokens, cached_input_tokens=tokens),
        TokenUsage(input_tokens=tokens, cache_write_tokens=tokens),
        TokenUsage(input_tokens=tokens, cache_write_tokens=tokens, cache_write_1h_tokens=tokens),
    )

    assert [price(usage) for usage in usages] == [Decimal(rate) / 10 for rate in (fresh, read, written, hour)]


def test_the_users_own_price_of_an_hour_is_taken() -> None:
    usage = TokenUsage(input_tokens=1_000_000, cache_write_tokens=1_000_000, cache_write_1h_tokens=1_000_000)
    price = Price(input=Decimal(1), output=Decimal(0), cache_write=Decimal(2), cache_write_1h=Decimal(7))

    assert cost_of(price, usage) == 7
    assert cost_of(replace(price, cache_write_1h=None), usage) == Decimal("3.2")
    assert cost_of(replace(price, cache_write=None, cache_write_1h=None), usage) == 1
