"""Values that are kept for a while, within each owner's bounds."""

from hypothesis import given
from hypothesis import strategies as st

from moa._policies.expiring_store import MemoryStore


async def test_a_value_is_found_by_its_owner_alone() -> None:
    store = MemoryStore()
    await store.put("alice", "k", b"1")

    assert (await store.get("alice", "k"), await store.get("bob", "k"), await store.get("alice", "j")) == (
        b"1",
        None,
        None,
    )


async def test_a_value_is_forgotten_after_its_time() -> None:
    now = [0.0]
    store = MemoryStore(max_age_s=60, clock=lambda: now[0])
    await store.put("alice", "k", b"1")
    now[0] = 60
    before = await store.get("alice", "k")
    now[0] = 61

    assert (before, await store.get("alice", "k")) == (b"1", None)


async def test_one_owners_values_make_no_room_for_anothers() -> None:
    store = MemoryStore(max_bytes=4)
    await store.put("bob", "b", b"bbb")
    for number in range(10):
        await store.put("alice", str(number), b"aa")

    kept = [number for number in range(10) if await store.get("alice", str(number))]
    assert (kept, await store.get("bob", "b")) == ([8, 9], b"bbb")


async def test_a_value_that_is_too_large_is_not_kept_and_costs_nobody_theirs() -> None:
    store = MemoryStore(max_bytes=4)
    await store.put("alice", "small", b"1")
    await store.put("alice", "large", b"12345")

    assert (await store.get("alice", "small"), await store.get("alice", "large")) == (b"1", None)


async def test_owners_are_bounded_too() -> None:
    store = MemoryStore(max_owners=2)
    for owner in ("a", "b", "c"):
        await store.put(owner, "k", b"1")

    assert [await store.get(owner, "k") for owner in ("a", "b", "c")] == [None, b"1", b"1"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=6)), max_size=30))
async def test_an_owner_never_holds_more_than_its_bound_and_finds_what_was_put_last(
    puts: list[tuple[str, bytes]],
) -> None:
    store = MemoryStore(max_bytes=10)
    for key, value in puts:
        await store.put("alice", key, value)

    held = [await store.get("alice", key) for key in "abcd"]
    assert sum(len(value) for value in held if value) <= 10
    if puts:
        assert await store.get("alice", puts[-1][0]) == puts[-1][1]
