"""An evaluation as a piece of HTML for notebooks: the verdict, the figures, the chart."""

import base64

from markupsafe import Markup

from moa._render.format import seconds
from moa._render.html import filled
from moa.evaluation._analysis.summary import Summary
from moa.evaluation._pipeline import Evaluation
from moa.evaluation._report.html_report import environment
from moa.evaluation._report.system_rows import system_rows
from moa.evaluation._report.tradeoff import tradeoff
from moa.evaluation._report.vega import svg
from moa.evaluation._reporting import Written
from moa.evaluation._runner.progress import Progress


def summary_html(summary: Summary) -> str:
    """Return what an evaluation found: verdict, warnings, one line for each system, quality against cost and time.

    Raises:
        MissingDependency: The `eval` extra isn't installed.
    """
    picture = tradeoff(summary)
    # As an image: whatever a drawing holds, an image runs nothing.
    source = "" if picture is None else base64.b64encode(svg(picture.document).encode()).decode()
    template = environment(autoescape=True).get_template("notebook.html.j2")
    return template.render(summary=summary, rows=system_rows(summary), picture=picture, source=Markup(source))


def written_html(written: Written) -> str:
    """Return what a report says; errors as in `summary_html`."""
    return summary_html(written.summary)


def evaluation_html(done: Evaluation) -> str:
    """Return how an evaluation ended and how far it came."""
    return filled("notebook_evaluation.html", done=done, elapsed=seconds(done.progress.elapsed_s))


def progress_html(progress: Progress) -> str:
    """Return how far an evaluation is as a bar: `on_progress=display("…", display_id=True).update` keeps it moving."""
    left = "" if not progress.left_s else f", about {seconds(progress.left_s)} left"
    return filled("notebook_progress.html", progress=progress, elapsed=seconds(progress.elapsed_s), left=left)
