"""How long a server asks to wait before the next request."""

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_LIMITS = (
    *((f"x-ratelimit-remaining{of}", f"x-ratelimit-reset{of}") for of in ("", "-requests", "-tokens")),
    *((f"anthropic-ratelimit-{of}-remaining", f"anthropic-ratelimit-{of}-reset") for of in ("requests", "tokens")),
)
"""Headers with what is left of a limit, and with when it is full again."""

_EPOCH_S, _EPOCH_MS = 1e9, 1e12
"""Numbers from which on they are seconds, or milliseconds, since 1970."""


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return how long a reply asks to wait, in seconds from 0; None if it doesn't say, or nothing sensible.

    Source:
        RFC 9110, 10.2.3 (seconds or a date); `retry-after-ms` is OpenAI's finer variant. Some gateways write a unit
        behind the number. Where none of it is there, the limit that is used up tells when it is full again.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    wait_s = _wait_s(headers.get("retry-after"), now)
    if wait_s is not None:
        return wait_s
    resets = (_wait_s(headers.get(reset), now) for left, reset in _LIMITS if _number(headers.get(left)) == 0)
    return max((one for one in resets if one is not None), default=None)


def _wait_s(value: str | None, now: Callable[[], float]) -> float | None:
    """A number of seconds, a duration such as `6m0s`, or a moment: a date of HTTP's or ISO's, or a Unix time."""
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        at = seconds / 1000 if seconds >= _EPOCH_MS else seconds
        return max(0.0, at - now() if at >= _EPOCH_S else at)
    if re.fullmatch(rf"(?:{_DURATION.pattern})+", value, re.IGNORECASE):
        return _duration_s(value, usual="s")
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return max(0.0, read(value).timestamp() - now())
        except (ValueError, OverflowError):
            continue
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
    return None if found is None else _duration_s(found[2], usual="ms" if found[1] else "s")


def _duration_s(text: str, *, usual: str) -> float:
    return sum(float(count) * _SECONDS[_unit(name) or usual] for count, name in _DURATION.findall(text))


def _unit(name: str) -> str:
    name = name.lower()
    return "ms" if name.startswith(("ms", "milli")) else name[:1]


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None
