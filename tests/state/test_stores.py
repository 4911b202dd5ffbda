"""Memory, SQLite and Redis do the same; what they do is what shared limits and budgets rest on."""

import asyncio
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from moa._state.counters import AccountState, WindowState, exchange, permits
from moa._state.memory import MemoryStore
from moa._state.redis import RedisStore
from moa._state.sqlite import SqliteStore
from moa._state.store import SLOT_S, SLOTS_PER_MINUTE, Claim, PermitClaim, StateStore
from moa.errors import StateUnavailable
from tests.state.conftest import OpenStore, RedisServer


def claim(holder: str = "a", **changed: int | float | bool) -> Claim:
    usual = {
        "limit": 100,
        "spent": 0,
        "reserved": 0,
        "headroom": 0,
        "block": 0,
        "least": 0,
        "ttl_s": 60.0,
        "renews": False,
    }
    return Claim(holder=holder, **{**usual, **changed})  # type: ignore[arg-type]


async def test_a_block_is_taken_out_of_what_is_left_and_comes_back_when_it_is_not_wanted_any_more(
    store: StateStore,
) -> None:
    first = await store.exchange("x", claim("a", block=70, headroom=20))
    second = await store.exchange("x", claim("b", block=70, headroom=70))
    back = await store.exchange("x", claim("a", spent=10, renews=True))
    third = await store.exchange("x", claim("b", block=200, headroom=200, renews=True))

    assert (first.held, first.committed, first.others) == (70, 20, 0)
    assert (second.held, second.committed, second.others) == (30, 30, 70)
    assert (back.held, back.spent, back.others) == (10, 10, 30)
    assert (third.held, third.spent, third.others) == (90, 10, 0)


async def test_what_a_dead_holder_had_committed_counts_as_spent_and_the_rest_comes_back(store: StateStore) -> None:
    await store.exchange("x", claim("dead", block=80, headroom=10, spent=5, ttl_s=0.001))
    await asyncio.sleep(0.01)
    found = await store.exchange("x", claim("b", block=200, headroom=200))
    late = await store.exchange("x", claim("dead", spent=6, renews=True))

    assert (found.held, found.spent, found.others) == (85, 15, 0)
    assert late.is_lost


async def test_a_holder_keeps_nothing_that_is_too_little_for_its_next_call(store: StateStore) -> None:
    await store.exchange("x", claim("a", block=60))
    too_little = await store.exchange("x", claim("b", reserved=10, block=60, least=50))
    enough = await store.exchange("x", claim("b", reserved=10, block=60, least=40, renews=True))

    assert (too_little.held, enough.held) == (10, 40)


async def test_an_exchange_that_is_sent_again_changes_nothing(store: StateStore) -> None:
    once = await store.exchange("x", claim("a", spent=7, reserved=3, block=20, headroom=5))
    again = await store.exchange("x", claim("a", spent=7, reserved=3, block=20, headroom=5))

    assert (once.held, once.committed, once.spent) == (again.held, again.committed, again.spent) == (27, 15, 7)


async def test_large_amounts_are_exact(store: StateStore) -> None:
    million_usd = 1_000_000 * 10**9
    found = await store.exchange("x", claim("a", limit=million_usd, spent=million_usd - 1, block=5))

    assert (found.held, found.spent) == (million_usd, million_usd - 1)


async def test_permits_are_shared_and_never_exceed_the_limit(store: StateStore) -> None:
    first = await store.permits("w", PermitClaim(holder="a", limit=10, want=4))
    second = await store.permits("w", PermitClaim(holder="b", limit=10, want=100))
    third = await store.permits("w", PermitClaim(holder="a", limit=10, want=100))

    assert (first.granted, second.granted) == (4, 3)
    assert second.holders == third.holders == 2
    assert 0 < first.ends_in_s <= SLOT_S
    assert third.granted + second.granted <= 10


