"""The cache's file: several processes, its size, what it does with files that are not its own."""

import itertools
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from moa._policies.cache.import_export import read_entries, write_entries
from moa._policies.cache.store import LEASE_S, Store
from moa.errors import ConfigError
from tests.policies.cache.calls import entry, key, settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "calls.sqlite"


def test_a_reply_comes_back_as_it_was_kept(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        assert store.get(key(1)) is None
        assert store.put([(key(1), entry())]) == 1
    with closing(Store(settings(path, "read"))) as store:
        assert store.get(key(1)) == entry()


def test_the_first_reply_stays_unless_it_is_to_be_replaced(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry("first"))])
        assert store.put([(key(1), entry("second"))]) == 0
        assert store.get(key(1)) == entry("first")
        store.put([(key(1), entry("second"))], replace=True)
        assert store.get(key(1)) == entry("second")


def test_the_file_is_nobody_elses_business(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry())])
        assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


@pytest.mark.slow
def test_the_reply_that_was_not_used_for_the_longest_time_goes_first(path: Path) -> None:
    clock = itertools.count().__next__
    with closing(Store(settings(path, max_size_mb=1), clock)) as store:
        for number in range(150):
            store.put([(key(number), entry("x" * 9_000))])
            assert store.get(key(0)) is not None, "it is used all the time"
        kept = {number for number in range(150) if store.get(key(number))}
        used_bytes = store.stats().used_bytes

    assert 0 in kept
    assert kept - {0} == set(range(150 - len(kept) + 1, 150))
    assert len(kept) > 70
    assert used_bytes <= 1_000_000
    assert path.stat().st_size <= 1_010_000


@pytest.mark.slow
def test_a_cache_whose_limit_was_lowered_shrinks(path: Path) -> None:
    with closing(Store(settings(path, max_size_mb=3))) as store:
        store.put((key(number), entry("x" * 9_000)) for number in range(250))
    assert path.stat().st_size > 2_000_000
    with closing(Store(settings(path, max_size_mb=1))) as store:
        store.put([(key(999), entry())])
        assert store.get(key(999)) is not None

    assert path.stat().st_size <= 1_010_000


def test_a_reply_larger_than_the_cache_is_not_kept_and_pushes_nothing_out(path: Path) -> None:
    with closing(Store(settings(path, max_size_mb=1))) as store:
        store.put([(key(1), entry())])
        assert store.put([(key(2), entry("x" * 1_000_000))]) == 0
        assert store.get(key(1)) is not None


def test_statistics_count_the_replies_of_each_model(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry()), (key(2), entry())])
        stats = store.stats()
        assert (stats.entries, dict(stats.models)) == (2, {"lab/small": 2})
        assert store.clear() == 2
        assert store.stats().entries == 0


def _foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (value TEXT)")
        db.execute("INSERT INTO precious VALUES ('gold')")
        db.commit()


def _newer_cache(path: Path) -> None:
    Store(settings(path)).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("mode", ["read", "read_write"])
@pytest.mark.parametrize("make", [lambda path: path.write_text("my notes\n" * 100), _foreign_database, _newer_cache])
def test_a_file_that_is_no_cache_is_refused_and_left_as_it_is(tmp_path: Path, make, mode) -> None:
    path = tmp_path / "calls.sqlite"
    make(path)
    before = path.read_bytes()

    with pytest.raises(ConfigError, match=r"calls\.sqlite: this is not a cache") as caught:
        Store(settings(path, mode))

    assert "give another path" in str(caught.value)
    assert path.read_bytes() == before


def test_a_cache_most_of_whose_pages_are_damaged_is_rebuilt_from_the_rest(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put((key(number), entry("x" * 2000)) for number in range(50))
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 3 * 4096))

    with closing(Store(settings(path))) as store:
        store.put([(key(100), entry("x" * 2000))])
        assert store.get(key(100)) == entry("x" * 2000)
        assert store.get(key(1)) is None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_bits_are_flipped_no_altered_reply_is_given_and_nothing_is_raised(path: Path, seed: int) -> None:
    def text(number: int) -> str:
        return f"reply {number} " * 20

    with closing(Store(settings(path))) as store:
        store.put((key(number), entry(text(number))) for number in range(300))
    raw, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(50):
        # Beyond the first page: its header and tables' definitions make the whole file readable or not.
        bit = rng.randrange(4096 * 8, len(raw) * 8)
        raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)

    with closing(Store(settings(path))) as store:
        for number in range(300):
            kept = store.get(key(number))
            assert kept in (None, entry(text(number)))
            if kept is None:
                store.put([(key(number), entry(text(number)))], replace=True)


@pytest.mark.parametrize("damage", ["{}", "[", '{"model": 1}', '{"reply": [{"finish": "stop", "usage": []}]}', "\x00"])
def test_a_row_that_is_no_entry_is_a_miss_told_once_and_makes_room_for_the_next(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry()), (key(2), entry())])
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE replies SET entry = ?", (damage,))
            db.commit()
        assert list(store.entries()) == []
        assert store.get(key(1)) is store.get(key(2)) is None
        assert store.put([(key(1), entry("new"))]) == 1
        assert store.get(key(1)) == entry("new")

    assert caplog.text.count("is damaged") == 1


