"""Showing values in notebooks: which value is shown by which function.

`import moa` in a notebook registers this with IPython. Values know nothing of how they are shown, and neither they nor
their pictures are imported before one is shown.
"""

from importlib import import_module
from typing import Any

_PICTURES = {
    ("moa._mixture.schema", "Mixture"): ("moa._render.notebook", "mixture_html"),
    ("moa._results", "Answer"): ("moa._render.notebook", "answer_html"),
    ("moa._ledger", "Ledger"): ("moa._render.waterfall", "waterfall_html"),
    ("moa.evaluation._pipeline", "Evaluation"): ("moa.evaluation._notebook", "evaluation_html"),
    ("moa.evaluation._runner.progress", "Progress"): ("moa.evaluation._notebook", "progress_html"),
    ("moa.evaluation._analysis.summary", "Summary"): ("moa.evaluation._notebook", "summary_html"),
    ("moa.evaluation._reporting", "Written"): ("moa.evaluation._notebook", "written_html"),
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
