from dataclasses import replace
from decimal import Decimal

from moa._config.settings import Settings
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.evaluation._runner.pricing import pricer_of
from moa.providers._endpoint import Endpoint

USAGE = TokenUsage(input_tokens=1_000_000)


def test_a_tier_costs_what_the_endpoints_factor_says() -> None:
    endpoint = Endpoint(
        name="own",
        kind="openai",
        prices={"m": Price(input=Decimal(4), output=Decimal(8))},
        price_factor={"flex": Decimal("0.25")},
    )

    price = pricer_of(Settings(endpoints={"own": endpoint}), "own/m")

    assert price(USAGE) == 4
    assert price(replace(USAGE, tier="flex")) == 1
    assert price(replace(USAGE, tier="priority")) is None


def test_an_unknown_endpoint_has_the_agents_price_or_none() -> None:
    settings = Settings(endpoints={})

    assert pricer_of(settings, "given/m")(USAGE) is None
    assert pricer_of(settings, "given/m", Price(input=Decimal(3), output=Decimal(1)))(USAGE) == 3
