"""Keeping secrets out of traces: what the endpoints hold, wherever it turns up, and whatever is named like a secret."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from moa.providers._endpoint import Endpoint

MASK = "***"

SHORTEST = 6
"""Characters that a value has at least to be looked for everywhere; a shorter one would be found in any text."""

_HARMLESS = frozenset(
    {"accept", "accept-language", "anthropic-version", "api-version", "content-type", "http-referer", "user-agent"}
    | {"x-title"}
)
"""Headers and query parameters whose values are public."""

_NAMED_LIKE_A_SECRET = re.compile(
    r"authorization|cookie|password|secret|credential|api[-_]?key|access[-_]?key|(^|[-_]|session|security)token$",
    re.IGNORECASE,
)


def secrets_of(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """Return every text that endpoints send and nobody else may see: keys, headers, query values, proxy passwords."""
    return frozenset(secret for endpoint in endpoints for secret in _secrets(endpoint) if len(secret) >= SHORTEST)


def _secrets(endpoint: Endpoint) -> Iterator[str]:
    if endpoint.api_key is not None:
        yield endpoint.api_key.get_secret_value()
    for name, value in (*endpoint.headers.items(), *endpoint.query.items()):
        if name.lower() not in _HARMLESS:
            yield value
            # "Bearer sk-…": a service may quote the key alone.
            yield from value.split()[1:]
    password = urlsplit(endpoint.proxy or "").password
    if password:
        yield password
        yield unquote(password)


class Scrubber:
    """Replaces secrets in JSON-ready values by a mask.

    Args:
        secrets: Texts that must not be shown.
    """

    def __init__(self, secrets: frozenset[str]) -> None:
        # The longest first: one secret may be the beginning of another.
        longest_first = sorted(secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if secrets else None

    def scrub(self, value: Any) -> Any:
        """Return the value with each secret masked, and with whatever a mapping's key calls a secret."""
        match value:
            case str():
                return self._pattern.sub(MASK, value) if self._pattern else value
            case Mapping():
                return {self.scrub(name): self._scrub_named(name, inner) for name, inner in value.items()}
            case list() | tuple():
                return [self.scrub(inner) for inner in value]
        return value

    def _scrub_named(self, name: object, value: Any) -> Any:
        named_so = isinstance(value, str) and isinstance(name, str) and _NAMED_LIKE_A_SECRET.search(name)
        return MASK if named_so else self.scrub(value)
