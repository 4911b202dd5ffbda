"""What planted verdicts show, through the statistics that a report rests on."""

from dataclasses import replace

import numpy as np
import pytest
from bench.planted import World, plant

from moa.evaluation._metrics.evidence import Evidence, fit_test, weigh
from moa.evaluation._metrics.single_model import weigh_all
from moa.evaluation._metrics.stopping import is_settled, look, look_sizes
from moa.evaluation._metrics.verdicts import Verdicts
from moa.evaluation._statistics.findings import Finding

FINE = (Finding.BETTER, Finding.GOOD_ENOUGH)


def evidence(world: World, seed: int = 0, looks: int | None = None) -> Evidence:
    found = weigh([plant(world, np.random.default_rng(seed))], "equal_length", looks=looks)
    assert found is not None
    return found


def test_equal_lengths_leave_the_win_rate_as_it_is() -> None:
    found = evidence(World(truth=4.0, doublings_sd=0.0))

    assert found.controlled.gap.value == pytest.approx(found.raw.gap.value, abs=0.05)
    assert found.length.ratio == pytest.approx(1.0, abs=0.01)
    assert found.length.is_identified


@pytest.mark.parametrize("taste", ["ratio", "bonus", "difference"])
def test_a_taste_for_length_moves_the_win_rate_and_not_the_one_at_equal_length(taste: str) -> None:
    world = World(taste=taste, doublings=0.4, doublings_sd=0.6, prompts=20_000)  # type: ignore[arg-type]

    found = evidence(world)

    assert found.raw.gap.value > 5.0
    assert found.controlled.gap.value == pytest.approx(0.0, abs=1.5)
    assert found.length.is_identified


@pytest.mark.parametrize("taste", ["ratio", "bonus", "difference"])
def test_answers_that_are_all_twice_as_long_can_not_be_told_from_better_ones(taste: str) -> None:
    found = evidence(World(taste=taste, doublings=1.0, doublings_sd=0.1))  # type: ignore[arg-type]

    assert found.raw.finding is Finding.BETTER
    assert not found.length.is_identified


def test_a_system_that_loses_nearly_always_is_worse_whatever_its_length() -> None:
    for seed in range(10):
        found = evidence(World(truth=-46.0, ties=0.0, doublings=-1.5, doublings_sd=0.4, prompts=200), seed)

        assert found.controlled.finding is Finding.WORSE
        assert found.length.is_identified


def test_lengths_that_are_nearly_alike_need_no_model() -> None:
    found = evidence(World(truth=6.0, doublings=0.02, doublings_sd=0.001))

    assert found.length.moves < 3
    assert found.length.is_identified
    assert found.controlled.finding is Finding.BETTER


def test_an_empty_answer_loses_because_it_is_empty_and_not_because_it_is_short() -> None:
    verdicts = plant(World(), np.random.default_rng(0))
    failed = np.arange(805) % 10 == 0
    verdicts = replace(verdicts, won=np.where(failed, 0.0, verdicts.won), length=np.where(failed, 0.0, verdicts.length))

    found = weigh([verdicts], "equal_length")

    assert found is not None
    assert found.controlled.gap.value == pytest.approx(found.raw.gap.value, abs=1.0)


def test_a_taste_that_the_model_does_not_know_is_found_out_and_bounded() -> None:
    rng = np.random.default_rng(0)
    verdicts = plant(World(prompts=4_000, doublings=0.5, doublings_sd=0.8), rng)
    ratio = np.log2(verdicts.length / verdicts.opponent_length)
    liked = 1 / (1 + np.exp(-3.0 * np.cos(4.0 * ratio)))

    found = weigh([replace(verdicts, won=(rng.random(4_000) < liked).astype(float))], "equal_length")

    assert found is not None
    assert found.length.misfit is not None
    assert found.length.misfit < 0.001
    assert not found.length.is_identified


def test_the_test_of_fit_is_silent_where_the_model_holds() -> None:
    world = World(taste="ratio", doublings=0.3, doublings_sd=0.6)

    found = [evidence(world, seed).length.misfit for seed in range(60)]

    assert np.mean([p is not None and p < 0.05 for p in found]) < 0.15
    assert fit_test.__doc__


