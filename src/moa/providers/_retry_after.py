"""How long a server asks to wait before the next request."""

import math
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return how long a reply asks to wait, in seconds from 0; None if it doesn't say, or nothing sensible.

    Source:
        RFC 9110, 10.2.3 (seconds or a date); `retry-after-ms` is OpenAI's finer variant.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return max(0.0, seconds)
    if value is None:
        return None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, OverflowError):
        return None


_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,12})?) ?(ms|milliseconds?|h(?:ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)?(?![a-z]) ?",
    re.IGNORECASE,
)
_WAIT = re.compile(
    r"""(?:retry_?(?:after|delay)(_ms)?["' ]*[:=]["' ]*|\b(?:re)?try(?: again)? (?:in|after) (?:about )?)"""
    rf"((?:{_DURATION.pattern}){{1,3}})",
    re.IGNORECASE,
)


def retry_in_words_s(text: str) -> float | None:
    """Return the wait that an error names in its body, in seconds; None if it names none.

    Source:
        Gemini's `google.rpc.RetryInfo` with a `retryDelay` such as `39.8s`; the sentences of OpenAI ("Please try again
        in 1m12.5s") and of Gemini ("Please retry in 26.66s"); `retry_after` and `retry_after_ms` of gateways.
    """
    found = _WAIT.search(text)
    if found is None:
        return None
    usual = "ms" if found[1] else "s"
    return sum(float(count) * _SECONDS[_unit(name) or usual] for count, name in _DURATION.findall(found[2]))


def _unit(name: str) -> str:
    name = name.lower()
    return "ms" if name.startswith(("ms", "milli")) else name[:1]


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
