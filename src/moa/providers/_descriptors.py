"""File descriptors: how many this process may have, and how many of them connections to services may take."""

import logging
from contextlib import suppress

log = logging.getLogger(__name__)

WANTED_DESCRIPTORS = 65_536
"""What the soft limit is raised to where the hard limit allows it; a run at its widest takes about ten."""

RESERVED_SHARE, MOST_RESERVED = 4, 64
"""Of the limit a quarter, but no more than 64, stays for files, name resolution and clients that connect."""


def descriptor_limit() -> int | None:
    """Return the most file descriptors that this process may have, None if there is no limit or it is unknown."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def connection_descriptors() -> int | None:
    """Return how many descriptors may be open before connections to services have to wait; None for no limit."""
    limit = descriptor_limit()
    return None if limit is None else max(1, limit - min(MOST_RESERVED, limit // RESERVED_SHARE))


def raise_descriptor_limit() -> None:
    """Raise this process's soft limit as far as the hard one and `WANTED_DESCRIPTORS` allow.

    For processes of our own; a library doesn't change its host's limits.
    """
    soft = descriptor_limit()
    if soft is None or soft >= WANTED_DESCRIPTORS:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    # macOS has a limit below the hard one, which it doesn't tell.
    for limit in (wanted, min(wanted, 10_240)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            log.debug("raised the limit of file descriptors from %d to %d", soft, limit)
            return
