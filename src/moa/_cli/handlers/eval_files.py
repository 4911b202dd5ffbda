"""What `moa eval judge | metrics | report | correlate` do once their command lines are understood."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from moa._cli.console import err_console, print_json, say
from moa._cli.eval_options import JudgingOptions
from moa._cli.exit_codes import COMPLETE, FAILED, STOPPED
from moa._cli.handlers.eval import read_options
from moa._cli.handlers.eval_output import reference_data, say_jobs_go_on, show_findings
from moa._config.settings import Settings, load_settings
from moa._render.format import count, usd
from moa._runtime.engine import Engine
from moa.errors import EngineError, EvaluationDataError
from moa.evaluation._analysis.calibration import FILE, read_calibration, write_calibration
from moa.evaluation._analysis.judge_stats import judge_record
from moa.evaluation._analysis.load_run import data_dir_of
from moa.evaluation._analysis.recommendation import MEASURES
from moa.evaluation._data.annotations import Judgement, read_annotations
from moa.evaluation._data.datasets import ALPACA_EVAL
from moa.evaluation._data.outputs import read_outputs
from moa.evaluation._data.reference_data import AlpacaEvalData, load_alpaca_eval_data
from moa.evaluation._judge_files import judge_into, left_out, pairs_of, replies_beside
from moa.evaluation._judges.base import Judge, Pair, Verdict
from moa.evaluation._judges.judge_calls import is_out_of_money
from moa.evaluation._judges.panel import Agreement
from moa.evaluation._judges.self_preference import conflicts
from moa.evaluation._length_control.models import LengthModel
from moa.evaluation._length_control.standard_errors import SERIOUS_INFLATION, length_inflation
from moa.evaluation._metrics.leaderboard import MIN_MODELS, correlate, published, read_ratings
from moa.evaluation._metrics.metrics import Metrics, metrics
from moa.evaluation._metrics.verdicts import verdicts_of
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.preparing import judge_of, require_batch_api
from moa.evaluation._runner.run_directory import RunDirectory


def loaded_judge(given: JudgingOptions, sides: Mapping[str, tuple[str, ...]]) -> Judge:
    """Return the judge of the command line; without a model, one of a maker that is on none of the sides."""
    return judge_of(given["judge"], sides, _settings(given), read_options(given))


def _settings(given: JudgingOptions) -> Settings:
    return load_settings(given["config"]).in_tier(given["tier"])


def judge_files(outputs: Path, reference: Path, out: Path, given: JudgingOptions, *, limit: int | None) -> int:
    """Judge, write the annotations, say what came out, and return the exit code."""
    theirs, mine = read_outputs(reference), read_outputs(outputs)
    pairs = pairs_of(theirs, mine)
    sides = {name: (name,) for pair in pairs for name in (pair.generator_1, pair.generator_2)}
    judge = loaded_judge(given, sides)
    if not given["judge_model"]:
        say(f"judge: {judge.name}; --judge and --judge-model change it")
    warnings = (*left_out(theirs, mine), *conflicts(judge.models, sides))
    say((f"warning: {sentence}" for sentence in warnings), style="yellow")
    rows = judged(judge, pairs, given, out=out, limit=limit)
    return STOPPED if rows is None else _show_judging(rows, judge, out)


def judged(
    judge: Judge, pairs: Sequence[Pair], given: JudgingOptions, *, out: Path, limit: int | None = None
) -> list[Judgement] | None:
    """Return the annotations of the pairs, once they are in the file `out`; what it has already is kept.

    None: the budget is used up, which is said.

    Raises:
        EvaluationDataError: The file can't be read or written, is of other outputs, or the judge can't be read.
        ConfigError, EngineError: As `Judge.judge`.
    """
    try:
        return asyncio.run(_with_progress(judge, pairs, given, out, limit))
    except KeyboardInterrupt:
        if given["half_price"]:
            say_jobs_go_on(out)
        raise
    except EngineError as error:
        if not is_out_of_money(error):
            raise
        say("stopped: the budget is used up. The same command continues with the same amount again", style="yellow")
        return None


async def _with_progress(
    judge: Judge, pairs: Sequence[Pair], given: JudgingOptions, out: Path, limit: int | None
) -> list[Judgement]:
    columns = (
        TextColumn("judging"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    spent = 0.0
    with Progress(*columns, console=err_console(), transient=True) as progress:
        task = progress.add_task("judging", total=len(pairs[:limit]), told="")

        def note(pair: Pair, verdict: Verdict) -> None:
            nonlocal spent
            spent += float(verdict.ledger.spend.priced_usd)
            speed = progress.tasks[task].speed
            rate = f"{speed:.1f}/s " if speed else ""
            progress.update(task, advance=1, told=f"{rate}{usd(spent)}")

        cache, settings, jobs = replies_beside(out), _settings(given), None
        if given["half_price"]:
            require_batch_api(judge.models, settings)
            jobs = out.with_name(f"{out.name}.jobs")
        async with Engine(settings=settings, budget_usd=given["budget"], cache=cache, batch_jobs=jobs) as engine:
            # The pairs of a job are under way at the same time.
            concurrency = given["concurrency"] if jobs is None else len(pairs)
            rows = await judge_into(out, judge, pairs, engine, concurrency=concurrency, on_verdict=note, limit=limit)
            engine.remove_batch_jobs()
        cache.path.unlink(missing_ok=True)
        return rows


def _show_judging(rows: Sequence[Judgement], judge: Judge, out: Path) -> int:
    """Say what came out; judging that gave not one verdict has failed."""
    found = judge_record(verdicts_of(rows))
    parts = [count(found.missing, "verdict") + " missing"]
    if found.flips is not None:
        parts.append(f"{100 * found.flips:.1f}% changed sides with the order")
    if found.ties is not None:
        parts.append(f"{100 * found.ties:.1f}% ties")
    parts.append("price unknown" if found.usd is None else usd(found.usd))
    say(f"{count(found.n, 'pair')} judged by {judge.name}: {', '.join(parts)}. Annotations: {out}")
    say(_agreement(found.agreement))
    if not judge.comparable:
        say("not the leaderboard's scale: that has another judge", style="yellow")
    failure = next((row.failure for row in rows if row.failure), None)
    if failure is not None:
        say(f"the first missing verdict: {failure['message']}", style="yellow")
    return FAILED if found.missing == found.n else COMPLETE


def _agreement(found: Agreement | None) -> list[str]:
    if found is None:
        return []
    kappas = {"all (Fleiss)": found.fleiss} | {
        f"{one} and {other}": kappa for (one, other), kappa in found.pairs.items()
    }
    return [
        f"agreement beyond chance on {found.n} pairs, kappa: "
        + "; ".join(f"{who} {_number(kappa)}" for who, kappa in kappas.items())
    ]


def show_metrics(
    path: Path,
    data_dir: Path | None,
    *,
    align: Literal["instruction", "row"],
    model: str | None,
    as_json: bool,
) -> None:
    """Print the figures of a file of annotations."""
    chosen: LengthModel | None = next((name for name in get_args(LengthModel) if name == model), None)
    rows = verdicts_of(read_annotations(path))
    found = metrics(rows, _data(data_dir), align=align, model=chosen)
    if as_json:
        print_json({"system": found.system, "baseline": found.baseline, **found.as_dict()})
        return
    for line in _lines(found):
        print(line)
    if missing := len(rows) - found.counts.n_total:
        print(f"verdicts missing            {missing:,} of {len(rows):,}: they count for neither side")
    if found.fit is not None and length_inflation(found.fit.design) >= SERIOUS_INFLATION:
        print("Length can't be told from quality: the win rate at equal length extrapolates, and means little.")


def _lines(found: Metrics) -> list[str]:
    counts, interval = found.counts, found.lc_interval
    ends = "" if interval is None else f", {100 * interval.level:g}% interval {interval:.2f}"
    official = found.official_lc_standard_error
    claimed = (
        "" if official is None else f" (the official code says {official:.2f}, which leaves out the weights' error)"
    )
    return [
        f"{found.system} against {found.baseline}",
        f"win rate                    {_percent(counts.win_rate)}, error {_number(counts.standard_error)} points",
        f"{MEASURES[found.lc_model]:27} {_percent(found.length_controlled_win_rate)}{ends}",
        f"                            {found.lc_model}: {found.lc_reason}",
        f"standard error of it        {_number(found.lc_standard_error)} points{claimed}",
        f"wins, losses, draws         {counts.n_wins}, {counts.n_wins_base}, {counts.n_draws} of {counts.n_total}",
        f"discrete win rate           {_percent(counts.discrete_win_rate)}",
        f"mean length                 {found.avg_length:,} characters",
    ]


def report_on(run: Path, data_dir: Path | None, margin: float | None, calibration: Path | None) -> None:
    """Write a run's report and print its verdict; the run keeps a calibration for later reports."""
    folder = RunDirectory(run)
    if calibration is not None:
        write_calibration(run / FILE, read_calibration(calibration))
    manifest = folder.manifest()
    official = manifest.protocol.prompts.source == ALPACA_EVAL
    data_dir = data_dir or data_dir_of(manifest)
    data = reference_data(data_dir) if official or data_dir else None
    written = write_report(run, data, margin=margin)
    show_findings(written.summary)
    say(one.sentence for one in written.summary.readings)
    say(f"Report: {written.html}")


