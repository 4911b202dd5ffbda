"""What a cache holds, as a table."""

from rich.table import Table
from rich.text import Text

from moa._policies.cache.settings import CacheSettings
from moa._policies.cache.store import CacheStats
from moa._render.sanitize import safe

_MEGABYTE = 1_000_000


def cache_table(settings: CacheSettings, stats: CacheStats) -> Table:
    """Return where a cache is, how full it is, and how many replies of each model it holds."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right")
    table.add_row(Text(safe(str(settings.path))), Text(f"mode {settings.mode}"))
    size = f"{stats.used_bytes / _MEGABYTE:,.1f} of {settings.max_size_mb:,} MB"
    table.add_row(Text(f"replies: {stats.entries:,}"), Text(size), style="bold")
    for model, replies in stats.models.items():
        table.add_row(Text(f"  {safe(model)}"), Text(f"{replies:,}"))
    return table
