"""Judges by name."""

from collections.abc import Sequence

from moa._mixture.loading import single
from moa.errors import EvaluationDataError
from moa.evaluation._judges.alpaca_eval import OFFICIAL, AlpacaEvalJudge, load_evaluator, single_model
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.pairwise import NAME, PairwiseJudge
from moa.evaluation._judges.panel import Panel

ALIASES = {"alpaca_eval_gpt4_turbo": OFFICIAL}

_PAIRWISE_TOKENS = 1024
"""Room for a reason and a verdict, also for models that think first."""


def load_judge(name: str, *, judge_model: str | Sequence[str] | None = None) -> Judge:
    """Return a judge by its name.

    Args:
        name: `alpaca_eval_gpt4_turbo`, `pairwise`, or an evaluator of the alpaca-eval package.
        judge_model: Reference of the model to ask in place of the judge's own; `pairwise` needs one. Several make
            a panel: each judges every pair.

    Raises:
        MissingDependency: The judge is one of AlpacaEval's and its package isn't installed.
        EvaluationDataError: There is no such judge, it can't be used here, or it needs a model.
        MixtureError: The model's reference is wrong.
    """
    models = (judge_model,) if isinstance(judge_model, str) or judge_model is None else tuple(judge_model)
    judges = tuple(_one(name, model) for model in dict.fromkeys(models or (None,)))
    return judges[0] if len(judges) == 1 else Panel(judges=judges)


def _one(name: str, model: str | None) -> Judge:
    if name == NAME:
        if model is None:
            raise EvaluationDataError("the judge pairwise asks any model: say which by --judge-model ENDPOINT/MODEL")
        return PairwiseJudge(model=single(model, temperature=0.0, max_tokens=_PAIRWISE_TOKENS))
    evaluator = load_evaluator(ALIASES.get(name, name))
    return AlpacaEvalJudge(evaluator=evaluator, model=single_model(evaluator, model))
