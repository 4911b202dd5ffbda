"""Opens the cache for the `moa cache` commands."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from moa._config.settings import load_settings
from moa._policies.cache.settings import CacheMode, CacheSettings
from moa._policies.cache.store import Store


@contextmanager
def open_cache(path: Path | None, config: Path | None, *, mode: CacheMode) -> Iterator[tuple[CacheSettings, Store]]:
    """Yield the configured settings, and the cache opened in another mode; it is closed afterwards.

    Args:
        path: Its file; None: the configured one.
        config: Path of a `moa.yaml`; None looks in the usual places.
        mode: `read` leaves the file as it is.

    Raises:
        ConfigError: The configuration or the file can't be used, or (mode `read`) there is no file.
    """
    configured = load_settings(config).cache
    configured = configured if path is None else replace(configured, path=path)
    with closing(Store(replace(configured, mode=mode))) as store:
        yield configured, store
