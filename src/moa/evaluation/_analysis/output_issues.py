"""What is wrong with a system's answers apart from their quality: cut off, empty, refused, leaking."""

from collections import Counter
from dataclasses import dataclass

from moa.evaluation._analysis.text_heuristics import holds_judge_marks, leaks, looks_cut_off, refuses
from moa.evaluation._data.outputs import Output
from moa.evaluation._runner.records import Record


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


class IssueCounter:
    """Counts what is wrong with a system's answers, which come one after another."""

    def __init__(self) -> None:
        self._ends = Counter[str | None]()
        self._found = dict.fromkeys(("looks_cut_off", "empty", "refusals", "leaks", "judge_marks"), 0)

    def add(self, output: Output | Record, instruction: str) -> None:
        """Count an answer, given its prompt; one that failed counts as empty."""
        text, found = output.output, self._found
        self._ends[output.finish_reason] += 1
        found["looks_cut_off"] += looks_cut_off(text)
        found["empty"] += not text.strip()
        found["refusals"] += refuses(text)
        found["leaks"] += leaks(text, instruction)
        found["judge_marks"] += holds_judge_marks(text)

    def counts(self) -> OutputIssues:
        """Return the counts so far."""
        n = self._ends.total()
        return OutputIssues(n=n, cut_off=None if self._ends[None] == n else self._ends["length"], **self._found)


def is_cut_off(output: Output | Record) -> bool:
    """Return whether one answer was cut off: by how it ended, or, where nothing says so, by how its text ends."""
    if output.finish_reason is None:
        return looks_cut_off(output.output)
    return output.finish_reason == "length"
