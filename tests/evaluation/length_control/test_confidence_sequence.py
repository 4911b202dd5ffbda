import numpy as np
import pytest

from moa.evaluation._length_control.confidence_sequence import (
    asymptotic_reach,
    difference_interval,
    effective_number,
    fit_so_far,
    length_controlled_interval,
    look_at,
    look_sizes,
    settle_length_controlled,
)
from moa.evaluation._length_control.influence import influence_values
from moa.evaluation._length_control.models import Judged, fit_length_model
from moa.evaluation._statistics.array_types import Floats
from moa.evaluation._statistics.sequential import Decision
from tests.evaluation.conftest import Reference

NEAR_TIE = "FuseChat-Llama-3.2-3B-Instruct"
SHUFFLES = 400


def _part(judged: Judged, rows: Floats) -> Judged:
    assert judged.difficulty is not None
    return Judged(
        preference=judged.preference[rows],
        shorter_by=judged.shorter_by[rows],
        difficulty=judged.difficulty[rows],
    )


def test_sequence_holds_the_win_rate_and_is_wider_than_one_look(reference: Reference) -> None:
    fit = fit_length_model(reference.design(NEAR_TIE))
    assert fit is not None
    influence = influence_values(fit)

    found = length_controlled_interval(fit.win_rate, influence, planned=400)

    assert found.low < fit.win_rate < found.high
    assert found.high - found.low > 2 * 1.96 * influence.std() / np.sqrt(len(influence))


def test_asymptotic_sequence_keeps_its_error_rate_on_normal_values() -> None:
    values = np.random.default_rng(0).normal(size=(SHUFFLES, 800))
    looks = np.arange(100, 801)

    means = np.cumsum(values, axis=1)[:, looks - 1] / looks
    reach = np.array([asymptotic_reach(int(n), planned=400) for n in looks])

    missed = np.any(np.abs(means) > reach, axis=1).mean()
    assert 0.0 < missed <= 0.05


@pytest.mark.parametrize("rate", [0.0, 50.0, 100.0])
def test_verdicts_that_never_varied_are_no_certainty(rate: float) -> None:
    found = length_controlled_interval(rate, np.zeros(100), planned=400)
    difference = difference_interval(0.0, np.zeros(100), planned=400)

    assert 0 <= found.low < found.high <= 100
    assert difference.high > 0.5
    if rate == 50:
        assert found.high - found.low > 1


def test_looks_come_at_the_same_sizes_whenever_one_looks_and_end_with_all() -> None:
    sizes = look_sizes(805)

    assert sizes[:3] == [100, 111, 123]
    assert sizes[-1] == 805
    assert sizes == sorted(set(sizes))
    assert look_sizes(99) == []
    assert look_sizes(100) == [100]


@pytest.mark.parametrize("model", [NEAR_TIE, "gpt4_gamed", "oasst-sft-pythia-12b", "claude-2.1"])
def test_a_look_at_all_prompts_gives_the_published_figure(reference: Reference, model: str) -> None:
    judged = reference.judged(model)

    fit = fit_so_far(judged, "length_controlled_v1", reference.data.gamed, planned=len(judged))

    published = float(reference.expected[model]["published"])
    assert fit.win_rate == pytest.approx(published, abs=0.2)


def test_parts_of_the_prompts_aim_at_the_figure_of_all(reference: Reference) -> None:
    judged, gamed = reference.judged("claude-2.1"), reference.data.gamed
    whole = fit_so_far(judged, "length_controlled_v1", gamed, planned=805).win_rate
    rng = np.random.default_rng(0)

    parts = [
        fit_so_far(_part(judged, rng.permutation(805)[:150]), "length_controlled_v1", gamed, planned=805).win_rate
        for _ in range(60)
    ]

    # 60 parts have a standard error of about half a point.
    assert np.mean(parts) == pytest.approx(whole, abs=1.6)


def test_a_system_that_differs_in_length_only_is_not_a_loser_by_length_control() -> None:
    rng = np.random.default_rng(1)
    shorter_by = rng.normal(300.0, 400.0, size=1000)
    preference = (rng.random(1000) < 1 / (1 + np.exp(2.0 * np.tanh(shorter_by / 400)))).astype(float)
    judged = Judged(preference=preference, shorter_by=shorter_by)

    look = look_at([judged], "length_only", planned=1000)
    assert look is not None
    settled = settle_length_controlled(look, judged=1000, model="length_only", is_difference=False, margin=12.0)

    assert preference.mean() < 0.4
    assert settled.decision is Decision.WITHIN
    assert (settled.settled_after, settled.measure) == (1000, "length-controlled win rate")


def test_nothing_is_looked_at_that_rests_on_a_handful_of_prompts_or_on_equal_lengths_only() -> None:
    rng = np.random.default_rng(2)
    lengths, rare = rng.normal(0.0, 300.0, size=200), np.zeros(200)
    rare[:3] = 1.0
    often = (np.arange(200) % 3 == 0).astype(float)

    assert look_at([Judged(preference=rare, shorter_by=lengths)], "length_only", planned=400) is None
    assert look_at([Judged(preference=often, shorter_by=np.full(200, -500.0))], "length_only", planned=400) is None
    assert look_at([Judged(preference=often, shorter_by=lengths)], "length_only", planned=400) is not None


def test_effective_number_counts_prompts_that_matter() -> None:
    assert effective_number(np.array([1.0, -1.0, 1.0, -1.0])) == 4.0
    assert effective_number(np.array([1.0, 0.0, 0.0, 0.0])) == 1.0
    assert effective_number(np.zeros(4)) == 0.0


def test_two_sides_are_looked_at_by_their_difference(reference: Reference) -> None:
    sides = [reference.judged("FuseChat-Llama-3.1-8B-Instruct"), reference.judged("claude-2.1")]

    look = look_at(sides, "length_controlled_v1", reference.data.gamed, planned=805)
    assert look is not None
    settled = settle_length_controlled(look, judged=805, model="length_controlled_v1", is_difference=True)

    assert look.estimate == pytest.approx(65.4 - 25.3, abs=0.5)
    assert 30 < look.interval.low < look.estimate < look.interval.high < 50
    assert settled.decision is Decision.WIN
    assert settled.is_difference
