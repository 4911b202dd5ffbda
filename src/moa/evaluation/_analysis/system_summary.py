"""The figures of one system, as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from moa.evaluation._analysis.collected import Collected, Evaluated, Texts
from moa.evaluation._analysis.cost_latency import CallSums, CostLatency, economics
from moa.evaluation._analysis.judge_stats import JudgeStats, judge_record
from moa.evaluation._analysis.output_issues import IssueCounter, OutputIssues
from moa.evaluation._analysis.verbatim_overlap import Copied, copied, mean_copied
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._length_control.models import fold_spread
from moa.evaluation._metrics.leaderboard import Rank, rank
from moa.evaluation._metrics.metrics import Metrics, metrics
from moa.evaluation._metrics.verdicts import Annotations
from moa.evaluation._statistics.sample_means import ByCategory, by_category


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSummary:
    """The figures of one system; None where they are unknown or make no sense."""

    name: str
    role: str
    output_issues: OutputIssues
    economics: CostLatency | None
    avg_length: float
    metrics: Metrics | None = None
    fold_spread: float | None = None
    categories: ByCategory | None = None
    judged: JudgeStats | None = None
    copied: Mapping[str, Copied] | None = None
    rank: Rank | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {
            "name": self.name,
            "role": self.role,
            "avg_length": self.avg_length,
            "metrics": None if self.metrics is None else self.metrics.as_dict(),
            "fold_spread": self.fold_spread,
            "leaderboard": None if self.rank is None else {"place": self.rank.place, "of": self.rank.of},
            "economics": None if self.economics is None else self.economics.as_dict(),
            "hygiene": asdict(self.output_issues),
            "copied": None
            if self.copied is None
            else {
                agent: {"share": found.share, "only_here": found.only_here, "longest_run": found.longest_run}
                for agent, found in self.copied.items()
            },
            "judge": None if self.judged is None else self.judged.as_dict(),
            "categories": None if self.categories is None else _category_dict(self.categories),
        }


def system_summary(
    system: Evaluated,
    evaluation: Collected,
    texts: Texts,
    data: AlpacaEvalData | None,
    board: Mapping[str, float] | None,
) -> SystemSummary:
    """Return the figures of one system.

    Args:
        system: Which one.
        evaluation: Of which it is part.
        texts: What systems wrote.
        data: AlpacaEval's reference data, or None for other prompts.
        board: Published length-controlled win rates, for a rank; None if it would mean nothing.

    Raises:
        EvaluationDataError: Annotations don't belong together.
    """
    # What takes long is shown for the system that it is all about.
    in_detail, answers, verdicts = system.name == evaluation.about, system.answers, system.verdicts
    issues, calls, copies = IssueCounter(), CallSums(), list[Mapping[str, Copied]]()
    there = zip(evaluation.instructions, answers.is_there.tolist(), strict=True)
    prompts = {one.index: one.text for one, is_there in there if is_there}
    # But for those that another process has added since the columns were read.
    known = (one for one in texts.answers(system.name) if one[0].index in prompts)
    for record, trace in known:
        issues.add(record, prompts[record.index])
        calls.add(record, trace)
        if in_detail and trace.layers and record.has_output:
            copies.append(copied(record.output, {one.agent: one.text for one in trace.layers[-1].proposals}))
    summary = SystemSummary(
        name=system.name,
        role="model" if system.role == "mixture" and system.is_single_model else system.role,
        output_issues=issues.counts(),
        economics=economics(answers, calls),
        avg_length=float(answers.length[answers.is_there].mean()) if answers.asked else 0.0,
        copied=mean_copied(copies) if copies else None,
    )
    if verdicts is None:
        return summary
    found = metrics(verdicts, data)
    win_rate = found.length_controlled_win_rate
    return replace(
        summary,
        metrics=found,
        categories=_categories(verdicts),
        judged=judge_record(verdicts),
        rank=None if board is None or win_rate is None else rank(win_rate, board),
        fold_spread=None if found.fit is None or not in_detail else fold_spread(found.fit.design),
    )


def _categories(verdicts: Annotations) -> ByCategory | None:
    labels = [category or "" for category in verdicts.category.tolist()]
    if len(set(labels)) < 2:
        return None
    return by_category(100.0 * verdicts.won, labels, verdicts.instruction.tolist())


def _category_dict(categories: ByCategory) -> dict[str, Any]:
    return {
        name: None
        if estimate is None
        else {
            "win_rate": estimate.value,
            "interval": estimate.interval.ends,
            "n": estimate.n,
            "p_value": categories.p_values.get(name),
        }
        for name, estimate in categories.estimates.items()
    }
