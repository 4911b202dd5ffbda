"""Request bodies as checked values: unknown fields are refused by name, and so is what can't be honoured."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from moa._server.http.errors import RequestError
from moa._validation.strict_model import explain


class RequestModel(BaseModel):
    """Base of every part of a request's body: nothing is guessed, and nothing is dropped silently.

    Attributes:
        refused: Fields that the API has but this server can't honour: values that mean nothing (and are taken), and
            why others are refused.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    refused: ClassVar[Mapping[str, tuple[Collection[object], str]]] = {}


W = TypeVar("W", bound=RequestModel)


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        RequestError: It is none.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, "invalid_json", f"the body is not valid JSON (UTF-8): {error}") from None
    if not isinstance(value, dict):
        raise RequestError(400, "invalid_json", "the body is not a JSON object")
    return value


def parse(model: type[W], body: bytes) -> W:
    """Return a body as a checked value.

    Raises:
        RequestError: It names the first field that is wrong, what was expected and what is there.
    """
    fields = read_json(body)
    for name, (harmless, why) in model.refused.items():
        if name in fields:
            value = fields.pop(name)
            if value is not None and not any(value == known and type(value) is type(known) for known in harmless):
                raise RequestError(400, "unsupported_parameter", f"{name} is not supported: {why}", param=name)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        key, sentence = explain(error, model)
        param = ".".join(map(str, key)) or None
        message = f"{param}: {sentence}" if param else sentence
        raise RequestError(400, "invalid_request", message, param=param) from None


def encode(value: object) -> bytes:
    """Return a value as JSON."""
    return orjson.dumps(value)
