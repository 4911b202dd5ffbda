"""People's labels beside the judge's verdicts: what they correct, and when they contradict it."""

import numpy as np
import pytest

from moa.evaluation._analysis.human import HumanCheck, human_check
from moa.evaluation._runner.labels import Label

PROMPTS, LABELS = 150, 60
MARGIN = 3.0


def checked(rng: np.random.Generator, *, by_people: float, by_judge: float) -> HumanCheck:
    """A judge that wins at one rate and people at another, both by the same pairs' qualities and with noise."""
    quality = rng.random(PROMPTS)
    judged = {pair: 1.0 + float(value < by_judge) for pair, value in enumerate(quality)}
    people = np.where(rng.random(PROMPTS) < 0.15, rng.random(PROMPTS), quality) < by_people
    drawn = rng.permutation(PROMPTS)[:LABELS]
    labels = {
        int(pair): Label(by_rater={"ann": 1.0 + float(people[pair])}, probability=LABELS / PROMPTS) for pair in drawn
    }
    found = human_check("mix", "big", judged, labels)
    assert found is not None
    return found


def vetoes(*, by_people: float, by_judge: float) -> float:
    rng = np.random.default_rng(5)
    draws = [checked(rng, by_people=by_people, by_judge=by_judge) for _ in range(400)]
    return sum(bool(one.against_the_judge(MARGIN)) for one in draws) / len(draws)


@pytest.mark.parametrize("rate", [0.35, 0.5, 0.6, 0.75])
def test_people_who_agree_with_the_judge_rarely_veto_it(rate: float) -> None:
    assert vetoes(by_people=rate, by_judge=rate) < 0.06


def test_people_who_see_it_otherwise_veto_the_judge() -> None:
    assert vetoes(by_people=0.45, by_judge=0.75) > 0.9
    assert vetoes(by_people=0.75, by_judge=0.45) > 0.9


def test_another_figure_on_the_same_side_is_no_contradiction() -> None:
    assert vetoes(by_people=0.95, by_judge=0.7) < 0.02
    assert vetoes(by_people=0.1, by_judge=0.3) < 0.02


def test_a_contradiction_names_both_figures_and_the_kappa_is_only_a_figure() -> None:
    found = checked(np.random.default_rng(1), by_people=0.4, by_judge=0.8)

    assert "by people's labels of 60 pairs mix wins " in found.against_the_judge(MARGIN)
    assert f"by the judge {found.judged:.1f}%" in found.against_the_judge(MARGIN)
    assert "(chance is 0, full agreement 1)" in found.sentence
