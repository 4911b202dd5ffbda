"""Validation errors in plain language: the key, the expected and the actual value, and the likely intention."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from moa._validation.suggestions import did_you_mean

Key = tuple[str | int, ...]
"""The location of a value: mapping keys and list indices from the top."""


def _not_text(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("float_type", "expected a number")
    return value


NUMERIC = BeforeValidator(_not_text)
"""Refuses quoted numbers and booleans where a number is expected."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMERIC]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMERIC]
Text = Annotated[str, StringConstraints(strict=True, pattern=r"\S")]
"""Text that is not only white space."""


_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")


class StrictModel(BaseModel):
    """Base of every value in a checked file: frozen, and an unknown key is an error.

    Attributes:
        refused: Keys that are known but can't be used yet, each with its error message. Remove an entry to enable
            the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    refused: ClassVar[Mapping[str, str]] = {}

    @field_validator("*", mode="after")
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> Any:
        sentence = cls.refused.get(info.field_name or "")
        if sentence and value != cls.model_fields[info.field_name or ""].get_default(call_default_factory=True):
            raise PydanticCustomError("refused", "{sentence}", {"sentence": sentence})
        return value


def located_error(message: str, *at: str | int) -> PydanticCustomError:
    """Return an error for a model validator to raise, located at a key of that model."""
    return PydanticCustomError("fault", "{message}", {"message": message, "at": at})


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[Key, str]:
    """Return the key of the first error and its message.

    Values are omitted where the model requires it (`hide_input_in_errors`), as they may be secrets.
    """
    found = explain_all(error, model)
    unknown = {_key(finding) for finding in error.errors(include_url=False) if finding["type"] in _UNKNOWN_KEY}
    key, message = next((one for one in found if one[0] in unknown), found[0])
    return key, f"{message} (and {len(found) - 1} more to correct)" if len(found) > 1 else message


def explain_all(error: ValidationError, model: type[BaseModel]) -> Sequence[tuple[Key, str]]:
    """Return the key and message of every error, but only the first error of each key."""
    findings: dict[Key, ErrorDetails] = {}
    for finding in error.errors(include_url=False):
        findings.setdefault(_key(finding), finding)
    return [(key, _sentence(finding, key, model)) for key, finding in findings.items()]


def first_finding(error: ValidationError) -> str:
    """Return the first error in a file that this program wrote, without the value, on one line."""
    finding = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, finding["loc"]))
    return f"{place}: {finding['msg']}" if place else finding["msg"]


def _key(finding: ErrorDetails) -> Key:
    place = finding["loc"]
    if "[key]" in place:  # pydantic's mark of an invalid mapping key
        place = place[: place.index("[key]")]
    return (*place, *finding.get("ctx", {}).get("at", ()))


def _sentence(finding: ErrorDetails, key: Key, model: type[BaseModel]) -> str:
    context = finding.get("ctx", {})
    match finding["type"]:
        case kind if kind in _UNKNOWN_KEY:
            known = _known_keys(model, key[:-1])
            return f"unknown key{did_you_mean(str(key[-1]), known) or '.'} Known here: {', '.join(known)}"
        case "missing" | "missing_keyword_only_argument":
            return "missing: this key is needed"
        case "value_error":
            return str(context["error"])
        case "refused" | "fault":
            return finding["msg"]
    hidden = model.model_config.get("hide_input_in_errors", False)
    return f"expected {_expected(finding)}, got {_got(finding['input'], hidden=hidden)}" + _meant(finding)


_PLAIN = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "decimal_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "model_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "greater_than": "a value greater than {gt:g}",
    "greater_than_equal": "a value of at least {ge:g}",
    "less_than": "a value less than {lt:g}",
    "less_than_equal": "a value of at most {le:g}",
    "string_too_short": "text that is not empty",
    "too_short": "a list that is not empty",
    "string_pattern_mismatch": "text that is not empty",
}


def _expected(finding: ErrorDetails) -> str:
    plain = _PLAIN.get(finding["type"])
    if plain:
        return plain.format_map(finding.get("ctx", {}))
    return finding["msg"].removeprefix("Input should be ")


def _got(value: object, *, hidden: bool) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str() if hidden:
            return "text"
        case int() | float() if hidden:
            return "a number"
        case str() | int() | float():
            return f"{value!r:.80}"
    return f"a {type(value).__name__}"


def _meant(finding: ErrorDetails) -> str:
    if finding["type"] != "literal_error" or not isinstance(finding["input"], str):
        return ""
    known = [word.strip("'") for word in finding["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    return did_you_mean(finding["input"], known)


def _known_keys(model: type[BaseModel], key: Key) -> tuple[str, ...]:
    """Return the type at a location, which leads through fields of models, items of tuples and values of mappings."""
    kind: Any = model
    for part in key:
        kind = _inside(kind, part)
    return tuple(_fields(kind))


def _inside(kind: Any, part: str | int) -> Any:
    kind = _core(kind)
    return _fields(kind)[str(part)] if _fields(kind) else get_args(kind)[0 if isinstance(part, int) else 1]


def _core(kind: Any) -> Any:
    """Return the type without `| None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(member for member in get_args(kind) if member is not types.NoneType)
    return kind


def _fields(kind: Any) -> dict[str, Any]:
    kind = _core(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind)}
    return {}
