"""Who may ask: API keys, of which only hashes are kept, each with a budget and a rate of its own."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt, StringConstraints, model_validator

from moa._policies.budget import Budget
from moa._policies.sliding_window import SlidingWindow
from moa._pricing.price import UsDollars
from moa._server.http.errors import RequestError
from moa._validation.strict_model import StrictModel, Text, located_error
from moa._validation.strict_yaml import check, from_file
from moa.errors import ConfigError

Digest = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{64}$")]


LOOK_UPS_PER_REQUEST = 20
"""How many more requests a key with a rate may make that only look something up: models, metrics, mixtures."""


class KeySettings(StrictModel):
    """One key in the file.

    Attributes:
        name: Whose it is; appears in logs.
        sha256: The key's SHA-256 in lower-case hexadecimal digits. Keys are long and random, so that a slow hash would
            only slow down every request.
        budget_usd: US dollars that it may spend until the server is restarted; None: no limit.
        requests_per_minute: None: no limit.
    """

    name: Text
    sha256: Digest
    budget_usd: Annotated[UsDollars, Field(gt=0)] | None = None
    requests_per_minute: Annotated[StrictInt, Field(ge=1)] | None = None


class KeysFile(StrictModel):
    """The whole file: `keys:`, a list."""

    # Somebody may have written a key where its hash belongs.
    model_config = ConfigDict(hide_input_in_errors=True)

    keys: Annotated[tuple[KeySettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [key.name for key in self.keys]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise located_error(f"{name!r} is listed twice", "keys", index, "name")
        return self


@dataclass(slots=True, kw_only=True, eq=False)
class Caller:
    """Who asks, with what is left of the key's budget and rate."""

    name: str
    budget: Budget | None = None
    window: SlidingWindow | None = field(default=None, repr=False)
    look_ups: SlidingWindow | None = field(default=None, repr=False)

    def check_rate(self, now: float, *, is_look_up: bool = False) -> None:
        """Count one request; what only looks something up is counted apart.

        Raises:
            RequestError: The key has made all of its requests of this minute.
        """
        window = self.look_ups if is_look_up else self.window
        if window is None:
            return
        if wait_s := window.wait_s(1, now):
            message = f"this key may make {window.limit:g} requests per minute: wait {wait_s:.0f} s"
            raise RequestError(429, "rate_limit_exceeded", message, retry_after_s=wait_s)
        window.add(1, now)


ANONYMOUS = Caller(name="-")
"""Who asks a server without keys."""


class ApiKeys:
    """The keys that a server knows.

    Args:
        keys: From the file.
    """

    def __init__(self, keys: Iterable[KeySettings]) -> None:
        self._callers = [(key.sha256.encode(), _caller(key)) for key in keys]

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._callers)

    @property
    def is_limited(self) -> bool:
        """Whether any key has a budget or a rate, which only one process can keep."""
        return any(caller.budget or caller.window for _, caller in self._callers)

    @property
    def has_budget(self) -> bool:
        """Whether any key has a budget."""
        return any(caller.budget for _, caller in self._callers)

    def caller(self, key: str) -> Caller | None:
        """Return whose key it is, None if nobody's; takes the same time for every key."""
        digest, found = hash_key(key).encode(), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _caller(key: KeySettings) -> Caller:
    rate = key.requests_per_minute
    return Caller(
        name=key.name,
        budget=None if key.budget_usd is None else Budget(key.budget_usd),
        window=None if rate is None else SlidingWindow(rate),
        look_ups=None if rate is None else SlidingWindow(LOOK_UPS_PER_REQUEST * rate),
    )


def hash_key(key: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    """Return a new random key."""
    return f"moa-{secrets.token_urlsafe(32)}"


def load_keys(path: Path) -> ApiKeys:
    """Return the keys of a file.

    Raises:
        ConfigError: It can't be read or used.
    """
    return ApiKeys(check(KeysFile, from_file(path, ConfigError)).keys)
