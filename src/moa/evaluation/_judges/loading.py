"""Judges by name."""

from collections.abc import Mapping, Sequence
from typing import Literal

from moa._mixture.loading import single
from moa.errors import EvaluationDataError
from moa.evaluation._judges.alpaca_eval import OFFICIAL, alpaca_eval_judge
from moa.evaluation._judges.arena_hard import ARENA_HARD
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.model_judge import model_judge
from moa.evaluation._judges.pairwise import PAIRWISE, by_lot
from moa.evaluation._judges.panel import panel

_PROMPTS = {"pairwise": PAIRWISE, "arena_hard": ARENA_HARD}

ASKS_ANY_MODEL = tuple(_PROMPTS)
"""Judges that have no model of their own."""

ALIASES = {"alpaca_eval_gpt4_turbo": OFFICIAL}

TOKENS = 4096
"""Tokens that a pairwise judge, or a rubric's, may write unless told otherwise: room for thinking and a reason."""

Orders = Literal["one", "both"]


def load_judge(
    name: str,
    *,
    judge_model: str | Sequence[str] | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    orders: Orders | None = None,
) -> Judge:
    """Return a judge by its name.

    Args:
        name: `alpaca_eval_gpt4_turbo`, `pairwise`, `arena_hard`, or an evaluator of the alpaca-eval package.
        judge_model: Reference of the model to ask in place of the judge's own; `pairwise` and `arena_hard` need one.
            Several make a panel: each judges every pair.
        temperature: In place of the judge's own (0 for `pairwise`).
        max_tokens: The most that it writes about a pair, thoughts included, in place of its own (`TOKENS` for
            `pairwise`).
        orders: Whether it is shown each pair in `one` order by lot, or in `both`, in place of its own way: `both` for
            `pairwise`, `one` for the others.

    Raises:
        MissingDependency: The judge is one of AlpacaEval's and its package isn't installed.
        EvaluationDataError: There is no such judge, it can't be used here, or it needs a model.
        MixtureError: The model's reference is wrong.
    """
    given = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = {key: value for key, value in given.items() if value is not None}
    models = (judge_model,) if isinstance(judge_model, str) or judge_model is None else tuple(judge_model)
    judges = tuple(_one(name, model, sampling, orders) for model in dict.fromkeys(models or (None,)))
    return judges[0] if len(judges) == 1 else panel(judges)


def _one(name: str, model: str | None, sampling: Mapping[str, float | int], orders: Orders | None) -> Judge:
    if name not in _PROMPTS:
        return alpaca_eval_judge(ALIASES.get(name, name), model, both=orders == "both", sampling=sampling)
    if model is None:
        raise EvaluationDataError(f"the judge {name} asks any model: say which by --judge-model ENDPOINT/MODEL")
    is_one = orders == "one"
    if is_one and name == "arena_hard":
        raise EvaluationDataError("the judge arena_hard is shown both orders: leave --judge-orders out")
    return model_judge(
        f"{name}{'-one-order' if is_one else ''}@{model}",
        single(model, **{"temperature": 0.0, "max_tokens": TOKENS, **sampling}),
        _PROMPTS[name],
        shows_system_first=by_lot if is_one else None,
    )