def test_a_cache_without_checksums_gets_them_when_it_is_written_again(path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry())])
    with closing(sqlite3.connect(path)) as db:
        db.executescript("ALTER TABLE replies DROP COLUMN checksum; DROP TABLE leases; PRAGMA user_version = 1;")

    with pytest.raises(ConfigError, match=r"without checksums.* use it once with mode: read_write"):
        Store(settings(path, "read"))
    with closing(Store(settings(path))) as store:
        assert store.get(key(1)) == entry()


def test_a_lease_is_one_processes_until_it_is_given_back_or_expires(path: Path) -> None:
    clock = [0]
    one, other = (Store(settings(path), lambda: clock[0]) for _ in range(2))
    with closing(one), closing(other):
        assert one.claim(key(1))
        assert one.claim(key(1))
        assert not other.claim(key(1))
        assert other.claim(key(2))
        clock[0] = int(LEASE_S * 0.9e9)
        one.renew_leases()
        clock[0] = int(LEASE_S * 1.1e9)
        assert not other.claim(key(1))
        assert one.claim(key(2)), "its holder has not renewed it"
        one.release(key(1))
        assert other.claim(key(1))


def test_the_lease_of_a_process_that_has_ended_is_free_at_once(path: Path) -> None:
    claim = (
        "import os, sys; from pathlib import Path; from moa._policies.cache.store import Store\n"
        "from tests.policies.cache.calls import key, settings\n"
        "assert Store(settings(Path(sys.argv[1]))).claim(key(1)); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", claim, str(path)], check=True)

    with closing(Store(settings(path))) as store:
        assert store.claim(key(1))


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no cache here"):
        Store(settings(tmp_path / "none.sqlite", "read"))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="can't be used"):
        Store(settings(tmp_path / "file" / "calls.sqlite"))


WORKER = """
import sys
from contextlib import closing
from pathlib import Path
from moa._policies.cache.store import LEASE_S, Store
from tests.policies.cache.calls import entry, key, settings

mine = int(sys.argv[2])
with closing(Store(settings(Path(sys.argv[1])))) as store:
    for number in range(150):
        store.put([(key(1000 * mine + number), entry(f"{mine}/{number}"))])
        store.put([(key(5000 + number), entry("shared"))])
        assert store.get(key(1000 * mine + number)) == entry(f"{mine}/{number}")
        assert store.get(key(5000 + number)) == entry("shared")
"""


@pytest.mark.slow
def test_several_processes_make_write_and_read_one_cache_at_once(path: Path) -> None:
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(number)], stderr=subprocess.PIPE, text=True)
        for number in (1, 2, 3)
    ]
    errors = [worker.communicate()[1] for worker in workers]

    assert errors == ["", "", ""]
    with closing(Store(settings(path))) as store:
        assert store.stats().entries == 4 * 150


def test_entries_go_to_a_file_and_into_another_cache(path: Path, tmp_path: Path) -> None:
    with closing(Store(settings(path))) as store:
        store.put([(key(1), entry("one \ud800 ü")), (key(2), entry("two"))])
        assert write_entries(store, tmp_path / "out.jsonl") == 2
    with closing(Store(settings(tmp_path / "other.sqlite"))) as other:
        other.put([(key(2), entry("mine"))])
        assert read_entries(other, tmp_path / "out.jsonl") == (1, 2)
        assert (other.get(key(1)), other.get(key(2))) == (entry("one \ud800 ü"), entry("mine"))


GOOD = json.dumps({"key": key(1), **entry().as_dict()})


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"something": "else"}'], "first line"),
        ([GOOD], "first line"),
        (['{"moa_cache": 1}', GOOD, GOOD[:-9]], ":3: not a cache entry"),
        (['{"moa_cache": 1}', GOOD, "[]"], ":3: not a cache entry"),
        (['{"moa_cache": 1}', GOOD, GOOD.replace('"stop"', '"content_filter"')], ":3: not a cache entry"),
        (['{"moa_cache": 1}', GOOD, GOOD.replace('"0000', '"zzzz')], ":3: not a cache entry"),
        (['{"moa_cache": 1}', GOOD, GOOD.replace('"text"', '"tixt"')], ":3: not a cache entry"),
    ],
)
def test_a_file_with_one_bad_line_adds_nothing_and_the_line_is_named(
    path: Path, tmp_path: Path, lines: list[str], says: str
) -> None:
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")

    with closing(Store(settings(path))) as store:
        with pytest.raises(ConfigError, match=says):
            read_entries(store, tmp_path / "in.jsonl")
        assert store.stats().entries == 0


def test_files_that_cannot_be_read_or_written_are_clear_errors(path: Path, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with closing(Store(settings(path))) as store:
        for file in ("latin", "missing"):
            with pytest.raises(ConfigError, match=file):
                read_entries(store, tmp_path / file)
        with pytest.raises(ConfigError, match="can't be written"):
            write_entries(store, tmp_path)
