"""The guard that keeps tests on this machine."""

import socket

import pytest


def test_a_call_to_the_outside_is_refused() -> None:
    # 192.0.2.1 is reserved for documentation (RFC 5737): nobody is there.
    with socket.socket() as connection, pytest.raises(AssertionError, match=r"tried to reach 192\.0\.2\.1"):
        connection.connect(("192.0.2.1", 80))
