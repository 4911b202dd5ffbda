import pytest

from moa.evaluation.intervals import Estimate, Interval
from moa.evaluation.statistics import non_inferiority
from moa.evaluation.verdict import Conclusion, Quality, Ratio, conclude, ratio

KNOWN = Ratio(value=0.12)


def conclusion(
    low: float,
    high: float,
    cost: Ratio = KNOWN,
    latency: Ratio = Ratio(value=1.4),  # noqa: B008 - frozen
) -> Conclusion:
    middle = (low + high) / 2
    estimate = Estimate(value=middle, standard_error=(high - low) / 4, interval=Interval(low=low, high=high), n=400)
    quality = Quality(
        finding=non_inferiority(estimate), measure="length-controlled win rate", is_difference=False, n=400
    )
    return conclude("mix", "big", quality, cost, latency)


@pytest.mark.parametrize(
    ("low", "high", "advice", "begins"),
    [
        (51, 57, "use", "Use mix: better than big at 12 % of its cost and 1.4 times its latency ("),
        (48, 54, "use", "Use mix: quality within 3 points of big at 12 % of its cost and 1.4 times its latency ("),
        (40, 46, "do not use", "Don't use mix: worse than big, at 12 % of its cost and 1.4 times its latency ("),
        (44, 52, "undecided", "Undecided: about "),
    ],
)
def test_the_first_sentence_says_what_to_do(low: float, high: float, advice: str, begins: str) -> None:
    found = conclusion(low, high)

    assert found.advice == advice
    assert found.sentence.startswith(begins)
    assert f"interval {low:.1f} to {high:.1f}" in found.sentence


def test_an_undecided_verdict_says_how_many_prompts_would_settle_it() -> None:
    sentence = conclusion(44, 52).sentence

    assert "more prompts would settle whether mix is within 3 points of big" in sentence
    assert int(sentence.split()[2].replace(",", "")) > 0


def test_what_is_only_as_good_and_neither_cheaper_nor_faster_is_not_to_be_used() -> None:
    assert conclusion(48, 54, Ratio(value=2.0)).advice == "do not use"
    assert conclusion(48, 54, Ratio(value=2.0), Ratio(value=0.5)).advice == "use"
    assert conclusion(51, 57, Ratio(value=2.0)).advice == "use"


def test_an_unknown_cost_is_said_to_be_unknown_and_makes_the_advice_conditional() -> None:
    unknown = ratio(("mix", 2.0), ("big", None))

    found = conclusion(48, 54, unknown, ratio(("mix", None), ("big", None)))

    assert found.sentence.startswith("Use mix if it is cheaper:")
    assert "an unknown share of its cost (that of big is not known)" in found.sentence
    assert "an unknown share of its latency (that of mix and big is not known)" in found.sentence


def test_too_few_verdicts_say_so() -> None:
    quality = Quality(finding=None, measure="", is_difference=False, n=3)

    assert conclude("mix", "big", quality, KNOWN, KNOWN).sentence == (
        "Undecided: 3 verdicts are too few to say anything about mix and big."
    )
