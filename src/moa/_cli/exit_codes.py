"""The exit codes of the commands."""

from moa.errors import (
    ConfigError,
    EngineError,
    EvaluationDataError,
    MixtureError,
    MoaError,
    ProviderError,
    StateUnavailable,
    UsageError,
)

COMPLETE = 0
FAILED = 1
USAGE = 2
DEGRADED = 3
"""Only with `--strict`: the answer is degraded."""
STOPPED = 4
"""An evaluation's budget is used up; a larger one continues it."""
INTERRUPTED = 130
"""The shell's own code for Ctrl-C: 128 + SIGINT."""

_BY_ERROR: dict[type[MoaError], int] = {
    UsageError: USAGE,
    MixtureError: USAGE,
    ConfigError: USAGE,
    EvaluationDataError: USAGE,
    ProviderError: FAILED,
    StateUnavailable: FAILED,
    EngineError: FAILED,
}


def exit_code(kind: type[MoaError]) -> int:
    """Return the exit code of a class of errors: its own, or that of the nearest class above it.

    Raises:
        LookupError: The table has no code for this class; a test walks the whole tree.
    """
    for ancestor in kind.__mro__:
        if ancestor in _BY_ERROR:
            return _BY_ERROR[ancestor]
    raise LookupError(f"no exit code is set for {kind.__name__}")
