import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._messages import ToolCall
from moa._results import Answer
from moa.errors import EvaluationDataError
from moa.evaluation._judges.parsers import from_json, from_logprobs, from_matches, from_ranking, from_scores, parser_of
from tests.evaluation.judges.pairs import judge_answer


def answer(text: str = "", *tokens: dict[str, float], tool: str | None = None) -> Answer:
    logprobs = [
        {"top_logprobs": [{"token": name, "logprob": math.log(share)} for name, share in shares.items()]}
        for shares in tokens
    ]
    called = () if tool is None else (ToolCall(id="1", name="f", arguments=tool),)
    return judge_answer(text, logprobs, called)


TOKENS: dict[str, Any] = {"numerator_token": "m", "denominator_tokens": ["m", "M"]}


@given(st.floats(1e-6, 0.49), st.floats(1e-6, 0.49))
def test_logprobs_give_two_minus_the_share_of_the_first(first: float, second: float) -> None:
    found = from_logprobs(answer("m", {"m": first, "M": second}), **TOKENS, is_binarize=False)

    assert found == pytest.approx(2 - first / (first + second))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([{"m": 0.6, "M": 0.3}], 1.0),
        ([{"m": 0.3, "M": 0.6}], 2.0),
        ([{"M": 0.6}], 2.0),
        ([{"x": 0.6}], None),
        ([], None),
        ([{"m": 0.9}, {"m": 0.9}], None),
    ],
)
def test_binarised_logprobs_go_by_the_likelier_token_of_a_reply_of_one(
    tokens: list[dict[str, float]], expected: float | None
) -> None:
    assert from_logprobs(answer("", *tokens), **TOKENS) == expected


def test_logprobs_of_the_last_token_count_after_a_chain_of_thought() -> None:
    reply = answer("because … M", {"m": 0.9, "M": 0.05}, {"m": 0.2, "M": 0.6})

    assert from_logprobs(reply, **TOKENS, is_binarize=False, log_prob_index=-1) == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("text", "expected"), [("Output (a)", 1.0), ("\nOutput (b)", 2.0), ("Output (a)\nOutput (b)", None), ("", None)]
)
def test_matches_count_where_there_is_exactly_one(text: str, expected: float | None) -> None:
    patterns = {1: r"(?:^|\n) ?Output \(a\)", 2: r"(?:^|\n) ?Output \(b\)"}

    assert from_matches(text, outputs_to_match=patterns) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]", 1.0),
        ("[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]", 2.0),
        ("[{'model': 'model_1', 'rank': 3}]", None),
        ("[{'model': 'x', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'rank': 2}]", None),
        ("\n  [{'model': 'model_1', 'rank': 1}]", None),
        ("model_1 is better", None),
        ("[" * 3000, None),
    ],
)
def test_a_ranking_gives_the_rank_of_the_first(text: str, expected: float | None) -> None:
    assert from_ranking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("8 6\nbecause", 1.0), ("6,8", 2.0), ("7 7", 1.5), ("8", None), ("", None), ("nan 7", 1.5)]
)
def test_scores_give_the_higher_one_and_equal_ones_a_draw(text: str, expected: float | None) -> None:
    assert from_scores(text) == expected


@pytest.mark.parametrize("text", ['{"best": 1}', 'well:\n```json\n{"best": 1}\n```', '[{"best": 1}]'])
def test_json_is_found_bare_fenced_or_in_a_list(text: str) -> None:
    assert from_json(text, annotation_key="best") == 1


def test_a_fence_that_is_never_closed_holds_no_json() -> None:
    assert from_json('{"note": "```json", "best": 1}', annotation_key="best") is None


@pytest.mark.parametrize(
    "entry",
    [
        "M",
        {"token": "M"},
        {"top_logprobs": None},
        {"top_logprobs": ["M"]},
        {"top_logprobs": {"M": -0.1}},
        {"top_logprobs": [{"logprob": -0.1}]},
        {"top_logprobs": [{"token": "M", "logprob": None}]},
    ],
)
def test_log_probabilities_of_another_shape_are_no_verdict(entry: Any) -> None:
    reply = replace(answer("M"), logprobs=(entry,))

    assert from_logprobs(reply, **TOKENS, is_binarize=False) is None
    assert from_logprobs(reply, **TOKENS, log_prob_index=-2) is None


def test_a_tool_call_is_read_in_place_of_the_text() -> None:
    steps = {"json_parser": {"annotation_key": "ordered_models"}, "ranking_parser": {"model_1_name": "m"}}
    parse = parser_of("pipeline_meta_parser", {"parsers_to_kwargs": steps})
    ranking = '{"ordered_models": [{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]}'

    assert parse(answer("", tool=ranking)) == 2.0
    assert parse(answer("", tool='{"ordered_models": "none"}')) is None


def test_an_unknown_parser_is_refused_by_its_name() -> None:
    with pytest.raises(EvaluationDataError, match="eval_parser"):
        parser_of("eval_parser", {})


@given(st.text())
def test_no_text_breaks_a_parser(text: str) -> None:
    assert from_scores(text) in (None, 1.0, 1.5, 2.0)
    assert from_ranking(text) in (None, 1.0, 2.0)
    from_json(text, annotation_key="x")
