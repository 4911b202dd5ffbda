"""Showing values in notebooks: which value is shown by which function.

`import moa` in a notebook registers this with IPython. Values know nothing of how they are shown, and neither they nor
their pictures are imported before one is shown.
"""

from importlib import import_module
from typing import Any

_PICTURES = {
    ("moa.mixture.schema", "Mixture"): ("moa.render.notebook", "mixture_html"),
    ("moa.proposals", "Answer"): ("moa.render.notebook", "answer_html"),
    ("moa.ledger", "Ledger"): ("moa.render.waterfall", "waterfall_html"),
    ("moa.evaluation.evaluating", "Evaluation"): ("moa.evaluation.notebook", "evaluation_html"),
    ("moa.evaluation.running.progress", "Progress"): ("moa.evaluation.notebook", "progress_html"),
    ("moa.evaluation.findings.summary", "Summary"): ("moa.evaluation.notebook", "summary_html"),
    ("moa.evaluation.reporting", "Written"): ("moa.evaluation.notebook", "written_html"),
}
"""Module and name of a type; module and name of the function that gives its HTML."""


def register(shell: Any) -> None:
    """Have an IPython shell show our values as HTML.

    Args:
        shell: What `get_ipython()` returns.
    """
    formatter = shell.display_formatter.formatters["text/html"]
    for (home, name), (module, function) in _PICTURES.items():
        formatter.for_type_by_name(home, name, _Shown(module, function))


class _Shown:
    """A function that is imported when it is first called."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, value: Any) -> str:
        html: str = getattr(import_module(self._module), self._name)(value)
        return html
