"""The mixture that a command line names."""

from collections.abc import Sequence
from pathlib import Path

from moa._cli.console import say
from moa._cli.options import DEFAULT_MIXTURE, MixtureOptions
from moa._config.settings import load_settings
from moa._mixture.loading import load, single
from moa._mixture.schema import Mixture, Tier
from moa.errors import UsageError


def resolve_mixture(
    mixture: str | None,
    model: str | None,
    overrides: Sequence[str] = (),
    *,
    config: Path | None = None,
    tier: Tier | None = None,
) -> Mixture:
    """Return the mixture that the options name, with their overrides; else the default one.

    Args:
        mixture: Name of a preset, path of a file, or a model reference.
        model: Reference of a single model.
        overrides: `key=value`, as of `--set`.
        tier: Service tier of all agents, whatever they name themselves.
        config: Path of the `moa.yaml` whose default counts; None looks in the usual places.

    Raises:
        UsageError: Both a mixture and a model are named.
        MixtureError: The mixture can't be used.
        ConfigError: The configuration can't be used.
    """
    if mixture and model:
        raise UsageError("give --mixture or --model, not both")
    named = single(model) if model else mixture or _default(config)
    chosen = load(named, overrides=overrides)
    return chosen if tier is None else chosen.in_tier(tier)


def mixture_of(given: MixtureOptions) -> Mixture:
    """Return the mixture that a command's options name; raises as `resolve_mixture`."""
    tier, overrides = given["tier"], given["overrides"] or ()
    return resolve_mixture(
        given["mixture"], given["model"], overrides, config=given["config"], tier=tier.value if tier else None
    )


def _default(config: Path | None) -> str:
    settings = load_settings(config)
    if settings.default_mixture is None:
        return DEFAULT_MIXTURE
    # Said each time: a file that lies in the working folder decides who reads the prompt, and what it costs.
    say(f"mixture: {settings.default_mixture} (from {settings.source})", style="dim")
    return settings.default_mixture
