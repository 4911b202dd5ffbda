"""How the cache is used, as a value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CacheMode = Literal["off", "read", "write", "read_write", "refresh"]

DEFAULT_MODE: CacheMode = "read_write"
DEFAULT_SIZE_MB = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where replies are stored, and how they are used.

    ============== ======================== ========================================
    mode           a stored reply           a new reply
    ============== ======================== ========================================
    ``off``        is not looked up         is not stored
    ``read``       is used                  is not stored; the file is never written
    ``write``      is not looked up         is stored, unless there is one already
    ``read_write`` is used                  is stored
    ``refresh``    is not looked up         is stored, and replaces an older one
    ============== ======================== ========================================

    Attributes:
        path: The file; created if missing.
        mode: See the table.
        max_size_mb: Maximum size of the file, in megabytes (1,000,000 bytes); the least recently used replies are
            deleted first. SQLite's write-ahead log beside it takes up to about 4 MB more.
    """

    path: Path
    mode: CacheMode = DEFAULT_MODE
    max_size_mb: int = DEFAULT_SIZE_MB

    @property
    def reads(self) -> bool:
        """Whether stored replies are used."""
        return self.mode in ("read", "read_write")

    @property
    def writes(self) -> bool:
        """Whether new replies are stored."""
        return self.mode in ("write", "read_write", "refresh")
