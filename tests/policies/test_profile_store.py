from pathlib import Path

import pytest

from moa._policies.call_statistics import CallStatistics
from moa._policies.profile_store import EARLIER_CALLS, ProfileStore

KEY = ("lab http://127.0.0.1/v1", "m", "conversation text -")


def _calls(count: int, seconds: float) -> CallStatistics:
    return CallStatistics(calls=count, input_tokens=10 * count, output_tokens=5 * count, seconds=seconds * count)


def test_what_was_measured_is_added_up_in_a_file_that_processes_share(tmp_path: Path) -> None:
    path = tmp_path / "profiles.sqlite"

    ProfileStore(path).add_statistics({KEY: _calls(2, 1.0)})
    ProfileStore(path).add_statistics({KEY: _calls(6, 2.0)})

    assert ProfileStore(path).statistics() == {
        KEY: CallStatistics(calls=8, input_tokens=80, output_tokens=40, seconds=14)
    }


def test_a_service_that_has_become_slower_is_soon_taken_to_be_slower(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles.sqlite")
    store.add_statistics({KEY: _calls(100_000, 1.0)})
    for _ in range(3):
        store.add_statistics({KEY: _calls(100, 4.0)})

    measured = store.statistics()[KEY]

    assert measured.calls == pytest.approx(100 + EARLIER_CALLS)
    assert measured.seconds / measured.calls == pytest.approx(4.0, rel=0.05)


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert ProfileStore(None).statistics() == {}
    assert ProfileStore(tmp_path / "none.sqlite").statistics() == {}
    assert not (tmp_path / "none.sqlite").exists()
