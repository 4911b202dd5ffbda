"""What the commands of `moa eval` show: plans, endings, verdicts, cost and latency."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from moa._cli.console import draw, out_console, print_json, print_sentences, say
from moa._cli.eval_progress import money_parts
from moa._render.format import count, seconds, usd
from moa.errors import EvaluationDataError, MoaError
from moa.evaluation._analysis.cost_latency import Percentiles, economics
from moa.evaluation._analysis.cost_sentence import caching_sentence, cost_sentence
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._analysis.measured import Measured
from moa.evaluation._analysis.recommendation import MEASURES, JudgeChecks, Ratio, VerdictBasis, why_undecidable
from moa.evaluation._analysis.summary import Summary
from moa.evaluation._data.annotations import read_annotations
from moa.evaluation._data.datasets import ALPACA_EVAL
from moa.evaluation._data.huggingface import reference_folder
from moa.evaluation._data.reference_data import AlpacaEvalData, load_alpaca_eval_data
from moa.evaluation._judges.self_preference import conflicts
from moa.evaluation._metrics.paired_difference import Comparison, compare
from moa.evaluation._metrics.verdicts import Annotations, verdicts_of
from moa.evaluation._pipeline import Evaluation
from moa.evaluation._report import format as figures
from moa.evaluation._runner.cost_estimate import Need, Plan
from moa.evaluation._runner.progress import Progress
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.systems import sides_of
from moa.evaluation._statistics.estimates import Estimate


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print what an evaluation would take."""
    if as_json:
        print_json(plan.as_dict())
        return
    console, table = out_console(), _table("system", "calls", "tokens in", "tokens out", "cost")
    for need in (*plan.needs, plan.total):
        table.add_row(need.name, f"{need.calls:,}", f"{need.input_tokens:,}", f"{need.output_tokens:,}", _cost(need))
    console.print(table)
    console.print(f"\n{count(plan.prompts, 'prompt')}, about {seconds(60 * plan.minutes)}.", soft_wrap=True)
    total = plan.total
    if total.cached_input_tokens:
        share = f"{total.cached_input_tokens / total.input_tokens:.0%}"
        console.print(f"Services' prompt caches: {share} of input, {usd(total.saved_usd)} saved.", soft_wrap=True)
    if total.unpriced:
        console.print(f"Unknown prices: {', '.join(total.unpriced)}.", soft_wrap=True)
    for assumption in plan.assumptions:
        console.print(f"- {assumption}", soft_wrap=True)


def _cost(need: Need) -> str:
    if not need.unpriced:
        return usd(need.priced_usd)
    return f"{usd(need.priced_usd)} + unknown" if need.priced_usd else "unknown"


def show_warnings(spec: Spec) -> None:
    """Print what has to be known before anything is bought."""
    found = conflicts(spec.judging_models, sides_of(spec.systems))
    say((f"warning: {sentence}" for sentence in found), style="yellow")


def show_judge(spec: Spec) -> None:
    """Print on standard error whom nobody has named: the judge, and on what scale its figures are."""
    judge = spec.judge
    if judge is not None:
        scale = "" if judge.comparable else ", which is not the leaderboard's scale"
        say(f"judge: {judge.name}{scale}; --judge and --judge-model change it")


def show_ended(done: Evaluation, spec: Spec) -> None:
    """Print on standard error how an evaluation ended and where everything is."""
    progress = done.progress
    known, *besides = money_parts(progress)
    spent = f"{known} spent{', besides ' if besides else ''}{' and '.join(besides)}"
    there = f"{progress.answers:,} of {progress.answers_total:,} answers"
    if progress.verdicts_total:
        there += f" and {progress.verdicts:,} of {progress.verdicts_total:,} verdicts"
    if done.ended == "budget":
        say(
            f"stopped: the budget of {usd(spec.budget_usd or 0.0)} does not last for more ({spent}). {there} "
            f"are there; the same command with a larger --budget continues",
            style="yellow",
        )
    elif done.ended == "decided" and done.settlement is not None:
        say(
            f"decided after {len(done.settlement.prompts):,} of {len(spec.instructions):,} prompts; {there}, {spent}"
            f"{_saved(progress)}"
        )
    else:
        say(f"{there}, {spent}")
    if progress.failed:
        again = "; the same command asks again" if spec.asked else ""
        say(f"{count(progress.failed, 'answer')} failed: a system's is a loss, the baseline's leaves no verdict{again}")
    if progress.unjudged:
        say(f"{count(progress.unjudged, 'verdict')} missing: the judge failed; the same command asks again")
    if done.cause is not None:
        say(f"  mostly: {done.cause}")
    if done.damaged:
        say(f"{count(len(done.damaged), 'cell')} damaged on the disk, filled again: {'; '.join(done.damaged[:3])}")
    say(f"Results: {done.folder}")


