"""The mixture that a command line names."""

from collections.abc import Sequence

from moa._cli.options import DEFAULT_MIXTURE
from moa._mixture.loading import load, single
from moa._mixture.schema import Mixture
from moa.errors import UsageError


def resolve_mixture(mixture: str | None, model: str | None, overrides: Sequence[str] = ()) -> Mixture:
    """Return the mixture that the options name, with their overrides.

    Raises:
        UsageError: Both a mixture and a model are named.
        MixtureError: The mixture can't be used.
    """
    if mixture and model:
        raise UsageError("give --mixture or --model, not both")
    return load(single(model) if model else mixture or DEFAULT_MIXTURE, overrides=overrides)
