"""Opens the store that the settings name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moa._state.store import StateStore
from moa.errors import MissingDependency


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """The store in which processes share limits and budgets.

    Attributes:
        where: Address of a Redis or Valkey server, or path of a SQLite file.
        on_failure: What happens while the store is unavailable.
    """

    where: str = field(repr=False)
    on_failure: Literal["refuse", "local"] = "refuse"


def open_state(settings: StateSettings) -> StateStore:
    """Return the store.

    Raises:
        MissingDependency: The package for Redis isn't installed.
        StateUnavailable: The file can't be used.
    """
    if "://" not in settings.where:
        from moa._state.sqlite import SqliteStore

        return SqliteStore(Path(settings.where))
    try:
        from moa._state.redis import RedisStore
    except ImportError as error:
        raise MissingDependency.of("state in Redis", extra="redis") from error
    return RedisStore(settings.where)
