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
        # github.com/promptfoo/promptfoo/pull/8341
        ({"retry-after": "500ms"}, 0.5),
        ({"retry-after": "1m30s"}, 90.0),
        # github.com/vectorize-io/hindsight/pull/3508: OpenAI's cap of a day has no Retry-After
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, None),
        ({"retry-after": "2", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9s"}, 2.0),
        # github.com/anthropics/anthropic-sdk-typescript/issues/357
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:30Z",
            },
            30.0,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, now=lambda: 60.0) == expected


@pytest.mark.parametrize("reset", ["1741305630", "1741305630000"])
def test_a_limit_may_be_full_again_at_a_unix_time(reset: str) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}

    assert retry_after_s(headers, now=lambda: 1741305600.0) == 30.0


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
