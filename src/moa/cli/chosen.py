"""The mixture that a command line names."""

from collections.abc import Sequence

from moa.cli.choices import DEFAULT_MIXTURE
from moa.errors import UsageError
from moa.mixture.loading import load, single
from moa.mixture.schema import Mixture


def chosen_mixture(mixture: str | None, model: str | None, overrides: Sequence[str] = ()) -> Mixture:
    """Return the mixture that the options name, with their overrides.

    Raises:
        UsageError: Both a mixture and a model are named.
        MixtureError: The mixture can't be used.
    """
    if mixture and model:
        raise UsageError("give --mixture or --model, not both")
    return load(single(model) if model else mixture or DEFAULT_MIXTURE, overrides=overrides)