async def test_items_are_found_until_they_expire_or_their_group_has_too_many(store: StateStore) -> None:
    await store.put("old", b"\x00\xff", ttl_s=60, group="g", most=2)
    await store.put("mid", b"2", ttl_s=60, group="g", most=2)
    await store.put("other", b"3", ttl_s=60, group="h", most=2)
    assert await store.get("old") == b"\x00\xff"
    await store.put("new", b"4", ttl_s=60, group="g", most=2)
    await store.put("brief", b"5", ttl_s=0.001, group="i")
    await asyncio.sleep(0.01)

    found = [await store.get(key) for key in ("old", "mid", "other", "new", "brief", "never")]
    assert found == [None, b"2", b"3", b"4", None, None]


async def test_an_item_that_is_stored_again_is_the_newest_of_its_group(store: StateStore) -> None:
    for key in ("a", "b", "a", "c"):
        await store.put(key, key.encode(), ttl_s=60, group="g", most=2)

    assert [await store.get(key) for key in "abc"] == [b"a", None, b"c"]


async def test_redis_does_what_the_pure_functions_do_on_random_series_of_operations(
    redis_server: Any, tmp_path: Path
) -> None:
    # Within one slot, so that both clocks give the same permits; leases long enough that none ends.
    shared, rng = RedisStore(f"{redis_server.url}?prefix={tmp_path.name}"), random.Random(5)  # type: ignore[attr-defined]
    account, known = AccountState(), set[str]()
    for _ in range(150):
        holder = rng.choice("abc")
        asked = claim(
            holder,
            limit=1000,
            **{name: rng.randrange(0, 300) for name in ("spent", "reserved", "headroom", "block", "least")},
            renews=holder in known or rng.random() < 0.05,
        )
        account, here = exchange(account, asked, 1.0)
        there = await shared.exchange("x", asked)
        known = set(account.holdings)
        assert (here.held, here.committed, here.spent, here.others, here.is_lost) == (
            there.held, there.committed, there.spent, there.others, there.is_lost,
        )  # fmt: skip
    window, slot = dict[int, dict[str, int]](), -1
    for _ in range(40):
        wish = PermitClaim(holder=rng.choice("abc"), limit=100, want=rng.randrange(0, 40))
        got = await shared.permits("w", wish)
        if got.slot != slot:
            window, slot = {}, got.slot
            window = {got.slot: {wish.holder: got.granted}}
            continue
        window, mine = permits(window, wish, slot * SLOT_S)  # type: ignore[assignment]
        assert mine.granted == got.granted
    await shared.aclose()


def test_no_minute_gets_more_permits_than_the_limit_whoever_asks_whenever() -> None:
    rng = random.Random(1)
    for _ in range(30):
        state: WindowState = {}
        limit, now, last, granted = rng.randrange(1, 60), 0.0, dict[tuple[int, str], int](), []
        for _ in range(300):
            now += rng.expovariate(1 / 2)
            holder = rng.choice("abcd")
            state, got = permits(state, PermitClaim(holder=holder, limit=limit, want=rng.randrange(0, 50)), now)
            granted.append((now, got.granted - last.get((got.slot, holder), 0)))
            last[got.slot, holder] = got.granted
        for start, _ in granted:
            # A permit may be used until its slot ends.
            assert sum(n for at, n in granted if start <= at < start + SLOT_S * (SLOTS_PER_MINUTE - 1)) <= limit


async def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes" * 100)

    with pytest.raises(StateUnavailable, match=r"notes\.txt"):
        SqliteStore(path)
    assert path.read_text() == "my notes" * 100


async def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "folder" / "state.sqlite")
    await store.put("a", b"a conversation", ttl_s=60)
    await store.aclose()

    assert {oct(os.stat(path).st_mode & 0o777) for path in (tmp_path / "folder").iterdir()} == {"0o600"}


