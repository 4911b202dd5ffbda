"""Budgets: the worst case of a call is reserved before it is made, and settled when its cost is known."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from decimal import Decimal

from moa._ledger import AttemptRecord
from moa._usage import TokenUsage
from moa.errors import BudgetExceeded
from moa.providers._base import Account, ModelRequest, Provider, ReplyEvent, ReplyStream
from moa.providers._token_estimates import estimated_input_tokens

Settle = Callable[[Decimal], None]
"""To be called once with what a call was really charged, in US dollars."""

ASSUMED_OUTPUT_TOKENS = 1024
"""What rate limits assume of a call without max_tokens; a budget doesn't assume, it refuses such calls."""


def worst_case(request: ModelRequest) -> TokenUsage:
    """Return the most tokens that a request may use: its prompt by estimate, its output by max_tokens."""
    output = request.sampling.max_tokens or ASSUMED_OUTPUT_TOKENS
    return TokenUsage(input_tokens=estimated_input_tokens(request), output_tokens=output)


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
                raise BudgetExceeded(
                    f"at worst ${amount_usd:.6f}, but only ${max(self.left_usd, Decimal(0)):.6f} is left "
                    f"of the budget of ${self.limit_usd:f}",
                    model=reference,
                )
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(waiting)
            await waiting
        self._reserved += amount_usd
        return lambda charged_usd: self._settle(amount_usd, charged_usd)

    def _settle(self, reserved_usd: Decimal, charged_usd: Decimal) -> None:
        self._reserved -= reserved_usd
        self.spent_usd += charged_usd
        waiting, self._settled = self._settled, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class BudgetAccount:
    """What one run pays its calls from.

    Args:
        budget: The run's own.
        allow_unpriced: Whether calls at unknown prices are made; they count nothing.
    """

    def __init__(self, budget: Budget, *, allow_unpriced: bool = False) -> None:
        self._budget, self._allow_unpriced = budget, allow_unpriced

    async def reserve(self, request: ModelRequest) -> Settle:
        """Reserve a request's worst case.

        Raises:
            BudgetExceeded: There is no room for it, or nobody knows what it may cost.
        """
        return await self._budget.reserve(self._worst_usd(request), request.reference)

    def _worst_usd(self, request: ModelRequest) -> Decimal:
        price = request.call.price(worst_case(request)) if request.call else None
        if price is None and self._allow_unpriced:
            return Decimal(0)
        if price is None:
            message = "its price is unknown: set `price:`, or `allow_unpriced: true` to leave it out of the budget"
            raise BudgetExceeded(message, model=request.reference)
        if request.sampling.max_tokens is None:
            message = "its worst case is unknown: set `max_tokens`, a budget needs it"
            raise BudgetExceeded(message, model=request.reference)
        return price


async def reserve_in_all(budgets: Sequence[Budget], amount_usd: Decimal, reference: str) -> Settle:
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


class BudgetPolicy:
    """Reserves the worst case of each attempt from the request's account, and settles it with what was charged.

    Stands outside of limits and breaker: an attempt that is not made for want of money takes no place of theirs.

    Args:
        inner: The provider.
    """

    def __init__(self, inner: Provider) -> None:
        self.takes_seed = inner.takes_seed
        self._inner = inner

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply; entering it raises `BudgetExceeded`, with nothing sent, if there is no money for it."""
        return self._inner.stream(request) if request.account is None else self._paid(request, request.account)

    @asynccontextmanager
    async def _paid(self, request: ModelRequest, account: Account) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        charged_usd = Decimal(0)

        def note(record: AttemptRecord) -> None:
            nonlocal charged_usd
            if record.usage is not None and request.call is not None:
                charged_usd += request.call.price(record.usage) or Decimal(0)

        asked_at = request.call.now() if request.call else None
        with request.time.paused() if request.time else nullcontext():
            settle = await account.reserve(request)
        try:
            async with self._inner.stream(replace(request, asked_at=asked_at, on_attempt_end=note)) as events:
                yield events
        finally:
            settle(charged_usd)

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self._inner.aclose()
