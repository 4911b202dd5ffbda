"""What is wrong with a system's answers apart from their quality: cut off, empty, refused, leaking."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moa.evaluation._analysis.text_heuristics import holds_judge_marks, leaks, looks_cut_off, refuses
from moa.evaluation._data.outputs import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputIssues:
    """How many of a system's answers show what.

    Attributes:
        n: Answers.
        cut_off: Ended at max_tokens by their finish reason; None where no answer says how it ended.
        looks_cut_off: Long, and ends in mid-sentence.
        empty: Without text.
        refusals: Begin by declining.
        leaks: Talk of the proposals behind them.
        judge_marks: Hold marks that change a judge's prompt.
    """

    n: int
    cut_off: int | None
    looks_cut_off: int
    empty: int
    refusals: int
    leaks: int
    judge_marks: int

    def as_dict(self) -> dict[str, Any]:
        """The counts by name."""
        return asdict(self)


def output_issues(outputs: Sequence[Output]) -> OutputIssues:
    """Return the counts of one system's answers.

    Args:
        outputs: Of one system; answers that failed count as empty.
    """
    known = [output.finish_reason for output in outputs if output.finish_reason is not None]
    return OutputIssues(
        n=len(outputs),
        cut_off=known.count("length") if known else None,
        looks_cut_off=sum(looks_cut_off(output.output) for output in outputs),
        empty=sum(not output.output.strip() for output in outputs),
        refusals=sum(refuses(output.output) for output in outputs),
        leaks=sum(leaks(output.output, output.instruction) for output in outputs),
        judge_marks=sum(holds_judge_marks(output.output) for output in outputs),
    )


def is_cut_off(output: Output) -> bool:
    """Return whether one answer was cut off: by how it ended, or, where nothing says so, by how its text ends."""
    if output.finish_reason is None:
        return looks_cut_off(output.output)
    return output.finish_reason == "length"
