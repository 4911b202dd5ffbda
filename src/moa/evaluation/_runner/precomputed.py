"""Outputs out of files as records, and records as rows of outputs files."""

from moa._pricing.price import multiply
from moa._usage import json_usd
from moa.evaluation._data.datasets import Instruction
from moa.evaluation._data.outputs import Output
from moa.evaluation._runner.records import Record
from moa.evaluation._runner.systems import System


def precomputed_record(system: System, instruction: Instruction) -> Record:
    """Return what a file of outputs has for a prompt, as a record; nothing was bought for it."""
    output = (system.outputs or {}).get(instruction.text)
    if output is None or not output.output.strip():
        why = "the file has no output for this prompt" if output is None else output.error or "the output is empty"
        error = {"code": "missing_output", "message": why}
        return Record(system=system.name, index=instruction.index, status="failed", error=error, derived=True)
    known = output.usage is not None and system.price is not None
    cost = multiply(system.price, output.usage) if known and system.price and output.usage else None
    return Record(
        system=system.name,
        index=instruction.index,
        status="complete",
        output=output.output,
        finish_reason=output.finish_reason,
        seconds=output.seconds,
        usage=output.usage,
        cost_usd=json_usd(cost),
        priced_usd=json_usd(cost) or 0.0,
        derived=True,
    )


def output_of(record: Record, instruction: Instruction) -> Output:
    """Return a record as a row of an outputs file; one that failed has an empty output and its error."""
    return Output(
        instruction=instruction.text,
        output=record.output,
        generator=record.system,
        dataset=instruction.category or instruction.dataset,
        usage=record.usage,
        seconds=record.seconds,
        finish_reason=record.finish_reason,
        error=None if record.error is None else f"{record.error['code']}: {record.error['message']}",
    )
