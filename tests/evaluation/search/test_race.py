"""The rule of a search on advantages that are known."""

import numpy as np
import pytest
from scipy.stats import binom

from moa.evaluation._search import race
from moa.evaluation._search.search import critical_values


def outcomes(wins: int, ties: int, losses: int) -> race.Floats:
    """Points above even of pairwise verdicts."""
    return np.array([50.0] * wins + [0.0] * ties + [-50.0] * losses)


def test_a_published_win_that_was_picked_among_four_widths_is_not_shown_to_be_better() -> None:
    # A win of 12, 65 ties and 2 losses, picked among four widths of a mixture, was withdrawn: repeated, 3, 76 and 1.
    _, lead = critical_values(np.zeros((0, 4)))
    alone, _ = critical_values(np.zeros((0, 1)))

    picked, repeated = race.shown(outcomes(12, 65, 2), lead), race.shown(outcomes(3, 76, 1), alone)

    assert picked.value == pytest.approx(6.3, abs=0.1)
    assert picked.low < 0
    assert repeated.low < 0
    # Both are close to the baseline, which is another claim.
    assert min(picked.low, repeated.low) > -race.standard_deviation(outcomes(3, 76, 1))


def test_more_candidates_need_more_and_alike_ones_less() -> None:
    generator = np.random.default_rng(1)
    independent = 100 * generator.standard_normal((400, 30))
    alike = independent[:, :1] + 5 * generator.standard_normal((400, 30))

    one, few, many = (race.critical_value(independent[:, :k]) for k in (1, 5, 30))

    assert one == pytest.approx(1.645, abs=0.01)
    assert one < few < many == pytest.approx(2.93, abs=0.06)
    assert race.critical_value(alike) < few


@pytest.mark.slow
def test_bounds_hold_for_all_candidates_at_once_as_often_as_they_say() -> None:
    missed = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        difficulty = generator.standard_normal((150, 1))
        right = (difficulty + generator.standard_normal((150, 13)) > 0).astype(float)
        columns = 100 * (right[:, 1:] - right[:, :1])
        critical = race.critical_value(columns[:40])
        missed += max(race.shown(column, critical).low for column in columns.T) > 0

    assert missed / 200 < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_who_equals_the_baseline_on_few_prompts_is_not_taken_for_equal() -> None:
    assert race.shown(np.zeros(20), 1.645).low < -3
    assert race.shown(np.zeros(400), 1.645).low > -3


def test_prospects_use_how_hard_the_remaining_prompts_are_for_the_models_alone() -> None:
    model = 40 * np.random.default_rng(0).standard_normal(400)
    model -= model.mean()
    hard_first = np.sort(model)[np.argsort(np.arange(400) % 8, kind="stable")]  # sorted, then dealt out in eight
    hard_first[:50] -= 20
    hard_first[50:] += 20 / 7
    candidate = hard_first[:50] + 9

    known = race.prospect(candidate, hard_first[:, None], margin=3, critical=2)
    unknown = race.prospect(candidate, np.zeros((400, 1)), margin=3, critical=2)

    assert known > 0.9
    assert unknown < 0.2


def test_missing_verdicts_are_left_out_and_nothing_known_is_no_claim() -> None:
    some = np.array([50.0, np.nan, -50.0, 0.0])

    assert race.shown(some, 1.0).n == 3
    assert race.prospect(np.full(10, np.nan), np.zeros((20, 2)), margin=3, critical=2) == 0.0
    assert not race.is_dominated(np.full(30, np.nan), [np.zeros(30)], 0.95)


def test_what_members_of_the_same_quality_add_by_chance_is_no_promise() -> None:
    generator = np.random.default_rng(0)
    chance = (generator.random((400, 3)) < 0.5).astype(float)
    first = (generator.random(400) < 0.5).astype(float)
    complementary = np.column_stack([first, 1 - first, first])

    assert race.promise(complementary) > race.promise(chance) + 0.1


@pytest.mark.parametrize(("prompts", "sizes"), [(400, (50, 100, 200, 400)), (100, (25, 50, 100)), (10, (10,))])
def test_looks_begin_when_there_is_something_to_see(prompts: int, sizes: tuple[int, ...]) -> None:
    assert race.look_sizes(prompts) == sizes


@pytest.mark.parametrize(("prompts", "most"), [(56, 0.182), (112, 0.148), (432, 0.099), (800, 0.1)])
def test_a_candidate_that_only_ever_loses_passes_as_often_as_the_documentation_says(prompts: int, most: float) -> None:
    losses = np.arange(prompts // 10)
    # The exact chances of so many losses of 100 points, each on 3% of the prompts.
    chances = binom.pmf(losses, prompts, 0.03)

    called = [race.shown(np.repeat([-100.0, 0.0], [n, prompts - n]), 1.645).low > -3.0 for n in losses]

    assert float(chances @ called) < most
