"""The books as values."""

from decimal import Decimal

from moa._ledger import ErrorInfo, Meter
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
