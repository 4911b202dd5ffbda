"""What must never be shown of an endpoint, and how it is taken out of a server's words, however they spell it."""

import html
import json
import re
from collections.abc import Iterable
from functools import cached_property
from urllib.parse import urlsplit

from moa.errors import ProviderError
from moa.providers._endpoint import Endpoint

SHORTEST = 8
"""Characters of the shortest text that is hidden: shorter ones can't be told from ordinary words."""

_HIDDEN = "***"
_LONGEST_SPELLING = 12
"""Most characters that one character takes in any spelling: a percent-encoded one of four bytes."""


class Secrets:
    """Texts that errors don't show, in whichever mixture of plain, URL, JSON and HTML spelling they come back.

    Args:
        texts: The secrets; those shorter than `SHORTEST` are left out.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple({text.strip() for text in texts if len(text.strip()) >= SHORTEST})

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Made when the first error needs it. The longest first: one secret may be the beginning of another.
        spelled = ("".join(map(_spellings, text)) for text in sorted(self._texts, key=len, reverse=True))
        return re.compile("|".join(spelled), re.IGNORECASE)

    def hide(self, text: str) -> str:
        """Return a text without them."""
        return self._pattern.sub(_HIDDEN, text) if self._texts else text

    def beginning(self, text: str, most: int) -> str:
        """Return at most so many characters of a text: a secret across the cut must not leave its first part there."""
        spare = _LONGEST_SPELLING * max(map(len, self._texts), default=0)
        # A bounded piece keeps this quick; whatever its end cuts in two is within the spare characters.
        hidden = self.hide(text[: most + spare])
        complete = len(text) <= most + spare
        if complete and len(hidden) <= most:
            return hidden
        return hidden[: max(0, min(most - 1, len(hidden) - (0 if complete else spare)))] + "…"

    def redact(self, error: ProviderError) -> None:
        """Take them out of an error: whatever a server says, it must not show what was sent to it."""
        error.args = tuple(self.hide(str(argument)) for argument in error.args)


NO_SECRETS = Secrets()


def texts_of(endpoint: Endpoint) -> tuple[str, ...]:
    """Return everything of an endpoint that may be secret.

    Its key, headers and query, the passwords in its addresses, and what looks like a token in their paths.
    """
    key = [endpoint.api_key.get_secret_value()] if endpoint.api_key is not None else []
    # A server may repeat `Authorization: Bearer …` without its first word.
    credentials = [value.partition(" ")[2] for name, value in endpoint.headers.items() if name.lower() in _CREDENTIALS]
    addresses = [urlsplit(address) for address in (endpoint.base_url, endpoint.endpoint_url, endpoint.proxy) if address]
    passwords = [address.password for address in addresses if address.password]
    tokens = [part for address in addresses for part in address.path.split("/") if _TOKEN.fullmatch(part)]
    return (*key, *endpoint.headers.values(), *credentials, *endpoint.query.values(), *passwords, *tokens)


_TOKEN = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{16,}")
"""A part of a path that is long and has letters and digits: some gateways put a key there."""


_CREDENTIALS = ("authorization", "proxy-authorization")


def _spellings(character: str) -> str:
    """A pattern for one character as it is, and as URLs, JSON and HTML write it."""
    if character.isascii() and character.isalnum():
        return character
    if character.isspace():
        return r"(?:\s+|\+|%20)"
    encoded = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))
    # PHP writes `\/` in its JSON.
    spelled = {character, encoded, json.dumps(character)[1:-1], f"\\{character}", html.escape(character)}
    return f"(?:{'|'.join(map(re.escape, sorted(spelled, key=len, reverse=True)))})"
