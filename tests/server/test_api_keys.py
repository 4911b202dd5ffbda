"""The file of keys."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from moa._server.api_keys import hash_key, load_keys, new_key
from moa._server.http.errors import RequestError
from moa._state.sqlite import SqliteStore
from moa.errors import BudgetExceeded, ConfigError


def _file(folder: Path, text: str) -> Path:
    path = folder / "keys.yaml"
    path.write_text(text)
    return path


def test_a_key_of_the_file_has_its_owner_and_any_other_has_none(tmp_path: Path) -> None:
    key = new_key()
    ring = load_keys(_file(tmp_path, f"keys:\n  - {{name: alice, sha256: {hash_key(key)}}}\n"))

    caller = ring.caller(key)
    assert caller is not None
    assert caller.name == "alice"
    assert ring.caller(new_key()) is None
    assert ring.caller(key + "x") is None
    assert ring.caller(hash_key(key)) is None


def test_a_file_knows_whether_any_of_its_keys_has_a_budget(tmp_path: Path) -> None:
    text = f"keys:\n  - {{name: a, sha256: {hash_key('x')}, budget_usd: 5}}\n"

    assert load_keys(_file(tmp_path, text)).has_budget


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("keys: []", "keys"),
        (f"keys: [{{name: a, sha256: {'a' * 64}}}, {{name: a, sha256: {'b' * 64}}}]", "is listed twice"),
        (f"keys: [{{name: a, sha256: {'a' * 64}, budget: 5}}]", "did you mean 'budget_usd'"),
        (f"keys: [{{name: a, sha256: {'a' * 64}, budget_usd: 0}}]", "budget_usd"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_where(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_keys(_file(tmp_path, text))


def test_a_key_in_the_place_of_its_hash_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keys(_file(tmp_path, "keys: [{name: a, sha256: moa-my-own-secret}]"))

    assert "my-own-secret" not in str(caught.value)


def test_two_new_keys_differ() -> None:
    assert new_key() != new_key()


@pytest.mark.slow
async def test_a_restart_does_not_refill_a_key_and_a_second_process_counts_the_same(tmp_path: Path) -> None:
    text = f"keys: [{{name: a, sha256: {hash_key('x')}, budget_usd: {{usd: 5, per: forever}}, requests_per_minute: 3}}]"
    state = SqliteStore(tmp_path / "state.sqlite")
    first = load_keys(_file(tmp_path, text), state)
    caller = first.caller("x")
    assert caller is not None
    assert caller.budget is not None
    (await caller.budget.reserve(Decimal(4), "lab/m"))(Decimal(4))
    await caller.check_rate(0)
    await first.aclose()

    second = load_keys(_file(tmp_path, text), state)
    again = second.caller("x")
    assert again is not None
    assert again.budget is not None
    with pytest.raises(BudgetExceeded, match=r"\$1\.0+ is left"):
        await again.budget.reserve(Decimal(2), "lab/m")
    outcomes = await asyncio.gather(*(again.check_rate(0) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, RequestError) for outcome in outcomes) >= 2
    await second.aclose()
    await state.aclose()
