"""What the server keeps of conversations for some minutes, so that clients can refer to it."""

from collections.abc import Mapping
from typing import Any

import orjson

from moa._policies.expiring_store import ExpiringStore


class Conversations:
    """What one caller's requests may refer to.

    Args:
        store: Keeps it.
        owner: Whose it is; nobody finds what another caller has said.
    """

    def __init__(self, store: ExpiringStore, owner: str) -> None:
        self._store, self._owner = store, owner

    async def get(self, identity: str) -> Any:
        """Return what was kept under an id; None if nothing, or not any more."""
        found = await self._store.get(self._owner, identity)
        return None if found is None else orjson.loads(found)

    async def store(self, values: Mapping[str, Any]) -> None:
        """Store values by their ids."""
        for identity, value in values.items():
            await self._store.put(self._owner, identity, orjson.dumps(value))
