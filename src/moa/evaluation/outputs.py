"""Outputs of a system in AlpacaEval's file format, which the official command reads as it is."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import TypeAdapter, ValidationError

from moa.errors import EvaluationDataError
from moa.usage import TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one system answered to one instruction.

    Attributes:
        instruction: The prompt.
        output: The answer; empty where the system gave none.
        generator: The system's name.
        dataset: The part of the benchmark, or the category, that the instruction belongs to; None if unknown.
        index: Place of the instruction in its prompts, from 0; None in files that don't say.
        usage: Tokens of all calls behind the answer; None if unknown.
        seconds: From the question to the whole answer; None if unknown.
        finish_reason: `length` marks an answer that was cut off; None if unknown.
        status: `complete`, `degraded` or `failed`; None if unknown.
    """

    instruction: str
    output: str
    generator: str
    dataset: str | None = None
    index: int | None = None
    usage: TokenUsage | None = None
    seconds: float | None = None
    finish_reason: str | None = None
    status: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as AlpacaEval writes it, with usage and times under the names of the extended format."""
        row: dict[str, Any] = {"instruction": self.instruction, "output": self.output, "generator": self.generator}
        row |= {} if self.dataset is None else {"dataset": self.dataset}
        if self.usage is not None:
            row |= {"input_token_usage": self.usage.input_tokens, "output_token_usage": self.usage.output_tokens}
        more = {
            "total_time": self.seconds,
            "finish_reason": self.finish_reason,
            "status": self.status,
            "index": self.index,
        }
        return row | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    instruction: str
    output: str
    generator: str = "unknown"
    dataset: str | None = None
    index: int | None = None
    input_token_usage: int | None = None
    output_token_usage: int | None = None
    total_time: float | None = None
    finish_reason: str | None = None
    status: str | None = None

    def value(self) -> Output:
        known = self.input_token_usage is not None and self.output_token_usage is not None
        usage = TokenUsage(input_tokens=self.input_token_usage or 0, output_tokens=self.output_token_usage or 0)
        timed = self.total_time is not None and math.isfinite(self.total_time)
        return Output(
            instruction=self.instruction,
            output=self.output,
            generator=self.generator,
            dataset=self.dataset,
            index=self.index,
            usage=usage if known else None,
            seconds=self.total_time if timed else None,
            finish_reason=self.finish_reason,
            status=self.status,
        )


_ROWS = TypeAdapter(list[_Row])


def read_outputs(path: Path) -> list[Output]:
    """Return the outputs of a JSON file in AlpacaEval's format, in the file's order.

    Args:
        path: A JSON list of objects; fields that are not known are ignored.

    Returns:
        At least one output.

    Raises:
        EvaluationDataError: The file can't be read, is not such a list, or is empty.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationDataError(f"can't be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise EvaluationDataError(f"is not JSON: {error}", path=path) from error
    outputs = [row.value() for row in _checked(rows, path)]
    if not outputs:
        raise EvaluationDataError("holds no output", path=path)
    return outputs


def write_outputs(path: Path, outputs: Sequence[Output]) -> None:
    """Write outputs to a file, whole or not at all."""
    write_rows(path, [output.as_dict() for output in outputs])


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a JSON list, whole or not at all: a killed process leaves the former file.

    Raises:
        EvaluationDataError: The file can't be written.
    """
    try:
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False) as file:
            json.dump(rows, file, ensure_ascii=False, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
    except OSError as error:
        raise EvaluationDataError(f"can't be written: {error.strerror}", path=path) from error


def _checked(rows: object, path: Path) -> list[_Row]:
    try:
        return _ROWS.validate_python(rows)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        row, *key = first["loc"] or (None,)
        raise EvaluationDataError(
            f"is not in AlpacaEval's output format: {first['msg']}",
            path=path,
            row=row + 1 if isinstance(row, int) else None,
            key=".".join(map(str, key)) or None,
        ) from error
