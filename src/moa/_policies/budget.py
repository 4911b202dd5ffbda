"""Budgets: the worst case of a call is reserved before it is made, and settled when its cost is known."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from moa._ledger import AttemptRecord
from moa._usage import TokenUsage
from moa.errors import BudgetExceeded
from moa.providers._base import ModelRequest, Provider, ReplyEvent, ReplyStream, WrappedProvider
from moa.providers._call_context import Account, Settle
from moa.providers._service_tier import dearer_tier
from moa.providers._token_estimates import estimated_input_tokens, most_extra_tokens

ASSUMED_OUTPUT_TOKENS = 1024
"""What rate limits assume of a call without max_tokens; a budget doesn't assume, it refuses such calls."""


def worst_case(request: ModelRequest) -> TokenUsage:
    """Return the most tokens that a request may use: its prompt by estimate, its output by max_tokens."""
    prompt, thoughts = most_extra_tokens(request.sampling)
    output = (request.sampling.max_tokens or ASSUMED_OUTPUT_TOKENS) + thoughts
    tier = dearer_tier(request.sampling.extra.get("service_tier"))
    return TokenUsage(input_tokens=estimated_input_tokens(request) + prompt, output_tokens=output, tier=tier)


class SpendingLimit(Protocol):
    """US dollars that several calls share: in one process (`Budget`), or in several (`SharedBudget`)."""

    @property
    def limit_usd(self) -> Decimal:
        """All that may be spent."""
        ...

    @property
    def spent_usd(self) -> Decimal:
        """What was spent, as far as it is known."""
        ...

    async def reserve(self, amount_usd: Decimal, reference: str) -> Settle:
        """Reserve an amount, waiting while calls that are under way may still give back enough.

        Raises:
            BudgetExceeded: The amount doesn't fit, whatever comes back.
        """
        ...


def not_enough(amount_usd: Decimal, left_usd: Decimal, limit_usd: Decimal, reference: str) -> BudgetExceeded:
    """Return the error for an amount that doesn't fit into what is left of a budget."""
    left = f"${max(left_usd, Decimal(0)):.6f} is left of the budget of ${limit_usd:f}"
    return BudgetExceeded(f"at worst ${amount_usd:.6f}, but only {left}", model=reference)


class Budget:
    """US dollars that several calls share. What is spent exceeds it by no more than prompts were underestimated.

    Args:
        limit_usd: All that may be spent.
    """

    def __init__(self, limit_usd: Decimal) -> None:
        self.limit_usd = limit_usd
        self.spent_usd = Decimal(0)
        self._reserved = Decimal(0)
        self._settled: list[asyncio.Future[None]] = []

    @property
    def left_usd(self) -> Decimal:
        """What is neither spent nor reserved; below 0 if a prompt was underestimated."""
        return self.limit_usd - self.spent_usd - self._reserved

    async def reserve(self, amount_usd: Decimal, reference: str) -> Settle:
        """Reserve an amount, waiting while calls that are under way may still give back enough.

        Raises:
            BudgetExceeded: The amount doesn't fit, whatever comes back.
        """
        while amount_usd > self.left_usd:
            if amount_usd > self.limit_usd - self.spent_usd or not self._reserved:
                raise not_enough(amount_usd, self.left_usd, self.limit_usd, reference)
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(waiting)
            await waiting
        self.hold(amount_usd)
        return lambda charged_usd: self.settle(amount_usd, charged_usd)

    def hold(self, amount_usd: Decimal) -> None:
        """Reserve an amount whether or not it fits."""
        self._reserved += amount_usd

    def settle(self, reserved_usd: Decimal, charged_usd: Decimal) -> None:
        """Give back what was reserved, and take in what was charged."""
        self._reserved -= reserved_usd
        self.spent_usd += charged_usd
        waiting, self._settled = self._settled, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


async def reserve_worst_case(account: Account, request: ModelRequest) -> Settle:
    """Reserve what a request costs at worst from an account, waiting while other calls may give something back.

    Raises:
        BudgetExceeded: There is no room for it, or its price or its longest reply is unknown.
    """
    call = request.context.call
    worst_usd = call.price(worst_case(request)) if call else None
    if worst_usd is not None and request.sampling.max_tokens is None:
        message = "its worst case is unknown: set `max_tokens`, a budget needs it"
        raise BudgetExceeded(message, model=request.reference)
    return await account.reserve(worst_usd, request.reference)


async def reserve_in_all(budgets: Sequence[SpendingLimit], amount_usd: Decimal, reference: str) -> Settle:
    """Reserve an amount in several budgets, or in none; waits as `Budget.reserve` does.

    Raises:
        BudgetExceeded: One of them has no room for it, whatever comes back.
    """
    settles: list[Settle] = []

    def settle_all(charged_usd: Decimal) -> None:
        for settle in settles:
            settle(charged_usd)

    try:
        for budget in budgets:
            settles.append(await budget.reserve(amount_usd, reference))
    except BaseException:
        settle_all(Decimal(0))
        raise
    return settle_all


class BudgetPolicy(WrappedProvider):
    """Reserves the worst case of each attempt from the request's account, and settles it with what was charged.

    Stands outside of limits and breaker: an attempt that is not made for want of money takes no place of theirs.

    Args:
        inner: The provider.
    """

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply; entering it raises `BudgetExceeded`, with nothing sent, if there is no money for it."""
        account = request.context.account
        return self.inner.stream(request) if account is None else self._paid(request, account)

    @asynccontextmanager
    async def _paid(self, request: ModelRequest, account: Account) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        context, charged_usd = request.context.asked(), Decimal(0)

        def note(record: AttemptRecord) -> None:
            nonlocal charged_usd
            if record.usage is not None and context.call is not None:
                charged_usd += context.call.price(record.usage) or Decimal(0)

        with context.waiting():
            settle = await reserve_worst_case(account, request)
        paid = replace(request, context=replace(context, on_attempt_end=note))
        try:
            async with self.inner.stream(paid) as events:
                yield events
        finally:
            settle(charged_usd)
