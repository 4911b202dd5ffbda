"""Whose request it is, with and without a reverse proxy."""

import pytest

from moa._server.http.client_addresses import counted_address, forwarded_client, is_in, parse_networks
from moa.errors import UsageError

PROXIES = parse_networks(["10.0.0.0/8", "fd00::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        # The attack on limits by address that migadu/alps#18 closes: what stands on the left is the client's invention.
        ("10.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.9, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2, \n"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
        ("fd00::1", ["10.0.0.3"], "10.0.0.3"),
        ("-", ["203.0.113.9"], "-"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(peer: str, forwarded_for: list[str], client: str) -> None:
    assert forwarded_client(peer, forwarded_for, PROXIES) == client


def test_addresses_of_one_ipv6_customer_count_as_one() -> None:
    assert counted_address("2001:db8:1:2::3") == counted_address("2001:db8:1:2:ffff::1")
    assert counted_address("2001:db8:1:2::3") != counted_address("2001:db8:1:3::3")
    assert counted_address("::ffff:203.0.113.9") == counted_address("203.0.113.9") != counted_address("203.0.113.8")
    assert counted_address("-") == "-"


def test_a_network_may_be_written_as_any_of_its_addresses() -> None:
    assert is_in("10.1.2.3", parse_networks(["10.9.9.9/8"]))
    assert not is_in("::1", parse_networks(["127.0.0.1"]))


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", ""])
def test_what_is_no_address_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match="--trusted-proxy"):
        parse_networks([text])
