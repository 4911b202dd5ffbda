"""Prices outside of the engine: for plans, manifests and files of outputs."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from moa._config.settings import Settings
from moa._ledger import Pricer
from moa._mixture.model_reference import split_reference
from moa._mixture.schema import Mixture
from moa._pricing.lookup import find_price
from moa._pricing.price import Price
from moa._usage import TokenUsage, json_usd
from moa.errors import UsageError

_MILLION = 1_000_000


def pricer_of(settings: Settings, reference: str, own: Price | None = None) -> Pricer:
    """Return what prices a model's usage; it says None where the price is unknown.

    Args:
        settings: The endpoints.
        reference: `endpoint/model-id`.
        own: The agent's own price, which goes before everything else.
    """
    name, model = split_reference(reference)
    return find_price(settings.endpoints.get(name), model, override=own)


def price_list(settings: Settings, mixtures: Iterable[Mixture], models: Iterable[str]) -> dict[str, Any]:
    """Return today's prices of all models, in US dollars per million tokens; null where unknown."""
    own = {agent.model: agent.price for mixture in mixtures for agent in mixture.agents}
    fallbacks = [name for mixture in mixtures for name in mixture.references]
    wanted = {**dict.fromkeys((*fallbacks, *models)), **own}
    return {reference: _rates(pricer_of(settings, reference, price)) for reference, price in sorted(wanted.items())}


def require_worst_cases(settings: Settings, mixtures: Mapping[str, Mixture], judges: Iterable[str]) -> None:
    """Make sure that a budget can hold, before anything is bought: the worst case of every call is known.

    Args:
        settings: The endpoints.
        mixtures: What is asked, by system.
        judges: References of the models that a judge asks; how much they write is limited.

    Raises:
        UsageError: A price or a max_tokens is missing; it says of which system.
    """
    for system, mixture in mixtures.items():
        endless = sorted({agent.model for agent in mixture.agents if agent.max_tokens is None})
        if endless:
            whose = "" if endless == [system] else f" for {', '.join(endless)}"
            raise UsageError(
                f"a budget needs to know the worst case, and {system} sets no `max_tokens`{whose}: "
                "set it (--baseline-max-tokens, for a baseline that is a model)"
            )
    counted = [mixture for mixture in mixtures.values() if not mixture.allow_unpriced]
    rates = price_list(settings, counted, judges)
    unpriced = [reference for reference, price in rates.items() if None in price.values()]
    if unpriced:
        raise UsageError(
            f"a budget needs prices, and there is none for {', '.join(unpriced)}: set `price:` for the agent or "
            f"`prices:` for the endpoint"
        )


def _rates(price: Pricer) -> dict[str, float | None]:
    return {
        "input": json_usd(price(TokenUsage(input_tokens=_MILLION))),
        "output": json_usd(price(TokenUsage(output_tokens=_MILLION))),
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the installed versions of packages, None for those that aren't there."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def require_known(settings: Settings, references: Iterable[str], given: Iterable[str]) -> None:
    """Make sure that every model's endpoint is there and has its key, before anything is bought.

    Raises:
        ConfigError: One of them can't be used.
    """
    ready = set(given) - settings.endpoints.keys()
    for reference in references:
        if reference.partition("/")[0] not in ready:
            settings.endpoint(reference)
