"""What a server's error says, in whichever of the many shapes that "OpenAI-compatible" servers use."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from moa.providers._redaction import NO_SECRETS, Secrets

MOST_SHOWN = 500
"""Characters of a server's words that an error shows; some send whole web pages."""

MOST_SEARCHED = 4000
"""Characters of an error in which a refused part of the request is looked for."""

_MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_KEYS_OF_MESSAGE = ("message", "detail", "error_msg", "error_message", "msg", "status_msg", "title", "reason")
_KEYS_OF_CODE = ("code", "type", "status", "error_type", "error_code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """An error in a server's own words; what it didn't say is empty.

    Attributes:
        message: For people.
        code: Code and type, e.g. `rate_limit_exceeded`, lower-cased and joined by a space.
        status: HTTP status that the body itself names, None if it names none.
        parameter: The request's field that is to blame.
        whole: The beginning of all that was sent, where gateways bury what the service behind them said; not shown.
    """

    message: str = ""
    code: str = ""
    status: int | None = None
    parameter: str = ""
    whole: str = field(default="", repr=False)


def parse_error_body(body: bytes, secrets: Secrets = NO_SECRETS) -> ErrorBody:
    """Return what the body of an error reply says; text and web pages are shortened, after secrets were hidden."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Web pages of proxies are mostly markup: taking it from a bounded piece keeps this quick.
        value = _MARKUP.sub(" ", secrets.beginning(body.decode("utf-8", "replace"), 20 * MOST_SHOWN))
    return error_body_of(value, secrets)


def error_body_of(value: object, secrets: Secrets = NO_SECRETS) -> ErrorBody:
    """Return what an error object says: `{"error": …}`, a text, a list of errors, or fields at the top level."""
    complaint = _found(value)
    message = secrets.beginning(" ".join(complaint.message.split()), MOST_SHOWN)
    whole = _words(value)[:MOST_SEARCHED].replace("\\", "")
    return replace(complaint, message=message, whole=whole)


def is_error(reply: Mapping[str, Any]) -> bool:
    """Return whether an object that came with a good status, but without a choice, is an error."""
    if reply.get("error") or reply.get("errors") or reply.get("object") == "error" or reply.get("success") is False:
        return True
    own = reply.get("base_resp")
    if isinstance(own, dict):
        return bool(own.get("status_code"))
    if any(reply.get(key) for key in ("detail", "error_msg", "error_message")):
        return True
    # A message alone may be progress: "loading the model".
    fails = any(_is_failure(reply.get(key)) for key in ("code", "status", "status_code", "type"))
    return fails and bool(reply.get("message") or reply.get("msg"))


def _is_failure(code: object) -> bool:
    text = str(code).lower()
    return int(text) >= 400 if text.isdecimal() else any(word in text for word in ("err", "fail", "invalid"))


def _found(value: Any) -> ErrorBody:
    match value:
        case [first, *_]:
            return _found(first)
        case {"error": str() as name} if name:
            # Beside a sentence, it is no more than a name: "Bad Request", "INSUFFICIENT QUOTA".
            sentences = (str(value[key]) for key in _KEYS_OF_MESSAGE if isinstance(value.get(key), str))
            return _flat({**value, "message": ": ".join(filter(None, (name, next(sentences, ""))))})
        case {"error": dict() | list() as inner} if inner:
            return _found(inner)
        case {"detail": [{"msg": str(message)} as fault, *_]}:
            return _invalid_field(message, fault)
        case {"message": dict() as inner} | {"detail": dict() as inner} | {"base_resp": dict() as inner} if inner:
            return _found(inner)
        case {"errors": [first, *_]}:
            return _found(first)
        case dict():
            return _flat(value)
    return ErrorBody(message=str(value))


def _invalid_field(message: str, fault: Mapping[str, Any]) -> ErrorBody:
    # What FastAPI and pydantic report: the place is a path such as ["body", "stream_options"].
    place = fault.get("loc")
    names = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
    return ErrorBody(
        message=f"{'.'.join(names)}: {message}" if names else message,
        code=str(fault.get("type", "")).lower(),
        parameter=names[0] if names else "",
    )


def _flat(error: Mapping[str, Any]) -> ErrorBody:
    message = next((error[key] for key in _KEYS_OF_MESSAGE if error.get(key)), error)
    if (inner := _json_in(message)) is not None:
        # A gateway gives what the service behind it said as a text.
        return _found(inner)
    raw = error.get("metadata", {}).get("raw") if isinstance(error.get("metadata"), dict) else None
    codes = [str(error[key]).lower() for key in _KEYS_OF_CODE if error.get(key)]
    parameter = error["param"] if isinstance(error.get("param"), str) else ""
    text = f"{_words(message)}: {_words(raw)}" if raw else _words(message)
    return ErrorBody(
        message=text if parameter in text else f"{text} ({parameter})",
        code=" ".join(code for code in codes if not code.isdigit()),
        status=next((int(code) for code in codes if code.isdigit() and 400 <= int(code) <= 599), None),
        parameter=parameter,
    )


def _json_in(message: object) -> dict[str, Any] | None:
    if not isinstance(message, str) or not message.lstrip().startswith("{"):
        return None
    try:
        value = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _words(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
