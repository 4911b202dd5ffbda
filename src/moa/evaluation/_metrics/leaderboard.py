"""Where a length-controlled win rate stands among published models, and how far two rankings agree."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moa._validation.file_errors import os_reason
from moa.errors import EvaluationDataError
from moa.evaluation._data.alpaca_eval_package import package_folder
from moa.evaluation._statistics.agreement import rank_correlation, spearman
from moa.evaluation._statistics.estimates import Interval

LC_COLUMN = "length_controlled_winrate"
_FILE = "leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
_NAMES = ("model", "name", "generator", "key", "Model", "")
MIN_MODELS = 10
"""Fewest common models for an interval: with 5, the interval holds the truth 43 times in 100 rather than 95, with 8
86 times, with 12 at least 94 (simulated: normal scores, correlations 0.5, 0.9 and 0.98)."""

_RATINGS = (LC_COLUMN, "rating", "elo", "arena_score", "score", "win_rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """A place on the leaderboard.

    Attributes:
        place: From 1; how many published models are better, and one.
        of: Published models.
    """

    place: int
    of: int


def published() -> dict[str, float]:
    """Return the published length-controlled win rates, percent 0-100, by model.

    Raises:
        MissingDependency: The alpaca-eval package isn't installed.
        EvaluationDataError: Its leaderboard can't be read.
    """
    return read_ratings(package_folder() / _FILE, LC_COLUMN)


def rank(win_rate: float, board: Mapping[str, float]) -> Rank:
    """Return where a length-controlled win rate would stand.

    Args:
        win_rate: Percent 0-100, by the leaderboard's judge against its baseline; any other means nothing here.
        board: Published figures by model.
    """
    return Rank(place=1 + sum(figure > win_rate for figure in board.values()), of=len(board))


def read_ratings(path: Path, column: str | None = None) -> dict[str, float]:
    """Return ratings by model from a CSV file, a JSON mapping, or a JSON list of objects.

    Args:
        path: Its first column, or the field `model`, `name` or `generator`, names the model.
        column: Which column holds the rating, or under which key a JSON mapping has the ratings; if not given, the
            first column that is there of length_controlled_winrate, rating, elo, arena_score, score and win_rate.
            Rows without a number are left out.

    Raises:
        EvaluationDataError: The file can't be read, has no such column, or a row names no model or one that another
            row has rated.
    """
    rows = _rows(path)
    if isinstance(rows, dict) and column is not None:
        inner = rows.get(column)
        if not isinstance(inner, dict):
            raise EvaluationDataError(
                f"has no ratings under {column!r}; it has {', '.join(map(repr, rows))}", path=path
            )
        rows = inner
    if isinstance(rows, dict):
        return {str(name): float(str(value)) for name, value in rows.items() if _is_number(value)}
    if not rows:
        raise EvaluationDataError("holds no row", path=path)
    fields = list(rows[0])
    name = next((field for field in _NAMES if field in fields), fields[0])
    rating = column or next((field for field in _RATINGS if field in fields), None)
    if rating is None or rating not in fields:
        raise EvaluationDataError(
            f"has no column {column or ' or '.join(_RATINGS)}; it has {', '.join(map(repr, fields))}", path=path
        )
    ratings: dict[str, float] = {}
    for number, row in enumerate(rows, 1):
        model, value = row.get(name), row.get(rating)
        if not _is_number(value):
            continue
        if model is None or str(model) in ratings:
            message = "rates no model" if model is None else f"rates {model} again: keep one of its rows"
            raise EvaluationDataError(message, path=path, row=number)
        ratings[str(model)] = float(str(value))
    return ratings


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How far two rankings agree.

    Attributes:
        coefficient: Spearman's rank correlation, -1 to 1; None for fewer than three models, or where either rates
            all of them alike.
        interval: By the bootstrap over models; None for fewer than `MIN_MODELS`, too.
        models: The models that both have, by the first's names.
    """

    coefficient: float | None
    interval: Interval | None
    models: tuple[str, ...]


def correlate(
    first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0, names: Mapping[str, str] | None = None
) -> Correlation:
    """Return the rank correlation over the models that both have.

    Args:
        first: Ratings by model.
        second: Ratings by model.
        seed: Of the bootstrap.
        names: The second's name of a model of the first, where they differ in more than letter case and punctuation.
    """
    theirs = {_plain(name): rating for name, rating in second.items()}
    pairs = [
        (name, rating, theirs[key])
        for name, rating in first.items()
        if (key := _plain((names or {}).get(name, name))) in theirs
    ]
    mine, others = (np.array([pair[place] for pair in pairs], dtype=np.float64) for place in (1, 2))
    estimate = None if len(pairs) < MIN_MODELS else spearman(mine, others, seed=seed)
    return Correlation(
        coefficient=rank_correlation(mine, others),
        interval=None if estimate is None else estimate.interval,
        models=tuple(name for name, _, _ in pairs),
    )


def _rows(path: Path) -> dict[str, object] | Sequence[dict[str, object]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            return list(csv.DictReader(text.splitlines()))
        document = json.loads(text)
    except OSError as error:
        raise EvaluationDataError(f"can't be read: {os_reason(error)}", path=path) from error
    except (ValueError, RecursionError) as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
    if isinstance(document, dict) or (isinstance(document, list) and all(isinstance(row, dict) for row in document)):
        return document
    raise EvaluationDataError("is neither a mapping of ratings by model nor a list of objects", path=path)


def _is_number(value: object) -> bool:
    try:
        return bool(np.isfinite(float(str(value))))
    except ValueError:
        return False


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())
