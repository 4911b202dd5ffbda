"""Rates of those who have no key, by their addresses."""

from collections import OrderedDict

from moa._policies.sliding_window import SlidingWindow
from moa._server.http.client_addresses import counted_address
from moa._server.http.errors import RequestError

MAX_ADDRESSES = 10_000
"""Addresses that are remembered; whose last request is the longest ago is forgotten first."""


class AddressRates:
    """Counts requests by address.

    Args:
        per_minute: Most requests of one address within any minute.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._windows: OrderedDict[str, SlidingWindow] = OrderedDict()

    def check(self, address: str, now: float) -> None:
        """Count one request.

        Raises:
            RequestError: The address has made all of its requests of this minute.
        """
        counted = counted_address(address)
        window = self._windows.setdefault(counted, SlidingWindow(self._per_minute))
        self._windows.move_to_end(counted)
        if len(self._windows) > MAX_ADDRESSES:
            self._windows.popitem(last=False)
        if wait_s := window.wait_s(1, now):
            message = f"an address may make {self._per_minute:,} requests per minute without a key"
            raise RequestError(429, "rate_limit_exceeded", message, retry_after_s=wait_s)
        window.add(1, now)