def _saved(progress: Progress) -> str:
    """What all verdicts would have cost besides; what is left is taken to cost what the rest has."""
    if not progress.verdicts or progress.verdicts >= progress.verdicts_total:
        return ""
    share = 1 - progress.verdicts / progress.verdicts_total
    text = f"; {100 * share:.0f}% of the judging saved"
    if progress.unpriced or not progress.spent_usd:
        return text
    return f"{text}, about {usd(progress.spent_usd * share / (1 - share))}"


def say_jobs_go_on(answers: Path) -> None:
    """Print on standard error that batch jobs outlive the command, and how `moa batch -o` shows and ends them."""
    say("batch jobs at the services go on: the same command collects them")
    say(f"`moa batch -o {answers} --status` shows them, and --cancel ends them")


def show_report(folder: Path, spec: Spec, *, data_dir: Path | None, as_json: bool) -> None:
    """Write the report, and print the verdict on standard output."""
    # Imported here: it loads what draws charts, which plans and latencies do without.
    from moa.evaluation._reporting import write_report

    official = spec.prompts.source == ALPACA_EVAL
    written = write_report(folder, reference_data(data_dir) if official or data_dir else None, margin=spec.margin)
    if as_json:
        print_json(written.summary.as_dict())
    else:
        show_findings(written.summary)
    say(f"Report: {written.html}")


def show_findings(summary: Summary) -> None:
    """Print what an evaluation found: on standard output in sentences, with what qualifies them on standard error."""
    print_sentences(summary.conclusion.sentence)
    if summary.conclusion.proof:
        print_sentences(summary.conclusion.proof)
    if summary.stopped is not None:
        print_sentences(summary.stopped.sentence)
    if summary.best_member is not None:
        print_sentences(summary.best_member.sentence)
    for effect in summary.effects:
        print_sentences(effect.sentence)
    for one in summary.human:
        print_sentences(one.sentence)
    for _, found in groupby(summary.measured, key=lambda one: one.measure):
        draw(_by_measure(list(found)))
    say((f"warning: {warning}" for warning in summary.warnings), style="yellow")


def _by_measure(measured: Sequence[Measured]) -> Table:
    """What one measure says of each system."""
    table = _table(f"\n{measured[0].measure}", "score", "95% interval", "less baseline", "")
    for one in measured:
        value, less = figures.score(one.estimate), figures.difference(one.difference)
        table.add_row(one.system, *value, less[0] if one.difference is None else f"{less[0]} ({less[1]})", one.remark)
    return table


def reference_data(folder: Path | None) -> AlpacaEvalData | None:
    """AlpacaEval's reference data; without it there is no official length control, but still a report."""
    try:
        return load_alpaca_eval_data(folder or reference_folder())
    except MoaError as error:
        say(f"warning: our own model of length is used: {error}", style="yellow")
        return None


def show_latency(folder: Path, *, as_json: bool) -> None:
    """Print cost and latency of every system, and what they come to."""
    evaluation = collect(RunDirectory(folder))
    found = {one.name: economics(one.answers) for one in evaluation.systems}
    known = {name: one for name, one in found.items() if one is not None}
    if as_json:
        print_json({name: one.as_dict() for name, one in known.items()})
        return
    # Two tables: in one, there is no room for the names on a terminal of 80 columns.
    whole = _table("whole answer", "p50", "p95", "p99", "$ per 1,000", "prompts")
    first = _table("first token", "p50", "p95", "p99")
    for name, costs in known.items():
        whole.add_row(name, *_times(costs.total), figures.cost(costs.cost), f"{costs.prompts:,}")
        first.add_row(name, *_times(costs.first_token))
    console = out_console()
    console.print(whole)
    console.print()
    console.print(first)
    console.print()
    for sentence in (cost_sentence(evaluation), caching_sentence(known.items())):
        if sentence:
            console.print(sentence, soft_wrap=True, markup=False, highlight=False)


