"""The table of the verdict, line by line: each test makes one line hold."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moa.evaluation._analysis.recommendation import (
    LINES,
    Alternative,
    JudgeChecks,
    Ratio,
    Recommendation,
    VerdictBasis,
    ratio,
    recommend,
    table,
)
from moa.evaluation._metrics.evidence import Evidence, LengthCheck
from moa.evaluation._metrics.single_model import SingleModel
from moa.evaluation._statistics.estimates import Estimate, Interval
from moa.evaluation._statistics.findings import Assessment, Finding, decided
from moa.evaluation._statistics.position_consistency import PositionConsistency

CHEAP, DEAR = Ratio(value=0.12), Ratio(value=1.4)


def found(low: float, high: float, *, share: float = 1.0, more_prompts: int | None = None) -> Assessment:
    """What an interval of the gap shows, with a margin of 3 points on a share of the pairs."""
    gap = Estimate(value=(low + high) / 2, standard_error=1.0, interval=Interval(low=low, high=high), n=400)
    shifted = Interval(low=low + 3 * share, high=high + 3 * share)
    beyond = replace(gap, value=gap.value + 3 * share, interval=shifted)
    return decided(
        Assessment(finding=Finding.UNDECIDED, gap=gap, margin=3.0, beyond_margin=beyond, more_prompts=more_prompts)
    )


def evidence(low: float, high: float, **fields: Any) -> Evidence:
    share = fields.pop("share", 1.0)
    values: dict[str, Any] = {
        "raw": found(low, high, share=share),
        "controlled": found(low, high, share=share, more_prompts=fields.pop("more_prompts", None)),
        "model": "equal_length",
        "length": LengthCheck(ratio=1.0, moves=0.0, inflation=1.0, misfit=None, is_identified=True),
        "consistency": PositionConsistency(values=np.ones(400), share=share, flips=1 - share, pairs=400),
        "raw_gaps": np.zeros(400),
        "controlled_gaps": np.zeros(400),
        "rows": np.ones(400, dtype=bool),
        **fields,
    }
    return Evidence(**values)


def alternative(to_mixture: tuple[float, float], to_baseline: tuple[float, float], **fields: Any) -> Alternative:
    to_mix, to_big = found(*to_mixture), found(*to_baseline)
    strictly = found(to_baseline[0] - 0.5, to_baseline[1] + 0.5)
    single = SingleModel(name="mix.aggregator", of=3, to_mixture=to_mix, to_baseline=to_big, strictly=strictly)
    values: dict[str, Any] = {"cost": Ratio(value=0.41), "cost_to_baseline": Ratio(value=0.05), **fields}
    return Alternative(name="its aggregator alone", found=single, **values)


def conclusion(about: Evidence | None, **fields: Any) -> Recommendation:
    values: dict[str, Any] = {"judge": JudgeChecks(), "cost": CHEAP, "latency": DEAR, "planned": 400, **fields}
    return recommend(VerdictBasis(mixture="mix", baseline="big", evidence=about, **values))


def test_a_judge_that_takes_what_is_shown_first_cannot_tell() -> None:
    said = conclusion(evidence(-1, 2, share=0.1))

    assert (said.advice, said.line) == ("undecided", "judge cannot tell")
    assert said.sentence.startswith(
        "Undecided: the judge can't tell mix from big: it changed sides on 90% of the pairs"
    )


def test_control_pairs_can_only_veto() -> None:
    better = evidence(2, 6)

    vetoed = conclusion(better, judge=JudgeChecks(controls=20, controls_right=9))
    passed = conclusion(better, judge=JudgeChecks(controls=20, controls_right=20))

    assert vetoed.line == "judge cannot tell"
    assert "of 20 control pairs" in vetoed.sentence
    assert passed == conclusion(better)


def test_people_can_only_veto() -> None:
    said = conclusion(evidence(10, 14), judge=JudgeChecks(contradicted="by people's labels mix wins 40%"))

    assert (said.advice, said.line) == ("undecided", "judge cannot tell")
    assert "can't tell mix from big: by people's labels mix wins 40%" in said.sentence


def test_a_judge_whose_verdicts_are_missing_cannot_tell() -> None:
    said = conclusion(evidence(2, 6), judge=JudgeChecks(missing=0.3))

    assert "30% of its verdicts are missing or can't be read" in said.sentence


def test_a_measure_that_gives_everything_the_same_score_tells_nothing_apart() -> None:
    none, all_right = (conclusion(evidence(-2, 2), judge=JudgeChecks(all_equal=score)) for score in (0.0, 100.0))

    assert none.line == "judge cannot tell"
    assert "every answer of every system scores 0%" in none.sentence
    assert (all_right.advice, all_right.system) == ("use", "mix")
    assert all_right.sentence.endswith("Every answer scores 100%: harder prompts may tell them apart.")


def test_a_baseline_that_often_gives_no_answer_is_not_the_judges_fault() -> None:
    said = conclusion(evidence(2, 6), failures={"big": (90, 400)})

    assert (said.advice, said.line) == ("undecided", "baseline missing")
    assert "big gave no answer on 90 of 400 prompts" in said.sentence


def test_what_a_verdict_rests_on_besides_its_data_stands_in_the_first_sentence() -> None:
    """Missing answers, missing verdicts, a stated taste for length, and categories that say the opposite."""
    rows = np.arange(400) >= 60
    length = LengthCheck(ratio=1.8, moves=0.0, inflation=9.0, misfit=None, is_identified=True, is_bounded=True)

    plain, clear = conclusion(evidence(2, 6)), conclusion(evidence(40, 46, rows=rows))
    failed = conclusion(evidence(2, 6), failures={"mix": (36, 400), "big": (3, 400), "other": (99, 400)})
    missing, worse = conclusion(evidence(2, 6, rows=rows)), conclusion(evidence(-14, -10, rows=rows))
    longer = conclusion(evidence(2, 6, length=length))
    apart = conclusion(evidence(2, 6), other_way=("in hard (win rate 0%, 0 to 22)",))

    assert plain.sentence.endswith("at 12% of its cost and 1.4 times its latency.")
    assert clear.sentence.endswith("its latency."), "it is better whatever the missing verdicts are"
    assert failed.sentence == f"{plain.sentence} mix gave no answer on 36 of 400 prompts."
    for found in (missing, worse):
        assert found.sentence.endswith("60 of 400 prompts have no verdict: they are taken to be like the others.")
    assert longer.sentence.endswith(
        "This holds for a judge that gives up to 28 points for a doubled length, and no more: mix's answers are 1.8 "
        "times as long."
    )
    assert apart.sentence.endswith("It is the other way round in hard (win rate 0%, 0 to 22).")


def test_length_that_hides_quality_comes_before_any_win() -> None:
    length = LengthCheck(ratio=2.0, moves=21.0, inflation=9.0, misfit=None, is_identified=False)

    said = conclusion(evidence(10, 14, length=length))

    assert (said.advice, said.line) == ("undecided", "length hides quality")
    assert "2 times as long as big's" in said.sentence
    assert "the win rate is 62.0%, 95% interval 60.0 to 64.0" in said.sentence
    assert "Have both write answers of about the same length" in said.sentence


def test_figures_with_opposite_advice_are_the_first_sentence() -> None:
    said = conclusion(replace(evidence(1, 5), raw=found(-12, -7)))

    assert (said.advice, said.line) == ("your call", "figures disagree")
    assert (
        "as the answers are, mix is worse than big by more than 3 points; at equal length it is better" in said.sentence
    )


@pytest.mark.parametrize(("prompts", "share", "more"), [(20, 1.0, 10), (1, 1.0, 29), (50, 0.5, 10)])
def test_less_than_thirty_prompts_worth_of_data_decides_nothing(prompts: int, share: float, more: int) -> None:
    said = conclusion(evidence(10, 14, share=share, raw_gaps=np.zeros(prompts), rows=np.ones(prompts, dtype=bool)))

    assert said.line == "too few prompts"
    assert f"at least {more} more are needed" in said.sentence


def test_a_single_model_as_good_and_cheaper_is_used_in_the_mixtures_place() -> None:
    said = conclusion(evidence(1, 5), alternative=alternative((-2, 2), (0.5, 4)))

    assert (said.advice, said.line, said.system) == ("use", "use single model", "mix.aggregator")
    assert said.sentence.startswith(
        "Use its aggregator alone, not the mixture: it is as good as mix to within 3 points"
    )
    assert "at 41% of its cost" in said.sentence


def test_where_the_mixture_is_not_shown_to_do_a_single_model_has_to_be_surer() -> None:
    sure, barely = alternative((-2, 2), (-2, 4)), alternative((-2, 2), (-2.8, 4))

    assert conclusion(evidence(-4, 1), alternative=sure).system == "mix.aggregator"
    assert conclusion(evidence(-4, 1), alternative=barely).line == "undecided"
    assert conclusion(evidence(-2, 1), alternative=barely).system == "mix.aggregator"


@pytest.mark.parametrize(
    "other",
    [
        alternative((-2, 2), (-4, 1)),  # not shown to do in the baseline's place
        alternative((-2, 2), (1, 4), cost=Ratio(value=None, unknown=("agg",))),  # unknown is not cheap
        alternative((-2, 2), (1, 4), cost_to_baseline=Ratio(value=1.2)),
        alternative((-9, -5), (1, 4)),  # worse than the mixture
    ],
)
def test_a_single_model_is_not_used_on_less(other: Alternative) -> None:
    assert conclusion(evidence(1, 5), alternative=other).line == "use mixture"


def test_a_mixture_that_is_good_enough_and_cheaper_is_used() -> None:
    said = conclusion(evidence(-2, 4))

    assert (said.advice, said.system) == ("use", "mix")
    assert said.sentence == ("Use mix: as good as big to within 3 points at 12% of its cost and 1.4 times its latency.")
    assert said.proof.startswith("win rate at equal length 51.0%, 95% interval 48.0 to 54.0; win rate 51.0%")


def test_a_single_model_that_is_not_told_apart_is_named_with_its_price() -> None:
    both = conclusion(evidence(1, 5), alternative=alternative((-4, 4), (1, 5)))
    open_still = conclusion(evidence(1, 5), alternative=alternative((-4, 4), (-4, 1)))

    assert both.sentence.startswith("Use mix or its aggregator alone: ")
    assert "costs 41% of what it costs, and which of the two is better is not decided" in both.sentence
    assert "Still open: its aggregator alone costs 41%" in open_still.sentence


def test_what_is_good_enough_but_dearer_or_of_unknown_cost_is_the_users_call() -> None:
    dear = conclusion(evidence(1, 5), cost=DEAR)
    unknown = conclusion(evidence(1, 5), cost=ratio(("mix", 2.0), ("big", None)))

    assert dear.advice == unknown.advice == "your call"
    assert dear.sentence.startswith("Your call: +1.0 to +5.0 points at 1.4 times its cost")
    assert "what it costs compared to that is not known (no figure for big)" in unknown.sentence


def test_worse_by_less_than_the_margin_is_the_users_call() -> None:
    said = conclusion(evidence(-2, -1), cost=Ratio(value=0.14))

    assert said.sentence.startswith("Your call: -2.0 to -1.0 points at 14% of its cost")


def test_worse_by_more_than_the_margin_is_not_to_be_used() -> None:
    said = conclusion(evidence(-9, -4))

    assert (said.advice, said.line) == ("do not use", "do not use")
    assert said.sentence.startswith("Don't use mix: worse than big by more than 3 points, at 12% of its cost")


def test_worse_but_perhaps_by_less_than_the_margin_is_undecided() -> None:
    said = conclusion(evidence(-5, -1, more_prompts=1_234))

    assert said.sentence.startswith("Undecided: keep big for now; it takes at least 1,300 more prompts to decide.")


def test_a_forecast_ends_where_nobody_would_judge_on() -> None:
    assert "it takes more than 100,000 prompts to decide" in conclusion(evidence(-5, 1)).sentence


def test_without_both_orders_nothing_is_called_equally_good() -> None:
    unknown = decided(replace(found(-2, 4), beyond_margin=None))

    said = conclusion(replace(evidence(-2, 4), controlled=unknown, raw=unknown, consistency=None))

    assert said.advice == "undecided"
    assert "nothing shows whether the judge keeps its side" in said.sentence


def test_nothing_judged_is_said() -> None:
    assert conclusion(None).sentence == "Undecided: there is no verdict on mix and big yet."


def test_a_baseline_that_costs_nothing_is_known_to() -> None:
    free, both = ratio(("mix", 2.0), ("local", 0.0)), ratio(("mix", 0.0), ("local", 0.0))

    assert "at more than its cost, which is nothing," in conclusion(evidence(1, 5), cost=free).sentence
    assert "at the same cost" in conclusion(evidence(1, 5), cost=both).sentence


def test_the_table_shows_which_line_holds() -> None:
    lines = table(conclusion(evidence(-9, -4)))

    assert len(lines) == len(LINES) == 10
    assert [text for text, holds in lines if holds] == ["Line 9: the mixture is worse by more than the margin."]
