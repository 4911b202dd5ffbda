"""Commands that need an optional part of the package."""

from collections.abc import Iterator
from contextlib import contextmanager

from moa.errors import MissingDependency


@contextmanager
def needs_extra(feature: str, extra: str) -> Iterator[None]:
    """Turn an import that fails for want of an optional package into the sentence that says how to install it.

    Args:
        feature: What needs it, e.g. `moa eval`.
        extra: This package's extra.

    Raises:
        MissingDependency: A package of others isn't there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "moa":
            raise
        raise MissingDependency.of(feature, extra=extra) from error
