"""Rate limits as sliding windows: never more than so much within any minute."""

from collections import deque
from dataclasses import dataclass

WINDOW_S = 60.0


@dataclass(slots=True, eq=False)
class WindowEntry:
    """An amount that was let through at a moment, and whether it still counts."""

    at: float
    amount: float
    counts: bool = True


class SlidingWindow:
    """Counts what was let through within the last minute.

    A bucket that refills would let up to twice the limit through within the first minute; services that count by the
    minute answer that with throttling.

    Args:
        limit: Most within any window of a minute.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._entries: deque[WindowEntry] = deque()
        self._sum = 0.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until an amount fits in, 0 if it does now. What exceeds the limit by itself needs an empty window."""
        self._forget(now)
        excess = self._sum + min(amount, self.limit) - self.limit
        for entry in self._entries:
            if excess <= 0:
                break
            excess -= entry.amount
            if excess <= 0:
                return entry.at + WINDOW_S - now
        return 0.0

    def add(self, amount: float, now: float) -> WindowEntry:
        """Let an amount through."""
        entry = WindowEntry(now, amount)
        self._entries.append(entry)
        self._sum += amount
        return entry

    def correct(self, entry: WindowEntry, amount: float) -> None:
        """Set the amount that was let through to what it really was."""
        if entry.counts:
            self._sum += amount - entry.amount
            entry.amount = amount

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0].at + WINDOW_S <= now:
            oldest = self._entries.popleft()
            oldest.counts = False
            self._sum -= oldest.amount
