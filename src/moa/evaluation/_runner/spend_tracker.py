"""What an evaluation has spent, and how fast it gets on."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Tally:
    """Money and speed.

    Args:
        budget_usd: For all sessions; None for no limit.

    Attributes:
        spent_usd: US dollars known to be spent, by earlier sessions too.
        unpriced: Whether something was bought at a price that nobody knows.
        steps: Answers and verdicts of this session.
    """

    def __init__(self, budget_usd: float | None) -> None:
        self.spent_usd, self.unpriced, self.steps = 0.0, False, 0
        self._budget_usd, self._promised_usd = budget_usd, 0.0
        self._dearest: defaultdict[str, float] = defaultdict(float)
        self._began_at = time.monotonic()

    def pay(self, name: str, usd: float, *, priced: bool) -> None:
        """Write down what an answer of this system (or a verdict) has cost."""
        self.spent_usd += usd
        self.unpriced = self.unpriced or not priced
        self._dearest[name] = max(self._dearest[name], usd)

    @contextmanager
    def promise(self, name: str) -> Iterator[bool]:
        """Tell whether the budget lasts for one more, and keep its money aside until it is paid.

        Each is expected to cost what the dearest one of its kind has cost so far. The engine's own budget holds
        besides; this one lets whole answers be begun only, so that nothing is bought in vain at the end.
        """
        usd = self._dearest[name]
        fits = self._budget_usd is None or self.spent_usd + self._promised_usd + usd <= self._budget_usd
        self._promised_usd += usd if fits else 0.0
        try:
            yield fits
        finally:
            self._promised_usd -= usd if fits else 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the session began."""
        return time.monotonic() - self._began_at

    @property
    def steps_per_s(self) -> float | None:
        """Answers and verdicts per second; None before the first."""
        return self.steps / self.elapsed_s if self.steps else None
