"""Suggestions for unknown names."""

import difflib
from collections.abc import Sequence

MAX_NAME_CHARS = 100
"""What is compared of a name."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return `: did you mean …?` for the most similar known name, empty if none is similar."""
    # Comparing takes time in the product of both lengths, and no name is long.
    close = difflib.get_close_matches(name[:MAX_NAME_CHARS].lower(), known, n=1, cutoff=0.6)
    return f": did you mean {close[0]!r}?" if close else ""
