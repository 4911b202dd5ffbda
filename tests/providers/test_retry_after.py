import pytest

from moa.providers._retry_after import retry_after_s, retry_in_words_s


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:40 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, now=lambda: 60.0) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # https://github.com/AtomicBot-ai/atomic-agent/issues/106: Gemini says it in the details of the error alone.
        ('{"error":{"code":429,"details":[{"@type":"google.rpc.RetryInfo","retryDelay":"39.5s"}]}}', 39.5),
        # https://github.com/diegosouzapw/OmniRoute/pull/7961
        ("Quota exceeded for metric x, limit: 10. Please retry in 26.660853464s.", 26.660853464),
        ("Rate limit reached on tokens per min (TPM): Limit 30000. Please try again in 1m12.5s. Visit x", 72.5),
        ("Please try again in 314ms.", 0.314),
        ("Please try again in 2h3m4s", 7384.0),
        ("try again after 20 seconds", 20.0),
        ('{"retry_after": 3}', 3.0),
        ('{"retry_after_ms": 1500}', 1.5),
        ("retryAfter=7", 7.0),
        ("the model is overloaded, try again later", None),
        ("no more than 3 requests in 5 s", None),
        ("", None),
    ],
)
def test_a_wait_is_found_in_an_errors_own_words(text: str, expected: float | None) -> None:
    assert retry_in_words_s(text) == (None if expected is None else pytest.approx(expected))
