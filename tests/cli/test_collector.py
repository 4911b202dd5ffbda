import gc

from moa.cli.collector import collecting_seldom


def test_the_collector_looks_seldom_inside_and_as_before_afterwards() -> None:
    before = gc.get_threshold()

    with collecting_seldom():
        inside, frozen = gc.get_threshold(), gc.get_freeze_count()

    assert inside[0] > 10 * before[0]
    assert frozen > 0
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
