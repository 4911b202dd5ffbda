import gc

from moa._runtime.gc_tuning import reduced_gc


def test_the_collector_looks_seldom_inside_and_as_before_afterwards() -> None:
    before = gc.get_threshold()

    with reduced_gc():
        inside = gc.get_threshold()

    assert inside[0] > before[0]
    assert gc.get_threshold() == before