def test_both_orders_of_a_random_hundred_do_for_a_judge_of_one_order() -> None:
    sound = evidence(World(prompts=3_000, one_order=True))
    habit = evidence(World(truth=-8.0, position=0.7, one_order=True))

    assert sound.consistency is not None
    assert sound.consistency.pairs == 100
    assert sound.controlled.finding in FINE
    assert habit.controlled.finding not in FINE


def test_prompts_without_a_verdict_and_repeated_prompts_are_counted_once() -> None:
    verdicts = plant(World(), np.random.default_rng(0))
    missing = replace(verdicts, won=np.where(np.arange(805) < 5, np.nan, verdicts.won))
    twice = {
        name: np.concatenate([getattr(verdicts, name)] * 2) for name in ("won", "length", "opponent_length", "same")
    }
    orders = {name: np.concatenate([getattr(verdicts, name)] * 2) for name in ("baseline_first", "system_first")}

    one, some = weigh([verdicts], "equal_length"), weigh([missing], "equal_length")
    both = weigh([Verdicts(**twice, **orders, prompt=np.tile(np.arange(805), 2))], "equal_length")

    assert one is not None
    assert some is not None
    assert both is not None
    assert some.n == 800
    assert len(both.controlled_gaps) == 805
    assert both.controlled.gap.standard_error == pytest.approx(one.controlled.gap.standard_error, rel=0.02)


def test_no_verdict_is_no_evidence() -> None:
    verdicts = plant(World(prompts=20), np.random.default_rng(0))

    assert weigh([replace(verdicts, won=np.full(20, np.nan))], "equal_length") is None


@pytest.mark.slow
def test_the_best_of_several_single_models_is_not_flattered_by_being_picked() -> None:
    def one(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng([8, seed])
        lengths = np.exp(rng.normal(7.0, 0.7, 100))
        mixture, *models = (plant(World(prompts=100), rng, lengths) for _ in range(6))
        _, single = weigh_all([mixture], {str(n): model for n, model in enumerate(models)}, "equal_length")
        assert single is not None
        naive = max(100 * float(model.won.mean()) - 50 for model in models)
        return single.to_baseline.gap.value, naive

    fair, naive = np.mean([one(seed) for seed in range(120)], axis=0)

    assert naive > 3.5
    assert abs(fair) < 1.5


def test_a_single_model_is_compared_on_the_prompts_that_all_have() -> None:
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(7.0, 0.7, 400))
    mixture, model = (plant(World(prompts=400), rng, lengths) for _ in range(2))
    model = replace(model, won=np.where(np.arange(400) < 50, np.nan, model.won))

    found, single = weigh_all([mixture], {"one": model}, "equal_length")

    assert found is not None
    assert single is not None
    assert (found.n, single.to_mixture.gap.n) == (400, 350)


def test_looks_come_at_the_same_sizes_whenever_one_looks_and_end_with_all() -> None:
    sizes = look_sizes(805)

    assert sizes[:3] == [50, 56, 62]
    assert sizes[-1] == 805
    assert sizes == sorted(set(sizes))
    assert look_sizes(49) == []


def test_good_enough_is_known_before_it_is_known_whether_it_is_better() -> None:
    found = evidence(World(truth=3.0, prompts=2_000), looks=4_000)

    assert found.controlled.finding in FINE
    assert is_settled("good-enough", found)
    assert not is_settled("decided", replace(found, controlled=replace(found.controlled, finding=Finding.GOOD_ENOUGH)))


def test_nothing_is_settled_while_raw_and_controlled_figures_disagree_in_sign() -> None:
    found = evidence(World(truth=12.0))
    raw = replace(found.raw, gap=replace(found.raw.gap, value=-0.1))

    assert is_settled("decided", found)
    assert not is_settled("decided", replace(found, raw=raw))


def test_a_single_model_joins_the_question_unless_the_mixture_is_lost() -> None:
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.normal(7.0, 0.7, 400))
    good, bad, alike = (plant(World(truth=truth, prompts=400), rng, lengths) for truth in (20.0, -20.0, 20.0))

    def settled(mixture: Verdicts, until: str = "decided") -> bool:
        return look(until, [mixture], {"one": alike}, "equal_length", planned=805)  # type: ignore[arg-type]

    assert settled(bad)
    assert not settled(good)
    assert settled(good, "good-enough")
