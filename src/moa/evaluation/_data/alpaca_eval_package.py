"""Where the files of the `alpaca-eval` package are; it is never imported (that would need 49 more packages)."""

from importlib.util import find_spec
from pathlib import Path

from moa.errors import MissingDependency


def package_folder() -> Path:
    """Return the installed package's folder.

    Raises:
        MissingDependency: It isn't installed.
    """
    spec = find_spec("alpaca_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependency(
            "AlpacaEval's judges and leaderboards are files of the package alpaca-eval, which is not installed: "
            "pip install --no-deps alpaca-eval"
        )
    return Path(spec.submodule_search_locations[0])
