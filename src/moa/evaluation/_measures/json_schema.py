"""`json_schema`: the output is JSON that a schema admits."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from jsonschema import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Grade, Measure, graded

_OPENING = re.compile(r"(?<![`~])(```+|~~~+)[ \t]*(?:json\w*|javascript|js)?\s", re.IGNORECASE)


def json_schema(argument: str) -> Measure:
    """Return the measure that an output is JSON of a schema: `json_schema:FILE`, or the `schema` of each row.

    The output is the JSON text, also inside of one code fence. Schemas that a `$ref` names are never fetched.

    Raises:
        UsageError: The file can't be read, or is no schema.
    """
    fixed = _read(Path(argument).expanduser()) if argument else None

    def grade(case: Case) -> Grade:
        validator = _validator(fixed if fixed is not None else case.row["schema"])
        try:
            value = json.loads(_unfenced(case.output.strip("\ufeff \t\r\n")), parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            return 0.0, f"no JSON: {error!s:.100}"
        try:
            wrong = next(iter(validator.iter_errors(value)), None)
        except Unresolvable as error:
            raise ValueError(f"the schema refers to {error!s:.100}, which is not in it") from error
        return (1.0, "") if wrong is None else (0.0, f"{wrong.json_path}: {wrong.message:.150}")

    return graded("json_schema", argument, grade, needs=() if argument else ("schema",))


def _unfenced(text: str) -> str:
    """What a text has in its only code fence; the text if it has none, or several."""
    opening = _OPENING.search(text)
    if opening is None:
        return text
    # A fence inside of a JSON text ends no line: it has no line breaks in its strings.
    closing = re.compile(rf"{opening[1]}[ \t]*\r?$", re.MULTILINE).search(text, opening.end())
    if closing is None or _OPENING.search(text, closing.end()):
        return text
    return text[opening.end() : closing.start()]


def _refused(constant: str) -> NoReturn:
    """NaN and Infinity, which Python reads and no other reader of JSON has to."""
    raise ValueError(f"{constant} is no JSON value")


def _validator(schema: Any) -> Validator:
    schema = json.loads(schema) if isinstance(schema, str) else schema
    if not isinstance(schema, dict):
        raise ValueError("the schema is no JSON object")
    kind = validator_for(schema)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"this is no JSON Schema: {error.message:.150}") from error
    return kind(schema, registry=Registry())


def _read(path: Path) -> Any:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        _validator(schema)
    except (OSError, ValueError) as error:
        raise UsageError(f"--measure json_schema:{path}: {error}") from error
    return schema
