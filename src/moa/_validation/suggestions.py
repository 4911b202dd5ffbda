"""Suggestions for unknown names."""

import difflib
from collections.abc import Sequence

MAX_NAME_CHARS = 100
"""Maximum number of characters of a name that are compared."""


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return `: did you mean …?` for the most similar known name, empty if none is similar."""
    # The comparison takes time proportional to the product of both lengths.
    close = difflib.get_close_matches(name[:MAX_NAME_CHARS].lower(), known, n=1, cutoff=0.6)
    return f": did you mean {close[0]!r}?" if close else ""
