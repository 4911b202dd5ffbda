"""What was probably meant by a name that nobody knows."""

import difflib
from collections.abc import Sequence


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `: did you mean …?` for the most similar known name, empty if none is similar."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f": did you mean {close[0]!r}?" if close else ""