async def test_a_server_that_is_not_there_is_one_clear_error_without_its_password() -> None:
    store = RedisStore("redis://user:s3cret@127.0.0.1:1/0")

    with pytest.raises(StateUnavailable) as caught:
        await store.get("a")
    assert "redis://127.0.0.1:1/0" in str(caught.value)
    assert "s3cret" not in str(caught.value) + repr(caught.value.__cause__) + repr(store)
    await store.aclose()


async def test_each_prefix_has_its_own_state(redis_server: Any, tmp_path: Path) -> None:
    one, other = (RedisStore(f"{redis_server.url}?prefix={tmp_path.name}-{name}") for name in "ab")
    await one.put("key", b"one", ttl_s=60)

    assert (await one.get("key"), await other.get("key")) == (b"one", None)
    await one.aclose()
    await other.aclose()


async def test_memory_forgets_items_of_groups_that_are_gone() -> None:
    now = 0.0
    store = MemoryStore(lambda: now)
    for number in range(100):
        await store.put(f"k{number}", b"", ttl_s=10, group="g")
        now += 1

    assert [await store.get(f"k{number}") is not None for number in (80, 95)] == [False, True]


async def test_all_groups_together_have_a_limit_and_the_largest_group_makes_room(open_store: OpenStore) -> None:
    store = open_store(max_item_bytes=100)
    await store.put("a1", b"x" * 30, ttl_s=60, group="a")
    for number in range(4):
        await store.put(f"b{number}", b"x" * 30, ttl_s=60, group="b")
    await store.put("b3", b"y" * 40, ttl_s=60, group="b")

    found = [name for name in ("a1", "b0", "b1", "b2", "b3") if await store.get(name) is not None]
    assert found == ["a1", "b2", "b3"]


async def test_items_that_have_expired_or_were_replaced_take_no_room(open_store: OpenStore) -> None:
    store = open_store(max_item_bytes=100)
    await store.put("brief", b"x" * 60, ttl_s=0.001, group="a")
    await asyncio.sleep(0.01)
    for _ in range(3):
        await store.put("long", b"x" * 60, ttl_s=60, group="a")
    await store.put("other", b"x" * 40, ttl_s=60, group="b")

    assert [len(await store.get(name) or b"") for name in ("brief", "long", "other")] == [0, 60, 40]


async def test_an_item_that_is_larger_than_the_limit_is_not_stored(open_store: OpenStore) -> None:
    store = open_store(max_item_bytes=100)
    await store.put("large", b"x" * 101, ttl_s=60, group="a")
    await store.put("small", b"x", ttl_s=60, group="a")

    assert [await store.get(name) for name in ("large", "small")] == [None, b"x"]


async def test_the_limit_counts_the_items_of_a_file_from_before_there_was_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.sqlite")
    for number in range(3):
        await store.put(f"k{number}", b"x" * 30, ttl_s=60, group="g")
    await store.aclose()
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as db:
        db.executescript("DROP TRIGGER item_stored; DROP TRIGGER item_deleted; DROP TABLE owners")

    store = SqliteStore(tmp_path / "state.sqlite", max_item_bytes=70)
    await store.put("new", b"x" * 10, ttl_s=60, group="other")
    found = [name for name in ("k0", "k1", "k2", "new") if await store.get(name) is not None]
    await store.aclose()
    assert found == ["k1", "k2", "new"]


async def test_what_redis_notes_of_items_goes_with_them(redis_server: RedisServer, tmp_path: Path) -> None:
    store = RedisStore(f"{redis_server.url}?prefix={tmp_path.name}")
    async with redis.asyncio.from_url(redis_server.url) as client:
        await store.put("key", b"value", ttl_s=60, group="g")
        names = await client.keys(f"{tmp_path.name}:*")
        expiries = [await client.pttl(name) for name in names]
    await store.aclose()

    assert len(expiries) == 6
    assert all(30_000 < expiry <= 60_001 for expiry in expiries)
