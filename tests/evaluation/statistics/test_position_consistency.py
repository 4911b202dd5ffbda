"""On how many pairs a judge keeps its side, for judges that are known."""

import numpy as np
import pytest
from bench.planted import World, plant

from moa.evaluation._statistics.position_consistency import PositionConsistency, position_consistency

PROMPTS = 20_000


def kept(world: World) -> PositionConsistency:
    verdicts = plant(world, np.random.default_rng(3))
    found = position_consistency(verdicts.baseline_first, verdicts.system_first, verdicts.same)
    assert found is not None
    return found


@pytest.mark.parametrize("habit", ["position", "last", "coin"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.9])
def test_share_is_what_is_left_of_the_pairs_whatever_the_habit_is(habit: str, share: float) -> None:
    found = kept(World(prompts=PROMPTS, **{habit: share}))  # type: ignore[arg-type]

    assert found.share == pytest.approx(1 - share, abs=0.03)


def test_a_coin_with_a_leaning_is_counted_off_too() -> None:
    rng = np.random.default_rng(0)
    # In each order it prefers what is shown first four times in five.
    baseline_first, system_first = (rng.random(PROMPTS) > 0.8), (rng.random(PROMPTS) < 0.8)

    found = position_consistency(
        baseline_first.astype(float), system_first.astype(float), np.zeros(PROMPTS, dtype=bool)
    )

    assert found is not None
    assert found.share == pytest.approx(0.0, abs=0.03)
    assert found.flips == pytest.approx(0.68, abs=0.02)


def test_usual_ties_are_findings_and_more_of_them_are_not() -> None:
    assert kept(World(prompts=PROMPTS, ties=0.2)).share == pytest.approx(1.0, abs=0.01)
    assert kept(World(prompts=PROMPTS, ties=0.2, shrugs=0.7)).share == pytest.approx(0.24 / 0.75, abs=0.02)
    assert kept(World(prompts=PROMPTS, ties=0.0, shrugs=1.0)).share == 0.0


def test_the_same_text_twice_is_a_draw_that_needs_no_judge() -> None:
    nothing, same = np.full(50, np.nan), np.ones(50, dtype=bool)

    found = position_consistency(nothing, nothing, same)

    assert found is not None
    assert (found.share, found.flips, found.pairs) == (1.0, 0.0, 50)


def test_few_pairs_in_both_orders_say_nothing() -> None:
    tried = np.where(np.arange(100) < 19, 1.0, np.nan)

    assert position_consistency(tried, tried, np.zeros(100, dtype=bool)) is None


def test_pairs_of_equal_outputs_are_no_proof_that_the_judge_can_tell() -> None:
    """On 30 of 100 pairs the outputs are the same; of all others the judge takes what is shown first."""
    same = np.arange(100) < 30
    found = position_consistency(np.zeros(100), np.ones(100), same)
    alike = position_consistency(np.zeros(100), np.ones(100), np.ones(100, dtype=bool))

    assert found is not None
    assert alike is not None
    assert (found.share, found.of_different, found.same) == (pytest.approx(0.3), 0.0, 0.3)
    assert alike.of_different == 1.0
