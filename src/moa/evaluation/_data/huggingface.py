"""Files of the Hugging Face dataset tatsu-lab/alpaca_eval, kept in the hub's own cache."""

from pathlib import Path

from moa.errors import EvaluationDataError, MissingDependency
from moa.providers import _huggingface as huggingface

REPOSITORY = "tatsu-lab/alpaca_eval"


REFERENCE_FILES = ("alpaca_eval.json", "instruction_difficulty.csv", "df_gamed.csv")
"""What the official length control needs; see `load_alpaca_eval_data`."""


def reference_folder() -> Path:
    """Return the folder of the hub's cache that has all of `REFERENCE_FILES`; errors as in `hub_file`."""
    *_, last = [hub_file(name) for name in REFERENCE_FILES]
    return last.parent


def hub_file(name: str, *, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """Return a file of the dataset, downloaded if it isn't in the cache.

    Args:
        name: e.g. `alpaca_eval.json`.
        endpoint: The hub's address; None for huggingface_hub's own default.
        cache: The cache's folder; None for huggingface_hub's own default.

    Raises:
        EvaluationDataError: The hub can't be reached, or doesn't have the file.
        MissingDependency: huggingface-hub isn't installed.
    """
    try:
        import huggingface_hub  # noqa: F401  (httpx may be there without it)
        from httpx import HTTPError
    except ModuleNotFoundError as error:
        raise MissingDependency.of("downloading AlpacaEval's files", extra="eval") from error
    try:
        return huggingface.hub_file(REPOSITORY, name, repo_type="dataset", endpoint=endpoint, cache=cache)
    except (HTTPError, OSError) as error:  # the hub's own errors are both
        words = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise EvaluationDataError(
            f"can't be downloaded from the Hugging Face dataset {REPOSITORY} ({words[0]}): "
            "try again, or put it into a folder and give that with --data-dir",
            path=Path(name),
        ) from error
