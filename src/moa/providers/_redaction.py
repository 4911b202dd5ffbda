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

SHORTEST_PATH = 4
"""The same for a path, which begins with a slash."""

_HIDDEN = "***"
_LONGEST_SPELLING = 12
"""Most characters that one character takes in any spelling: a percent-encoded one of four bytes."""


class Secrets:
    """Texts that errors don't show, in whichever mixture of plain, URL, JSON and HTML spelling they come back.

    Args:
        texts: The secrets; those shorter than `SHORTEST` are left out.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple({text.strip() for text in texts if len(text.strip()) >= _shortest(text)})

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


def _shortest(text: str) -> int:
    return SHORTEST_PATH if text.startswith("/") else SHORTEST


NO_SECRETS = Secrets()


def texts_of(endpoint: Endpoint) -> tuple[str, ...]:
    """Return everything of an endpoint that may be secret.

    Its key, headers and query, the passwords in its addresses, and what of their paths is no public word.
    """
    key = [endpoint.api_key.get_secret_value()] if endpoint.api_key is not None else []
    # A server may repeat `Authorization: Bearer …` without its first word.
    credentials = [value.partition(" ")[2] for name, value in endpoint.headers.items() if name.lower() in _CREDENTIALS]
    addresses = [urlsplit(address) for address in (endpoint.base_url, endpoint.endpoint_url, endpoint.proxy) if address]
    passwords = [address.password for address in addresses if address.password]
    paths = [text for address in addresses for text in _secrets_of_path(address.path)]
    return (*key, *endpoint.headers.values(), *credentials, *endpoint.query.values(), *passwords, *paths)


def endpoint_label(endpoint: Endpoint) -> str:
    """Return an endpoint's name, and its address or region without secrets: what tells it from others of its name."""
    url = endpoint.base_url or endpoint.endpoint_url
    return f"{endpoint.name} {shown_address(url) if url else endpoint.region or ''}".strip()


def shown_address(address: str) -> str:
    """Return an address without user, password and query, and of its path the public words: so it may be kept."""
    parts = urlsplit(address)
    path = "/".join(part if _PUBLIC.fullmatch(part) else _HIDDEN for part in parts.path.split("/"))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def _secrets_of_path(path: str) -> list[str]:
    """What some gateways take a key from. A part that may be an ordinary word is hidden together with its path only."""
    parts = [part for part in path.split("/") if not _PUBLIC.fullmatch(part)]
    tokens = [part for part in parts if _is_token(part)]
    return tokens if len(tokens) == len(parts) else [*tokens, path.rstrip("/")]


def _is_token(part: str) -> bool:
    """Whether a part of a path is no word, and no name such as `gpt-4o-mini` or `us-east-1`."""
    pieces = [part] if len(part) >= 16 else re.split(r"[-_.]", part)
    return any(_MIXED.fullmatch(piece) or (piece.isdigit() and len(piece) >= SHORTEST) for piece in pieces)


_MIXED = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{6,}")
"""Letters and digits."""

_PUBLIC = re.compile(r"|v[0-9]+((alpha|beta)[0-9]*)?|api|openai|inference|compatible-mode|paas|deployments|models")
"""Parts of the paths of public services."""

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