def show_cost(folder: Path, candidate: str, *, as_json: bool) -> None:
    """Print what a system's outputs cost and how long they took, beside the baseline's."""
    sentence = cost_sentence(replace(collect(RunDirectory(folder)), about=candidate))
    print_json({"sentence": sentence}) if as_json else print_sentences(sentence)


def _table(what: str, *headings: str) -> Table:
    """A table of systems, in which every name stays whole."""
    table = Table(box=None, pad_edge=False)
    table.add_column(what, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _times(found: Percentiles | None) -> tuple[str, str, str]:
    return ("-", "-", "-") if found is None else (seconds(found.p50), seconds(found.p95), seconds(found.p99))


def compare_runs(first: Path, second: Path, *, margin: float, seed: int, data_dir: Path | None, as_json: bool) -> None:
    """Print how the mixtures of two runs compare."""
    data = load_alpaca_eval_data(data_dir) if data_dir else None
    mine, theirs = _annotations(first), _annotations(second)
    found = compare(mine, theirs, data, margin=margin, seed=seed)
    names, baseline = (mine.systems[0], theirs.systems[0]), mine.opponents[0]
    if as_json:
        why = _why_undecidable(found, names, baseline)
        systems = {"first": names[0], "second": names[1], "baseline": baseline}
        print_json({**systems, **_dict(found), "undecidable": why})
        return
    print_sentences(f"{names[0]} (A) and {names[1]} (B) on {count(found.n, 'common prompt')}, against {baseline}:")
    print_sentences(f"win rate, A - B: {_points(found.win_rate_difference)}")
    print_sentences(f"{MEASURES[found.lc_model]} ({found.lc_model}), A - B: {_points(found.lc_difference)}")
    if found.predicted_win_rate is not None:
        one = found.predicted_win_rate
        figure = f"{one.value:.2f}% ({one.interval:.2f})"
        print_sentences(f"win rate of A against B as the official model predicts it: {figure}; not judged")
    if (why := _why_undecidable(found, names, baseline)) is not None:
        print_sentences(why)
    elif found.evidence is not None:
        verdict = found.evidence.controlled
        if found.evidence.consistency is None:
            print_sentences(
                "nothing shows whether the judge keeps its side when two answers change places: no margin is tested"
            )
        more = f", at least {verdict.more_prompts:,} more prompts would settle it" if verdict.more_prompts else ""
        print_sentences(f"verdict with a margin of {margin:g} points: A is {verdict.finding.value}{more}")


def _why_undecidable(found: Comparison, names: tuple[str, str], opponent: str) -> str | None:
    """Why nothing can be said, by the lines that come first in the verdict of a report, too."""
    unknown = Ratio(value=None)
    first, second = names
    return why_undecidable(
        VerdictBasis(
            mixture=first,
            baseline=second,
            evidence=found.evidence,
            judge=JudgeChecks(),
            cost=unknown,
            latency=unknown,
            planned=found.n,
            opponent=opponent,
        )
    )


def _annotations(path: Path) -> Annotations:
    """The annotations of a file, or of the mixture of a run directory."""
    if not path.is_dir():
        return verdicts_of(read_annotations(path))
    found = collect(RunDirectory(path)).candidate.verdicts
    if found is None:
        raise EvaluationDataError("nothing has been judged in this run: give it a --judge", path=path)
    return found


def _points(found: Estimate | None) -> str:
    if found is None:
        return "no figure: too few prompts"
    return f"{found.value:+.2f} points ({found.interval:+.2f})"


def _dict(found: Comparison) -> Mapping[str, Any]:
    verdict = None if found.evidence is None else found.evidence.controlled
    return {
        "n": found.n,
        "win_rate_difference": _estimate(found.win_rate_difference),
        "lc_model": found.lc_model,
        "lc_difference": _estimate(found.lc_difference),
        "predicted_win_rate": _estimate(found.predicted_win_rate),
        "verdict": None if verdict is None else verdict.finding,
        "more_prompts": None if verdict is None else verdict.more_prompts,
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"value": found.value, "standard_error": found.standard_error, "interval": found.interval.ends}
