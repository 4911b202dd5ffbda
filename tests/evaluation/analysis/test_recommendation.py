from dataclasses import replace

import pytest

from moa.evaluation._analysis.recommendation import Quality, Ratio, Recommendation, conclude, ratio
from moa.evaluation._statistics.estimates import Estimate, Interval
from moa.evaluation._statistics.non_inferiority import non_inferiority

KNOWN = Ratio(value=0.12)


def conclusion(
    low: float,
    high: float,
    cost: Ratio = KNOWN,
    latency: Ratio = Ratio(value=1.4),  # noqa: B008 - frozen
    more_prompts: int | None = None,
) -> Recommendation:
    middle = (low + high) / 2
    estimate = Estimate(value=middle, standard_error=(high - low) / 4, interval=Interval(low=low, high=high), n=400)
    finding = non_inferiority(estimate)
    if more_prompts is not None:
        finding = replace(finding, more_prompts=more_prompts)
    quality = Quality(finding=finding, measure="length-controlled win rate", is_difference=False, n=400)
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


def test_a_forecast_is_no_more_precise_than_two_digits_and_ends_where_nobody_would_judge_on() -> None:
    said = [conclusion(44, 52, more_prompts=more).sentence for more in (1_234, 10_247_487_060)]

    assert said[0].startswith("Undecided: about 1,300 more prompts would settle")
    assert said[1].startswith("Undecided: only more than 100,000 more prompts would settle")


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


def test_a_baseline_that_costs_nothing_is_known_to() -> None:
    free, both = ratio(("mix", 2.0), ("local", 0.0)), ratio(("mix", 0.0), ("local", 0.0))

    assert "at more than its cost, which is nothing, and 1.4 times its latency" in conclusion(51, 57, free).sentence
    assert conclusion(48, 54, free).advice == "do not use"
    assert conclusion(48, 54, both).sentence.startswith(
        "Don't use mix: quality within 3 points of big, but at the same cost and 1.4 times its latency"
    )
    assert conclusion(48, 54, both, Ratio(value=0.5)).advice == "use"


def test_a_sequence_is_told_from_an_interval_for_a_fixed_number_of_prompts() -> None:
    estimate = Estimate(value=60.0, standard_error=4.0, interval=Interval(low=51.0, high=69.0), n=95)
    quality = Quality(
        finding=non_inferiority(estimate),
        measure="win rate",
        is_difference=False,
        n=95,
        of=805,
        sequence_for="all prompts like these",
    )

    found = conclude("mix", "big", quality, KNOWN, KNOWN)

    assert "95 % interval valid at every look 51.0 to 69.0; equal is 50; 95 of 805 prompts" in found.sentence
    assert "a confidence sequence for all prompts like these" in found.rule
