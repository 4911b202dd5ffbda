"""Public files on the Hugging Face hub: out of the hub's own cache, else downloaded."""

from pathlib import Path

HUB_TIMEOUT_S = 5.0
"""Seconds that the hub has to answer at all. Its library would ask again for minutes, each time with a message."""


def hub_file(
    repository: str,
    name: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Return a file of a repository; what the cache has isn't asked for again. A terminal shows a progress bar.

    Args:
        repository: `owner/name`.
        name: The file's name in the repository.
        repo_type: `dataset`; None for a model.
        revision: A commit or branch; None for the default branch.
        endpoint: The hub's address; None for huggingface_hub's own default.
        cache: The cache's folder; None for huggingface_hub's own default.

    Raises:
        ModuleNotFoundError: huggingface-hub isn't installed.
        OSError: The hub can't be reached, doesn't have the file, or the transfer broke off.
        httpx.HTTPError: Likewise.
    """
    from huggingface_hub import get_session, hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, name, cache_dir=cache, revision=revision, repo_type=repo_type)
    if isinstance(cached, str):
        return Path(cached)
    get_session().head(
        hf_hub_url(repository, name, repo_type=repo_type, revision=revision, endpoint=endpoint), timeout=HUB_TIMEOUT_S
    )
    # A public file: the user's token isn't sent.
    found = hf_hub_download(
        repository, name, repo_type=repo_type, revision=revision, endpoint=endpoint, cache_dir=cache, token=False
    )
    return Path(found)
