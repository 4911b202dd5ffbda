"""What holds for every test: no address but loopback is ever called."""

import ipaddress
import sys
from typing import Any


class OutsideCallError(AssertionError):
    """A test tried to reach an address outside of this machine."""


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if not _is_loopback(host):
            raise OutsideCallError(f"a test tried to reach {host}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")


# An audit hook sees the sockets of every library, and nobody can take it away again.
sys.addaudithook(_guard)
