"""State in Redis or Valkey: for the processes of many hosts."""

from collections.abc import Awaitable
from importlib.resources import files
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis.asyncio as redis
from redis.exceptions import RedisError

from moa._state.store import MAX_ITEM_BYTES, SLOT_S, SLOTS_PER_MINUTE, Claim, PermitClaim, Permits, Share
from moa.errors import StateUnavailable

VERSION = 1
"""Version of the scripts and of what they store; part of every key, so that versions don't read each other's data."""

WITHIN_S = 1.0
"""Timeout of connecting and of each answer, in seconds; a server that hangs counts as unavailable."""

Result = TypeVar("Result")


class RedisStore:
    """Shares state among the processes of many hosts.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user and password where the server wants them. `prefix` in
            its query is what every key begins with, for a server that others use too; the rest of it is redis-py's.
        max_item_bytes: Maximum bytes of all items.

    Raises:
        StateUnavailable: The address can't be used.
    """

    def __init__(self, url: str, *, max_item_bytes: int = MAX_ITEM_BYTES) -> None:
        self._max_item_bytes = max_item_bytes
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self._prefix = f"{query.pop('prefix', 'moa')}:{VERSION}:"
        self._name = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
        address = parts._replace(query=urlencode(query)).geturl()
        try:
            self._client = redis.from_url(address, socket_timeout=WITHIN_S, socket_connect_timeout=WITHIN_S)
        except (ValueError, TypeError) as error:
            raise StateUnavailable(f"{self._name} can't be used as a store: {type(error).__name__}") from None
        self._exchange, self._permits, self._put = (
            self._client.register_script((files("moa._state") / "scripts" / f"{name}.lua").read_text(encoding="utf-8"))
            for name in ("exchange", "permits", "put")
        )

    async def exchange(self, account: str, claim: Claim) -> Share:
        """Report the spending on an account, and claim a block of the rest."""
        numbers = (
            claim.limit,
            claim.spent,
            claim.reserved,
            claim.headroom,
            claim.block,
            claim.least,
            round(claim.ttl_s * 1000),
        )
        reply = await self._answer(
            self._exchange(keys=[f"{self._prefix}account:{account}"], args=[claim.holder, *numbers, int(claim.renews)])
        )
        held, committed, spent, others, is_lost, now_ms = map(int, reply)
        return Share(
            held=held, committed=committed, spent=spent, others=others, is_lost=bool(is_lost), now_s=now_ms / 1000
        )

    async def permits(self, window: str, claim: PermitClaim) -> Permits:
        """Claim permits of a rate limit for the current slot."""
        used = [number for pair in claim.used.items() for number in pair]
        args: list[str | int | float] = [claim.holder, claim.limit, claim.want, SLOT_S, SLOTS_PER_MINUTE, *used]
        reply = await self._answer(self._permits(keys=[f"{self._prefix}window:{window}"], args=args))
        slot, granted, ends_in_ms, holders = map(int, reply)
        return Permits(slot=slot, granted=granted, ends_in_s=ends_in_ms / 1000, holders=holders)

    async def get(self, key: str) -> bytes | None:
        """Return an item, or None if it does not exist or has expired."""
        value = await self._answer(self._client.get(f"{self._prefix}item:{key}"))
        return value.encode() if isinstance(value, str) else value

    async def put(self, key: str, value: bytes, *, ttl_s: float, group: str = "", most: int | None = None) -> None:
        """Store an item."""
        names = (f"item:{key}", f"group:{group}", "items:expiry", "items:facts", "items:groups", "items:bytes")
        args: list[bytes | int] = [value, round(ttl_s * 1000), most or 0, self._max_item_bytes]
        await self._answer(self._put(keys=[self._prefix + name for name in names], args=args))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _answer(self, command: Awaitable[Result]) -> Result:
        try:
            return await command
        except (RedisError, OSError) as error:
            # The client's message may contain the address with its password.
            raise StateUnavailable(f"{self._name}: {type(error).__name__}") from None
