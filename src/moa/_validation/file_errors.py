"""User-readable reasons for the operating system's errors with files and ports."""

import errno

_REASONS = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EACCES: "you have no permission",
    errno.EPERM: "you have no permission",
    errno.EEXIST: "it exists already",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its symbolic links form a loop",
}


def os_reason(error: OSError) -> str:
    """Return why a file can't be used, as a phrase to follow a colon."""
    if error.errno in _REASONS:
        return _REASONS[error.errno]
    return error.strerror or str(error) or type(error).__name__


def port_reason(error: OSError) -> str:
    """Return why nothing can listen at an address, as a phrase to follow a colon."""
    return {
        errno.EADDRINUSE: "another program listens there: give another --port",
        errno.EACCES: "this user may not listen there: give a --port from 1024",
    }.get(error.errno or 0, (error.strerror or str(error)).lower())
