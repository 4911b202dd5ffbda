from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa._render.format import count, factor, seconds, spent, usd
from moa._usage import Spend


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0.00000001", "<$0.000001"),
        ("0.0000123", "$0.000012"),
        ("0.000231", "$0.00023"),
        ("0.0451", "$0.045"),
        ("0.1", "$0.10"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_usd_shows_the_digits_that_matter(amount: str, shown: str) -> None:
    assert usd(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("times", "shown"),
    [(1.006, "1.01"), (1.0449, "1.04"), (1.05, "1.1"), (5.34, "5.3"), (99.6, "100"), (1400.2, "1400")],
)
def test_a_factor_that_is_not_one_is_never_shown_as_one(times: float, shown: str) -> None:
    assert factor(times) == shown


@given(st.decimals("0.000000000001", "1000", places=12))
def test_usd_never_shows_money_as_nothing(amount: Decimal) -> None:
    assert any(digit in usd(amount) for digit in "123456789")


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [(0.0, "0 ms"), (0.0854, "85 ms"), (0.9996, "1.0 s"), (2.44, "2.4 s"), (73.2, "73 s"), (725.0, "12 min 5 s")],
)
def test_seconds_shows_the_digits_that_matter(duration_s: float, shown: str) -> None:
    assert seconds(duration_s) == shown


def test_count_uses_the_plural_where_it_belongs() -> None:
    assert [count(number, "call") for number in (0, 1, 1200)] == ["0 calls", "1 call", "1,200 calls"]


@pytest.mark.parametrize(
    ("spend", "shown"),
    [
        (Spend(), "$0"),
        (Spend(priced_usd=Decimal("0.25")), "$0.25"),
        (Spend(unpriced_calls=2), "price unknown for 2 calls"),
        (Spend(priced_usd=Decimal("0.25"), unpriced_calls=1), "$0.25 + price unknown for 1 call"),
        (Spend(priced_usd=Decimal("0.25"), estimated_usd=Decimal("0.5")), "$0.25 + about $0.50 estimated"),
    ],
)
def test_spent_keeps_known_estimated_and_unknown_money_apart(spend: Spend, shown: str) -> None:
    assert spent(spend) == shown
