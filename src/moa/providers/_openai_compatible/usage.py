"""Token counts as services report them."""

import math
from dataclasses import fields

from moa._usage import TokenUsage

_COUNTS = tuple(field.name for field in fields(TokenUsage) if field.name != "tier")


def read_usage(usage: object) -> TokenUsage | None:
    """Return a reported usage, None if it says nothing that can be used.

    `input_tokens` is the whole prompt and `output_tokens` everything that the model wrote. Where a service reports some
    of it beside them, the total gives it away: what is missing are tokens of the cache, else reasoning.
    """
    if not isinstance(usage, dict):
        return None
    counts = _counts(usage)
    get, total = counts.get, counts.get("total_tokens", 0)
    prompt, completion = get("prompt_tokens", 0), get("completion_tokens", 0)
    if not prompt + completion:
        # Some gateways pass another API's names on.
        prompt, completion = get("input_tokens", 0), get("output_tokens", 0)
    if not prompt + completion:
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    of_output = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    of_prompt = _counts(details).get
    cached = (
        of_prompt("cached_tokens")
        or get("prompt_cache_hit_tokens")
        or get("cached_tokens")
        or get("cache_read_input_tokens", 0)
    )
    written = (
        of_prompt("cache_write_tokens")
        or of_prompt("cache_creation_tokens")
        or get("cache_creation_input_tokens")
        or get("cache_write_tokens", 0)
    )
    reasoning = _counts(of_output).get("reasoning_tokens") or get("reasoning_tokens", 0)
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
        cache_write_1h_tokens=min(_written_for_an_hour(usage, details), written) if written else 0,
    )


def largest(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    """Return the larger of each two counts of one reply: they grow, and some services tell each only once."""
    return TokenUsage(**{name: max(getattr(one, name), getattr(other, name)) for name in _COUNTS})


def _written_for_an_hour(usage: dict[str, object], details: object) -> int:
    """What was written for an hour, as Anthropic's API counts it, or LiteLLM's proxy."""
    by_time = usage.get("cache_creation")
    if not isinstance(by_time, dict) and isinstance(details, dict):
        by_time = details.get("cache_creation_token_details")
    return _counts(by_time).get("ephemeral_1h_input_tokens", 0)


def _counts(usage: object) -> dict[str, int]:
    """The numbers of tokens in an object, without those that are 0 or none at all."""
    if not isinstance(usage, dict):
        return {}
    # Some gateways write every number as a float, others as text.
    return {
        name: int(count)
        for name, count in usage.items()
        if (isinstance(count, int | float) and 0 < count < math.inf)
        or (isinstance(count, str) and count.isdecimal() and int(count))
    }
