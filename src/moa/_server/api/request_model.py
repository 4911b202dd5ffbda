"""Request bodies as checked values: fields are sorted by the tables of known fields, then checked for their types."""

import codecs
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from moa._messages import whole_characters
from moa._server.api.known_fields import DROPPED, Known, Refusal, Table, rule_for, variants
from moa._server.http.errors import RequestError
from moa._validation.strict_model import explain
from moa._validation.suggestions import did_you_mean


class RequestModel(BaseModel):
    """Base of every part of a request's body: nothing is guessed, and nothing is dropped silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_HALF = re.compile(rb"\\u[dD][89a-fA-F]")

M = TypeVar("M", bound=RequestModel)


def _as_integer(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_as_integer)]
"""A whole number, also with a point and zeros behind it: JSON, and JSON Schema, know no difference."""


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        RequestError: It is none.
    """
    try:
        value = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
    except orjson.JSONDecodeError as error:
        value = _with_whole_characters(body, error)
    if not isinstance(value, dict):
        raise RequestError(400, "invalid_json", "the body is not a JSON object")
    return value


def _with_whole_characters(body: bytes, error: ValueError) -> Any:
    """A body with half of a character in it, as JavaScript writes a text that was cut, with U+FFFD in its place."""
    try:
        if not _HALF.search(body):
            raise error
        return orjson.loads(whole_characters(json.dumps(json.loads(body), ensure_ascii=False, allow_nan=False)))
    except (ValueError, RecursionError):
        raise RequestError(400, "invalid_json", f"the body is not valid JSON (UTF-8): {error}") from None


def parse(model: type[M], body: bytes) -> M:
    """Return a body as a checked value.

    Raises:
        RequestError: It names the first field that is wrong, what was expected and what is there.
    """
    return validate(model, read_json(body))


def validate(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return fields as a checked value.

    Raises:
        RequestError: It names the first field that is wrong, what was expected and what is there.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        key, sentence = explain(error, model)
        param = ".".join(map(str, key)) or None
        message = f"{param}: {sentence}" if param else sentence
        raise RequestError(400, "invalid_request", message, param=param) from None


def split_request(table: Table, body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request's fields that are honoured, without what is harmless at any depth, and those to pass on.

    Args:
        table: What is known of the API's fields.
        body: The request.

    Raises:
        RequestError: A field or a type of object is refused, or known to no client of the API; it names the place.
    """
    known = table["request"]
    assert isinstance(known, Known)
    honoured = _honoured_fields(table, known, body, "")
    passed_on = {name: value for name, value in body.items() if name in known.passed_on and value is not None}
    return honoured, passed_on


def honoured(table: Table, kind: str, value: Any, at: str) -> Any:
    """Return objects of a kind with their honoured fields alone; what isn't an object or a list stays as it is.

    Args:
        table: What is known of the API's fields.
        kind: The kind of the object, or of each object of a list.
        value: What the request holds.
        at: Where, for errors.

    Raises:
        RequestError: As `split_request`.
    """
    if isinstance(value, list):
        found = [(each, honoured(table, kind, each, f"{at}.{index}")) for index, each in enumerate(value)]
        # An object of which nothing is left asked for nothing.
        return [cleaned for each, cleaned in found if cleaned != {} or each == {}]
    if not isinstance(value, dict):
        return value
    known = rule_for(table, kind, value)
    if known is DROPPED:
        return {}
    if known is None:
        raise _unknown_type(table, kind, value, at)
    if isinstance(known, Refusal):
        what = value.get("role" if kind == "message" else "type")
        raise RequestError(400, "unsupported_parameter", f"{at}: {what!r:.60} is not supported: {known.why}", param=at)
    return _honoured_fields(table, known, value, at)


def _honoured_fields(table: Table, known: Known, fields: Mapping[str, Any], at: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if known.defaults:
        fields = {**known.defaults, **{name: value for name, value in fields.items() if value is not None}}
    for name, value in fields.items():
        place = f"{at}.{name}" if at else name
        if name in known.honoured:
            nested = known.nested.get(name)
            found[name] = honoured(table, nested, value, place) if nested else value
        elif name in known.refused:
            _check_harmless(known.refused[name], value, place)
        elif name not in known.names and value is not None and not (at and value in ([], {}, "")):
            raise _unknown_field(known, name, place)
    return found


def _check_harmless(refusal: Refusal, value: object, at: str) -> None:
    """Raise unless a value of a refused field asks for nothing."""
    if value is None or any(value == known and type(value) is type(known) for known in refusal.harmless):
        return
    raise RequestError(400, "unsupported_parameter", f"{at} is not supported: {refusal.why}", param=at)


def _unknown_field(known: Known, name: str, at: str) -> RequestError:
    hint = did_you_mean(name, sorted(known.names)) or ""
    message = f"{at:.200}: no client of this API has a field {name!r:.80}{hint}"
    return RequestError(400, "unknown_parameter", message, param=at)


def _unknown_type(table: Table, kind: str, value: Mapping[str, Any], at: str) -> RequestError:
    what = value.get("role" if kind == "message" else "type")
    expected = ", ".join(variants(table, kind))
    problem = "it has no type" if what is None else f"{what!r:.60} is not supported"
    return RequestError(400, "invalid_request", f"{at}: {problem}; expected one of {expected}", param=at)


def encode(value: object) -> bytes:
    """Return a value as JSON."""
    return orjson.dumps(value)