def show_correlation(
    ratings: Path, leaderboard: Path | None, *, column: str | None, names: Path | None, seed: int, as_json: bool
) -> None:
    """Print how far a leaderboard and other ratings agree."""
    board = published() if leaderboard is None else read_ratings(leaderboard)
    found = correlate(board, read_ratings(ratings, column), seed=seed, names=None if names is None else _names(names))
    interval = None if found.interval is None else found.interval.ends
    models = count(len(found.models), "common model")
    if as_json:
        figures = {"spearman": found.coefficient, "interval": interval}
        print_json({**figures, "n": len(found.models), "models": list(found.models)})
    elif found.coefficient is None:
        why = "too few" if len(found.models) < MIN_MODELS else "one of the two rates them all alike"
        print(f"no correlation: {models}, {why}")
    else:
        ends = "too few for an interval" if found.interval is None else f"95% interval {found.interval:.3f}"
        print(f"Spearman {found.coefficient:.3f}, {ends}, over {models}")


def _data(folder: Path | None) -> AlpacaEvalData | None:
    return None if folder is None else load_alpaca_eval_data(folder)


def _names(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
    if not isinstance(document, dict):
        raise EvaluationDataError("is not a JSON object of names", path=path)
    return {str(mine): str(theirs) for mine, theirs in document.items()}


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
