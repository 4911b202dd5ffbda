"""Outputs of a system in AlpacaEval's file format, with the tokens and times that extended files carry."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from moa._messages import whole_characters
from moa._runtime.prompt_rows import ANSWER_COLUMNS, answers_in, asked_in, text_of
from moa._usage import TokenUsage
from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.rows import read_rows

UNFINISHED = ".unfinished"
"""How the names of files end that are being written; a process that was killed leaves them behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one system answered to one instruction.

    Attributes:
        instruction: The prompt's text.
        output: The answer; empty if there is none.
        generator: The system's name.
        dataset: The part of the benchmark that the instruction belongs to, if known.
        usage: Tokens of all of its calls, None if unknown.
        seconds: Seconds from asking to the whole answer, None if unknown.
        finish_reason: Why the answer ended (`length`: it was cut off), None if unknown.
        error: Why there is no output, None if there is one.
    """

    instruction: str
    output: str
    generator: str
    dataset: str | None = None
    usage: TokenUsage | None = None
    seconds: float | None = None
    finish_reason: str | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """A row as `alpaca_eval` reads it; what is unknown is left out."""
        row = {
            "instruction": self.instruction,
            "output": self.output,
            "generator": self.generator,
            "dataset": self.dataset,
            "input_token_usage": self.usage.input_tokens if self.usage else None,
            "output_token_usage": self.usage.output_tokens if self.usage else None,
            "total_time": self.seconds,
            "finish_reason": self.finish_reason,
            "error": self.error,
        }
        return {key: value for key, value in row.items() if value is not None}


def read_outputs(path: Path) -> tuple[Output, ...]:
    """Return the outputs of a file in AlpacaEval's format.

    Args:
        path: As for `read_rows`. Each row has `instruction` and `output`, maybe `generator`, `dataset`,
            `input_token_usage`, `output_token_usage` and `total_time` (seconds); other fields are ignored. Or it is a
            row of answers that `moa batch` wrote, or has a prompt and an answer in the columns of another tool.

    Returns:
        At least one output, in the file's order. Rows without a generator get the file's stem.

    Raises:
        EvaluationDataError: The file can't be read, has other rows, or is empty.
    """
    rows = read_rows(path)
    if not rows:
        raise EvaluationDataError("holds no output", path=path)
    stem = path.name.split(".")[0]
    return tuple(_output(row, stem, path, number) for number, row in enumerate(rows, 1))


def _output(row: Any, stem: str, path: Path, number: int) -> Output:
    if not isinstance(row, dict):
        raise EvaluationDataError(f"is {type(row).__name__} where an object is expected", path=path, row=number)
    row = _in_own_columns(row)
    return Output(
        instruction=_text(row, "instruction", path, number),
        output=_text(row, "output", path, number),
        generator=str(row.get("generator") or stem),
        dataset=None if row.get("dataset") is None else str(row["dataset"]),
        usage=_usage(row, path, number),
        seconds=_number(row, "total_time", path, number),
        finish_reason=row.get("finish_reason"),
        error=row.get("error"),
    )


_OF_A_BATCH = {
    "answer_input_tokens": "input_token_usage",
    "answer_output_tokens": "output_token_usage",
    "answer_seconds": "total_time",
    "answer_error": "error",
}
"""Columns of the answers that `moa batch` writes, and what they are called here."""


def _in_own_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A row of answers, or of another tool, with AlpacaEval's columns."""
    if {"instruction", "output"} <= row.keys() and not row.get("input") and not row.get("context"):
        return row
    try:
        prompt, answered = asked_in(row)
    except UsageError:
        return row
    answers = answers_in(row, ("output", *ANSWER_COLUMNS)) or answered
    if not answers and row.get("answer_error"):
        answers = [""]
    renamed = {_OF_A_BATCH.get(key, key): value for key, value in row.items()}
    return {**renamed, "instruction": text_of(prompt), **({"output": answers[0]} if answers else {})}


def _text(row: dict[str, Any], key: str, path: Path, number: int) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        found = "missing" if key not in row else "null" if value is None else type(value).__name__
        hint = ': write "" where there is no answer' if key == "output" else ""
        raise EvaluationDataError(f"is {found} where text is expected{hint}", path=path, row=number, key=key)
    return whole_characters(value)


def _usage(row: dict[str, Any], path: Path, number: int) -> TokenUsage | None:
    given = [_number(row, f"{side}_token_usage", path, number) for side in ("input", "output")]
    if given[0] is None or given[1] is None:
        return None
    return TokenUsage(input_tokens=round(given[0]), output_tokens=round(given[1]))


def _number(row: dict[str, Any], key: str, path: Path, number: int) -> float | None:
    value = row.get(key)
    if isinstance(value, str):  # a cell of a CSV file
        with contextlib.suppress(ValueError):
            value = float(value) if value else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise EvaluationDataError(f"expected a number from 0, got {value!r}", path=path, row=number, key=key)
    return float(value)


def write_outputs(path: Path, outputs: Iterable[Output]) -> None:
    """Write outputs as a JSON list; the file is there whole or not at all."""
    with row_writer(path) as write:
        for output in outputs:
            write(output.as_dict())


@contextmanager
def row_writer(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give what writes the next row of a JSON list, which replaces a file once the block ends; as `write_json`."""
    with _replaced(path) as file:
        mark = b"[\n  "

        def write(row: Mapping[str, Any]) -> None:
            nonlocal mark
            file.write(mark + _encoded(row).rstrip().replace(b"\n", b"\n  "))
            mark = b",\n  "

        yield write
        file.write(b"[]\n" if mark.startswith(b"[") else b"\n]\n")


def write_json(path: Path, value: Any) -> None:
    """Write JSON in place of a file, atomically and durably.

    Raises:
        EvaluationDataError: It can't be written.
    """
    with _replaced(path) as file:
        file.write(_encoded(value))


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}"
        try:
            with name.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EvaluationDataError(f"can't be written: {os_reason(error)}", path=path) from error


def _encoded(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half of a character in a text, or a kind of number that only the slow encoder knows
        return json.dumps(value, indent=2).encode("ascii") + b"\n"


def file_name(system: str) -> str:
    """Return a system's name as a file's name without its ending; different systems get different ones."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", system).strip("._") or "system"
    if plain == system and len(plain) <= 100:
        return plain
    return f"{plain[:100]}-{hashlib.sha256(system.encode()).hexdigest()[:6]}"
