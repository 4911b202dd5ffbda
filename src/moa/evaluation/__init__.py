"""Measure mixtures: datasets, systems, judges, length control, statistics, the report.

Needs the `eval` extra. Nothing here is imported by `import moa`.

::

    from moa.evaluation import evaluate, write_report

    done = evaluate("starter", "bedrock-haiku", baseline="sonnet.json", judge="alpaca_eval_gpt4_turbo", out="runs/a")
    print(write_report(done.folder).summary.conclusion.sentence)

Raises:
    MissingDependency: When it is imported and one of the packages that most of it needs isn't installed.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from moa.errors import MissingDependency

if TYPE_CHECKING:
    from moa.evaluation._pipeline import Evaluation, aevaluate, evaluate
    from moa.evaluation._reporting import write_report
    from moa.evaluation._runner.progress import Progress

__all__ = ["Evaluation", "Progress", "aevaluate", "evaluate", "write_report"]

_HOMES = {
    "Evaluation": "_pipeline",
    "aevaluate": "_pipeline",
    "evaluate": "_pipeline",
    "Progress": "_runner.progress",
    "write_report": "_reporting",
}

# Here, as the import of any part of this package comes by; what few parts need, they ask for themselves.
if not all(map(find_spec, ("altair", "numpy", "scipy", "sklearn"))):
    raise MissingDependency.of("moa eval", extra="eval")


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'moa.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"moa.evaluation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
