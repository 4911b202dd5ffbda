"""What the server stores of conversations for some minutes, so that clients can refer to it."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson

from moa._server.http.errors import RequestError
from moa._state.store import StateStore
from moa.errors import MoaError

log = logging.getLogger("moa.server.errors")

TTL_S = 1800.0
"""Seconds for which a response or an item can be referred to."""

SMALL_BYTES = 64_000
LARGE_BYTES = 4_000_000
"""Sizes of values; what is larger isn't stored, and can't be referred to."""

MOST_SMALL, MOST_LARGE = 500, 16
"""Most values of each size for one owner, so that none has more than 96 MB; the oldest go first."""


MOST_LOOK_UPS, MOST_LOOKED_UP_BYTES = 2 * (MOST_SMALL + MOST_LARGE), 2 * LARGE_BYTES
"""Most references of one request, and most bytes that they stand for: each has some bytes and may stand for
megabytes."""


class Conversations:
    """What one request may refer to.

    Args:
        store: Holds it.
        owner: The caller; values of other owners are never found.

    Attributes:
        looked_up_bytes: What was found for this request.
    """

    def __init__(self, store: StateStore, owner: str) -> None:
        self._store, self._owner = store, owner
        self._look_ups = self.looked_up_bytes = 0

    async def get(self, identity: str) -> Any:
        """Return what was stored under an id; None if nothing, or not any more.

        Raises:
            RequestError: The request refers to more than one may.
            StateUnavailable: The store can't be reached.
        """
        found = await self._store.get(self._key(identity))
        self._look_ups += 1
        self.looked_up_bytes += len(found or b"")
        if self._look_ups > MOST_LOOK_UPS or self.looked_up_bytes > MOST_LOOKED_UP_BYTES:
            message = (
                f"it refers to more than a request may: {MOST_LOOK_UPS:,} stored items with {MOST_LOOKED_UP_BYTES:,} "
                "bytes in all; send the conversation itself"
            )
            raise RequestError(413, "request_too_large", message)
        return None if found is None else orjson.loads(found)

    async def put(self, values: Mapping[str, Any]) -> None:
        """Store values by their ids; a store that fails is only logged, as the answer is paid for and goes out."""
        for identity, value in values.items():
            text = orjson.dumps(value)
            if len(text) > LARGE_BYTES:
                continue
            size, most = ("small", MOST_SMALL) if len(text) <= SMALL_BYTES else ("large", MOST_LARGE)
            try:
                await self._store.put(self._key(identity), text, ttl_s=TTL_S, group=self._group(size), most=most)
            except MoaError as error:
                log.warning("what requests may refer to was not stored: %s", error)
                return

    async def delete(self, identity: str) -> None:
        """Put nothing in the place of a value.

        Raises:
            StateUnavailable: The store can't be reached.
        """
        await self._store.put(self._key(identity), b"null", ttl_s=TTL_S, group=self._group("small"), most=MOST_SMALL)

    def _group(self, size: str) -> str:
        return f"conversations:{size}:{self._owner}"

    def _key(self, identity: str) -> str:
        return f"conversation:{len(self._owner)}:{self._owner}:{identity}"
