"""The books as values."""

from decimal import Decimal
from functools import partial

from moa._ledger import ErrorInfo, Meter
from moa._pricing.price import Price, cost_of
from moa._usage import TokenUsage


def test_an_attempt_that_was_given_up_still_takes_in_the_usage_that_comes_later() -> None:
    meter = Meter(iter(range(100)).__next__)
    call = meter.open_call(agent="a", model="lab/m", purpose="proposal", layer=1, price=lambda usage: None)
    record = call.start()
    call.explain(ErrorInfo(code="abandoned", message="too slow"))
    given_up = meter.ledger().attempts[0]
    record.usage, record.usage_source = TokenUsage(input_tokens=7), "estimated"
    billed = meter.ledger().attempts[0]

    assert (given_up.status, given_up.usage) == ("cancelled", None)
    assert billed.usage == TokenUsage(input_tokens=7)
    assert billed.duration_s == given_up.duration_s


def test_an_attempt_is_priced_by_whoever_asks() -> None:
    meter = Meter()
    call = meter.open_call(agent="a", model="lab/m", purpose="proposal", layer=1, price=lambda usage: None)
    record = call.start()
    record.status, record.ended_at, record.usage = "ok", meter.now(), TokenUsage(input_tokens=2)

    unpriced = record.value(meter.started_at, meter.now(), lambda usage: None)
    priced = record.value(meter.started_at, meter.now(), lambda usage: Decimal(usage.input_tokens))

    assert (unpriced.cost_usd, priced.cost_usd) == (None, 2)


def test_what_a_services_prompt_cache_saves_is_the_price_without_it_less_the_cost() -> None:
    meter = Meter(lambda: 0.0)
    price = Price(input=Decimal(10), output=Decimal(0), cached_input=Decimal(1), cache_write=Decimal("12.5"))
    used = (
        TokenUsage(input_tokens=1_000_000, cached_input_tokens=800_000, cache_write_tokens=100_000),
        TokenUsage(input_tokens=1_000_000, cache_write_tokens=1_000_000),
        TokenUsage(input_tokens=1_000_000),
    )
    for usage in used:
        call = meter.open_call(agent="a", model="x/a", purpose="answer", layer=1, price=partial(cost_of, price))
        record = call.start()
        record.status, record.ended_at, record.usage, record.usage_source = "ok", 1.0, usage, "reported"

    ledger = meter.ledger()

    assert [attempt.saved_usd for attempt in ledger.attempts] == [Decimal("6.95"), Decimal("-2.5"), None]
    assert ledger.spend.saved_usd == Decimal("4.45")
    assert ledger.spend.priced_usd + ledger.spend.saved_usd == Decimal(30)


def test_what_is_saved_at_an_unknown_price_is_unknown() -> None:
    meter = Meter(lambda: 0.0)
    record = meter.open_call(agent="a", model="x/a", purpose="answer", layer=1, price=lambda usage: None).start()
    record.status, record.ended_at, record.usage_source = "ok", 1.0, "reported"
    record.usage = TokenUsage(input_tokens=10, cached_input_tokens=5)

    assert meter.ledger().attempts[0].saved_usd is None
