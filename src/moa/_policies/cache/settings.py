"""How the cache is used, as a value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CacheMode = Literal["off", "read", "write", "read_write", "refresh"]

DEFAULT_MODE: CacheMode = "read_write"
DEFAULT_SIZE_MB = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where replies are kept, and how they are used.

    ============== ======================== =====================================
    mode           a reply that is kept     a reply that was bought
    ============== ======================== =====================================
    ``off``        is not looked for        is not kept
    ``read``       is used                  is not kept; the file is never written
    ``write``      is not looked for        is kept, unless there is one already
    ``read_write`` is used                  is kept
    ``refresh``    is not looked for        is kept, in place of an older one
    ============== ======================== =====================================

    Attributes:
        path: The file; it is made if it isn't there.
        mode: See the table.
        max_size_mb: Largest size of the file, in megabytes (1,000,000 bytes); the replies that were not used for the
            longest time go first. SQLite's write-ahead log beside it takes up to about 4 MB more.
    """

    path: Path
    mode: CacheMode = DEFAULT_MODE
    max_size_mb: int = DEFAULT_SIZE_MB

    @property
    def reads(self) -> bool:
        """Whether replies that are kept are used."""
        return self.mode in ("read", "read_write")

    @property
    def writes(self) -> bool:
        """Whether replies that were bought are kept."""
        return self.mode in ("write", "read_write", "refresh")
