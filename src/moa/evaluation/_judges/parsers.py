"""How the official evaluators read a judge's reply, each as a pure function.

A parser gives the preference in the order of showing: 1 where the output shown first is better, 2 where the second is,
1.5 for a draw, None where the reply says neither. Source of each: alpaca_eval, `completion_parsers.py`.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from scipy.special import logsumexp

from moa._results import Answer
from moa.errors import EvaluationDataError
from moa.evaluation._data.annotations import DRAW

Parser = Callable[[Answer], float | None]

_FENCE = "```json"
_FENCED = re.compile(_FENCE + r"(.*?)```", re.DOTALL)


def parser_of(name: str, arguments: Mapping[str, Any]) -> Parser:
    """Return the parser of an official evaluator.

    Args:
        name: Its name in the official code.
        arguments: As the evaluator's file gives them.

    Raises:
        EvaluationDataError: It is none that is known here.
    """
    steps: Mapping[str, Mapping[str, Any]] = arguments.get("parsers_to_kwargs", {})
    match name:
        case "logprob_parser":
            return partial(from_logprobs, **arguments)
        case "regex_parser":
            return lambda answer: from_matches(written(answer), **arguments)
        case "ranking_parser":
            return lambda answer: from_ranking(written(answer), **arguments)
        case "lmsys_parser":
            return lambda answer: from_scores(written(answer))
        case "pipeline_meta_parser" if list(steps) == ["json_parser", "ranking_parser"]:
            inner, outer = steps.values()
            return lambda answer: from_ranking(from_json(written(answer), **inner), **outer)
    raise EvaluationDataError(f"its replies are read by {', '.join(steps) or name}, which is not supported here")


def written(answer: Answer) -> str:
    """Return the text that is parsed: that of the first tool call if there is one, as the official code takes it."""
    return answer.tool_calls[0].arguments if answer.tool_calls else answer.text


def from_logprobs(
    answer: Answer,
    *,
    numerator_token: str,
    denominator_tokens: Sequence[str],
    is_binarize: bool = True,
    log_prob_index: int | Literal["batch"] = "batch",
) -> float | None:
    """Return 2 - p(first) / (p(first) + p(second)) from the tokens' log probabilities.

    Args:
        answer: With log probabilities; without them there is no verdict.
        numerator_token: What names the output shown first.
        denominator_tokens: What names either.
        is_binarize: Give 1 or 2 by which token is likelier.
        log_prob_index: Which token of the reply; `batch` is the only one of a reply of one token.

    Returns:
        The preference. A token that is not among the reported ones has probability 0; None where both are missing.
    """
    if log_prob_index == "batch" and len(answer.logprobs) != 1:
        return None
    wanted = (*denominator_tokens, numerator_token)
    found = _reported(answer, 0 if log_prob_index == "batch" else log_prob_index, wanted)
    if not found:
        return None
    first = found.get(numerator_token, -math.inf)
    if is_binarize:
        others = (found.get(token, -math.inf) for token in denominator_tokens if token != numerator_token)
        return 1.0 if all(first > other for other in others) else 2.0
    either = float(logsumexp([found.get(token, -math.inf) for token in denominator_tokens]))
    return None if either == -math.inf else 2.0 - math.exp(first - either)


def _reported(answer: Answer, position: int, wanted: Sequence[str]) -> dict[str, float]:
    """The log probabilities of the wanted tokens at one place; none where the service gave them in another shape."""
    try:
        reported = answer.logprobs[position]["top_logprobs"]
        return {entry["token"]: float(entry["logprob"]) for entry in reported if entry["token"] in wanted}
    except (IndexError, KeyError, TypeError, ValueError):
        return {}


def from_matches(text: str, *, outputs_to_match: Mapping[Any, str]) -> float | None:
    """Return the preference whose pattern occurs, if exactly one occurrence of any pattern is there."""
    patterns = {key: re.compile(pattern) for key, pattern in outputs_to_match.items()}
    found, rest = list[Any](), text
    while len(found) < 2:
        matches = [(match.start(), key, match) for key, pattern in patterns.items() if (match := pattern.search(rest))]
        if not matches:
            break
        _, key, match = min(matches, key=lambda entry: entry[0])
        found.append(key)
        rest = rest[match.end() :]
    return _preference(found[0]) if len(found) == 1 else None


def from_ranking(text: Any, *, model_1_name: str = "model_1") -> float | None:
    """Return the rank of the output shown first, from a list of `{"model": name, "rank": 1 or 2}` or its literal."""
    try:
        ranking = ast.literal_eval(text) if isinstance(text, str) else text
        first, *_ = [entry for entry in ranking if entry["model"] == model_1_name]
        rank = first["rank"]
    except (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError):
        return None
    return float(rank) if rank in (1, 2) else None


def from_scores(text: str) -> float | None:
    """Return the preference of two scores in the first line, e.g. `8 6`; equal ones are a draw."""
    scores = text.split("\n")[0].replace(",", " ").split(" ")
    try:
        first, second = (float(score) for score in scores)
    except ValueError:
        return None
    return 1.0 if first > second else 2.0 if first < second else DRAW


def from_json(text: str, *, annotation_key: str | None) -> Any:
    """Return the value under a key of a JSON object, or of the only object of a list; None if there is none."""
    fenced = _FENCED.search(text)
    if fenced is None and _FENCE in text:
        return None
    try:
        document = json.loads(fenced.group(1) if fenced else text)
        objects = document if isinstance(document, list) else [document]
        (value,) = [entry if annotation_key is None else entry[annotation_key] for entry in objects]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return value


def _preference(key: object) -> float | None:
    """A key as the official code takes it: 0 is a draw."""
    value = float(str(key))
    if value == 0:
        return DRAW
    return value if 1 <= value <= 2 else None
