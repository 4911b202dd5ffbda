import numpy as np
import pytest

from moa.evaluation._statistics.transfer import MIN_SYSTEMS, NoLine, Transfer, transfer


def test_a_line_without_errors_is_found_and_read_exactly() -> None:
    theirs = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])

    line = transfer(theirs, np.zeros(6), 5.0 + 0.5 * theirs)

    assert isinstance(line, Transfer)
    assert line.slope == pytest.approx(0.5)
    found = line.read(36.0, 0.0)
    assert (found.value, found.interval.low, found.interval.high) == pytest.approx((23.0, 23.0, 23.0), abs=1e-6)
    assert found.inside
    assert not line.read(61.0, 0.0).inside


def test_without_sampling_errors_it_is_the_least_squares_line_with_its_prediction_interval() -> None:
    # Hand-made: x 1..6, y 2 1 4 3 7 5; slope 29/35 by least squares, residual variance over 4 degrees of freedom.
    theirs, official = np.arange(1.0, 7.0), np.array([2.0, 1.0, 4.0, 3.0, 7.0, 5.0])
    slope, base = np.polyfit(theirs, official, 1)
    scatter = float(np.sum((official - base - slope * theirs) ** 2)) / 4

    line = transfer(theirs, np.zeros(6), official)

    assert isinstance(line, Transfer)
    assert line.slope == pytest.approx(slope)
    assert line.slope_error == pytest.approx((scatter / 17.5) ** 0.5)
    found = line.read(5.0, 0.0)
    reach = 2.7764451 * (scatter * (1 + 1 / 6 + 1.5**2 / 17.5)) ** 0.5
    assert found.interval.high - found.value == pytest.approx(reach)


def test_sampling_errors_are_taken_out_of_the_slope_and_widen_what_is_read() -> None:
    rng = np.random.default_rng(1)
    true = np.linspace(10.0, 60.0, 200)
    seen = true + rng.normal(0.0, 7.0, 200)

    corrected = transfer(seen, np.full(200, 7.0), true)
    plain = transfer(seen, np.zeros(200), true)

    assert isinstance(corrected, Transfer)
    assert isinstance(plain, Transfer)
    assert plain.slope < 0.9 < corrected.slope < 1.1
    assert corrected.slope == pytest.approx(1.0, abs=3 * corrected.slope_error)
    known, unsure = corrected.read(30.0, 0.0).interval, corrected.read(30.0, 15.0).interval
    assert unsure.high - unsure.low > known.high - known.low


def test_there_is_no_line_through_few_systems_equal_figures_or_where_errors_hide_how_they_differ() -> None:
    few = np.linspace(10.0, 60.0, MIN_SYSTEMS - 1)
    alike = np.array([30.0, 31.0, 29.0, 30.5, 31.5, 28.0, 30.0])

    assert transfer(few, np.zeros(len(few)), few) is NoLine.FEW
    assert transfer(alike, np.full(7, 5.0), alike) is NoLine.NOISE
    assert transfer(np.full(7, 30.0), np.zeros(7), alike) is NoLine.ALIKE
    with pytest.raises(ValueError, match="same systems"):
        transfer(alike, np.zeros(3), alike)


@pytest.mark.parametrize(("systems", "pairs", "taste"), [(6, 100, 2.0), (12, 805, 5.0), (30, 100, 3.0)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(systems: int, pairs: int, taste: float) -> None:
    from bench.calibrate import cell

    row = cell(systems, pairs, taste, "normal", 805, runs=400, rng=np.random.default_rng(7))

    # Three simulation errors below 95%.
    assert float(row["interval holds, %"]) > 91.7
    assert float(row["slope's holds, %"]) > 91.7
