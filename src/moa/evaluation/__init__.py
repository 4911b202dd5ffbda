"""Measure mixtures: datasets, systems, judges, length control, statistics, the report.

Needs the `eval` extra. Nothing here is imported by `import moa`.

::

    from moa.evaluation import evaluate, write_report

    done = evaluate("starter", "bedrock-current", baseline="sonnet.json", judge="pairwise", out="runs/a")
    print(write_report(done.folder).summary.conclusion.sentence)

Raises:
    MissingDependency: When it is imported and one of the packages that most of it needs isn't installed.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from moa._lazy_imports import lazy_names
from moa.errors import MissingDependency

if TYPE_CHECKING:
    from moa.evaluation._pipeline import Evaluation, aevaluate, evaluate
    from moa.evaluation._reporting import write_report
    from moa.evaluation._runner.preparing import Options
    from moa.evaluation._runner.progress import Progress

__all__ = ["Evaluation", "Options", "Progress", "aevaluate", "evaluate", "write_report"]

# Here, as the import of any part of this package comes by; what few parts need, they ask for themselves.
if not all(map(find_spec, ("altair", "numpy", "scipy", "sklearn"))):
    raise MissingDependency.of("moa eval", extra="eval")

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "._pipeline": ("Evaluation", "aevaluate", "evaluate"),
        "._reporting": ("write_report",),
        "._runner.preparing": ("Options",),
        "._runner.progress": ("Progress",),
    },
)
