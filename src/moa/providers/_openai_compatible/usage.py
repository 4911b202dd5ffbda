"""Token counts as services report them."""

import math
from typing import Any

from moa._usage import TokenUsage


def read_usage(usage: object) -> TokenUsage | None:
    """Return a reported usage, None if it says nothing that can be used.

    `input_tokens` is the whole prompt and `output_tokens` everything that the model wrote. Where a service reports some
    of it beside them, the total gives it away: what is missing are tokens of the cache, else reasoning.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (_count(usage, f"{name}_tokens") for name in ("prompt", "completion", "total"))
    if not prompt + completion:
        # Some gateways pass another API's names on.
        prompt, completion = _count(usage, "input_tokens"), _count(usage, "output_tokens")
    if not prompt + completion:
        return None
    details = _details(usage, "prompt_tokens_details")
    cached = _count(details, "cached_tokens") or _first(
        usage, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"
    )
    written = _first(details, "cache_write_tokens", "cache_creation_tokens") or _first(
        usage, "cache_creation_input_tokens", "cache_write_tokens"
    )
    reasoning = _count(_details(usage, "completion_tokens_details"), "reasoning_tokens") or _count(
        usage, "reasoning_tokens"
    )
    missing = total - prompt - completion
    if missing > 0 and missing == cached + written:
        prompt += missing
    elif missing > 0:
        completion += missing
        reasoning = max(reasoning, missing)
    return TokenUsage(
        input_tokens=max(prompt, cached + written),
        output_tokens=completion,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=min(reasoning, completion),
        cache_write_1h_tokens=min(_written_for_an_hour(usage, details), written),
    )


def _written_for_an_hour(usage: dict[str, Any], details: dict[str, Any]) -> int:
    """What was written for an hour, as Anthropic's API counts it, or LiteLLM's proxy."""
    by_time = _details(usage, "cache_creation") or _details(details, "cache_creation_token_details")
    return _count(by_time, "ephemeral_1h_input_tokens")


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _first(counts: dict[str, Any], *names: str) -> int:
    return next((count for name in names if (count := _count(counts, name))), 0)


def _count(counts: dict[str, Any], name: str) -> int:
    count = counts.get(name)
    # Some gateways write every number as a float.
    return int(count) if isinstance(count, int | float) and 0 < count < math.inf else 0
