"""Addresses of clients: as they connect, and as a trusted reverse proxy forwards them."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from moa.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_PREFIX = 64
"""Bits of an IPv6 address that tell clients apart: each gets a whole network of this size from its provider."""


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return addresses and networks, such as `10.0.0.7` and `10.0.0.0/8`.

    Raises:
        UsageError: One is neither.
    """
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise UsageError(f"--trusted-proxy {text!r} is no IP address and no network such as 10.0.0.0/8") from None
    return tuple(networks)


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address belongs to one of the networks; what is no address belongs to none."""
    found = _parsed(address)
    return found is not None and any(found.version == network.version and found in network for network in networks)


def counted_address(address: str) -> str:
    """Return what limits by address count: the address, or the network of one client's IPv6 addresses."""
    found = _parsed(address)
    if found is None or found.version == 4:
        return address if found is None else str(found)
    return str(ipaddress.ip_network((found, _IPV6_PREFIX), strict=False))


def forwarded_client(peer: str, forwarded_for: Iterable[str], trusted: Iterable[Network]) -> str:
    """Return the address of the client that a request comes from.

    Args:
        peer: Where the connection comes from.
        forwarded_for: The values of the request's `X-Forwarded-For` headers, in their order.
        trusted: Reverse proxies. Each adds the address that it was asked from to the header's end, so that the last
            address which is not a proxy's is the client's; what is before that, the client may have invented.
    """
    trusted = tuple(trusted)
    client = peer
    for hop in reversed(",".join(forwarded_for).split(",")):
        address = _without_port(hop.strip())
        if not is_in(client, trusted) or _parsed(address) is None:
            break
        client = address
    return client


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


@lru_cache(maxsize=4096)
def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])  # without the network interface of a local address
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
