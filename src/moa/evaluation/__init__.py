"""Measure mixtures: datasets, systems, judges, length control, statistics, the report.

Needs the `eval` extra. Nothing here is imported by `import moa`.

::

    from moa.evaluation import evaluate

    done = evaluate("starter", "bedrock-haiku", baseline="sonnet.json", judge="alpaca_eval_gpt4_turbo", out="runs/a")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moa.evaluation.evaluating import Evaluation, aevaluate, evaluate
    from moa.evaluation.progress import Progress

__all__ = ["Evaluation", "Progress", "aevaluate", "evaluate"]

_HOMES = {"Evaluation": "evaluating", "aevaluate": "evaluating", "evaluate": "evaluating", "Progress": "progress"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'moa.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"moa.evaluation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
