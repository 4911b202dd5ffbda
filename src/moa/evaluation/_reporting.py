"""From a run directory to its `summary.json`, `report.html`, `report.md` and charts."""

from dataclasses import dataclass
from pathlib import Path

from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError, MissingDependency
from moa.evaluation._analysis.calibration import FILE as CALIBRATION
from moa.evaluation._analysis.calibration import read_calibration
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._analysis.summary import Summary, summarize
from moa.evaluation._data.outputs import write_json
from moa.evaluation._data.reference_data import AlpacaEvalData
from moa.evaluation._metrics.leaderboard import published
from moa.evaluation._report.html_report import Report, make_report
from moa.evaluation._report.vega import png
from moa.evaluation._runner.run_directory import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written, and what it says.

    Attributes:
        summary: All figures.
        html: The report's path.
    """

    summary: Summary
    html: Path


def write_report(run: Path, data: AlpacaEvalData | None = None, *, margin: float | None = None) -> Written:
    """Return what the report of a run says, once it is written into the run's folder.

    Args:
        run: The run directory.
        data: AlpacaEval's reference data, or None for other prompts.
        margin: Percentage points by which the mixture may be worse and still be comparable; None takes the run's own.

    Raises:
        EvaluationDataError: The folder is no run directory, or can't be read or written.
        MissingDependency: The `eval` extra isn't installed.
    """
    folder = RunDirectory(run)
    collected = collect(folder)
    board = _board() if collected.comparable else None
    calibration = read_calibration(run / CALIBRATION) if (run / CALIBRATION).exists() else None
    margin = folder.manifest().session.margin if margin is None else margin
    summary = summarize(collected, data, margin=margin, board=board, calibration=calibration)
    report = make_report(summary, collected, title=run.resolve().name)
    write_json(run / "summary.json", summary.as_dict())
    _write(run, report)
    return Written(summary=summary, html=run / "report.html")


def _write(run: Path, report: Report) -> None:
    charts = run / "charts"
    try:
        charts.mkdir(exist_ok=True)
        for picture, drawing in report.drawings:
            (charts / f"{picture.name}.svg").write_text(drawing, encoding="utf-8")
            (charts / f"{picture.name}.png").write_bytes(png(picture.document))
        (run / "report.md").write_text(report.markdown, encoding="utf-8")
        (run / "report.html").write_text(report.html, encoding="utf-8")
    except OSError as error:
        raise EvaluationDataError(f"the report can't be written: {os_reason(error)}", path=run) from error


def _board() -> dict[str, float] | None:
    """The published figures, if the package that has them is installed: a rank is no reason to fail."""
    try:
        return published()
    except MissingDependency:
        return None
