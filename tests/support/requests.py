"""Requests for tests of what surrounds a provider."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from moa._ledger import Meter, Pricer
from moa._messages import Message, Sampling
from moa._usage import TokenUsage
from moa.providers._base import ModelRequest
from moa.providers._call_context import CallContext


def dollar_a_token(usage: TokenUsage) -> Decimal:
    """A price that is easy to add up."""
    return Decimal(usage.total_tokens)


def plain_request(
    meter: Meter | None = None, *, agent: str = "a", price: Pricer = dollar_a_token, max_tokens: int | None = 10
) -> ModelRequest:
    """A request at the model `fake/a`, in the books of a meter if one is given."""
    call = None
    if meter is not None:
        call = meter.open_call(agent=agent, model="fake/a", purpose="proposal", layer=1, price=price)
    return ModelRequest(
        reference="fake/a",
        model="a",
        messages=(Message(role="user", content="hi"),),
        sampling=Sampling(max_tokens=max_tokens),
        context=CallContext(call=call),
    )


def with_context(request: ModelRequest, **changes: Any) -> ModelRequest:
    """The request with fields of its context changed."""
    return replace(request, context=replace(request.context, **changes))
