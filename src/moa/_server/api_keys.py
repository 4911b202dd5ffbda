"""Who may ask: API keys, of which only hashes are kept, each with a budget and a rate of its own."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt, StringConstraints, model_validator

from moa._config.schema import BudgetAmount
from moa._policies.budget import Budget
from moa._policies.shared_budget import OnFailure, SharedBudget
from moa._policies.shared_window import SharedRates, SharedWindow
from moa._policies.sliding_window import SlidingWindow
from moa._server.http.errors import RequestError
from moa._state.store import StateStore
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
        budget_usd: US dollars that it may spend: `5`, or `{usd: 5, per: day}`; None: no limit. A restart does not
            refill it.
        requests_per_minute: None: no limit.
    """

    name: Text
    sha256: Digest
    budget_usd: BudgetAmount | None = None
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
    """Who asks, with what is left of the key's budget and rate.

    Attributes:
        name: As the file of keys says it.
        account: Names the key where several servers count or store what is its own: two files may give two keys one
            name.
    """

    name: str
    account: str = "-"
    budget: Budget | SharedBudget | None = None
    window: SlidingWindow | SharedWindow | None = field(default=None, repr=False)
    look_ups: SlidingWindow | None = field(default=None, repr=False)

    async def check_rate(self, now: float, *, is_look_up: bool = False) -> None:
        """Count one request; what only looks something up is counted by itself, in this process.

        Raises:
            RequestError: The key has made all of its requests of this minute.
            StateUnavailable: The store of the keys' counts can't be reached.
        """
        window = self.look_ups if is_look_up else self.window
        if window is None:
            return
        if isinstance(window, SharedWindow):
            wait_s = await window.take(1)
        elif not (wait_s := window.wait_s(1, now)):
            window.add(1, now)
        if wait_s:
            message = f"this key may make {window.limit:g} requests per minute: wait {wait_s:.0f} s"
            raise RequestError(429, "rate_limit_exceeded", message, retry_after_s=wait_s)


ANONYMOUS = Caller(name="-")
"""Who asks a server without keys."""


class ApiKeys:
    """The keys that a server knows.

    Args:
        keys: From the file.
        state: Where their budgets and rates are counted; None counts them in this process, until it ends.
        on_failure: What happens while that can't be reached.
    """

    def __init__(
        self, keys: Iterable[KeySettings], state: StateStore | None = None, on_failure: OnFailure = "refuse"
    ) -> None:
        self._callers = [(key.sha256.encode(), _caller(key, state, on_failure)) for key in keys]

    @property
    def count(self) -> int:
        """How many keys there are."""
        return len(self._callers)

    @property
    def has_budget(self) -> bool:
        """Whether any key has a budget."""
        return any(caller.budget for _, caller in self._callers)

    def caller(self, key: str) -> Caller | None:
        """Return the owner of a key, None if it is unknown; takes the same time for every key."""
        digest, found = hash_key(key).encode(), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    async def aclose(self) -> None:
        """Report what the keys have spent, where others count it too."""
        for _, caller in self._callers:
            if isinstance(caller.budget, SharedBudget):
                await caller.budget.aclose()


def _caller(key: KeySettings, state: StateStore | None, on_failure: OnFailure) -> Caller:
    account = f"key {key.sha256[:16]}"
    budget: Budget | SharedBudget | None = None
    if key.budget_usd is not None:
        settings = replace(key.budget_usd.settings, account=account)
        is_plain = state is None and settings.per == "forever"
        budget = Budget(settings.usd) if is_plain else settings.open(state, on_failure)
    window: SlidingWindow | SharedWindow | None = None
    if key.requests_per_minute is not None and state is not None:
        rates = SharedRates(store=state, name=account, on_failure=on_failure)
        window = SharedWindow(key.requests_per_minute, rates, "requests", now=time.monotonic)
    elif key.requests_per_minute is not None:
        window = SlidingWindow(key.requests_per_minute)
    rate = key.requests_per_minute
    look_ups = None if rate is None else SlidingWindow(LOOK_UPS_PER_REQUEST * rate)
    return Caller(name=key.name, account=account, budget=budget, window=window, look_ups=look_ups)


def hash_key(key: str) -> str:
    """Return what the file holds of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def new_key() -> str:
    """Return a new random key."""
    return f"moa-{secrets.token_urlsafe(32)}"


def load_keys(path: Path, state: StateStore | None = None, on_failure: OnFailure = "refuse") -> ApiKeys:
    """Return the keys of a file; their budgets and rates are counted in `state`.

    Raises:
        ConfigError: It can't be read or used.
    """
    return ApiKeys(check(KeysFile, from_file(path, ConfigError)).keys, state, on_failure)
