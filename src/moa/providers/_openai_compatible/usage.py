"""Token counts as services report them."""

from typing import Any

from moa._usage import TokenUsage


def read_usage(usage: object) -> TokenUsage | None:
    """Return a reported usage, None if it says nothing that can be used.

    Where reasoning is reported beside the completion instead of inside of it (the total gives it away), it is added:
    `output_tokens` is everything that the model wrote.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (_count(usage, f"{name}_tokens") for name in ("prompt", "completion", "total"))
    reasoning = _count(_details(usage, "completion_tokens_details"), "reasoning_tokens")
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning
    if not prompt + completion:
        return None
    details = _details(usage, "prompt_tokens_details")
    return TokenUsage(
        input_tokens=prompt,
        output_tokens=completion,
        cached_input_tokens=_count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens"),
        cache_write_tokens=_count(details, "cache_write_tokens"),
        reasoning_tokens=reasoning,
    )


def _details(usage: dict[str, Any], name: str) -> dict[str, Any]:
    details = usage.get(name)
    return details if isinstance(details, dict) else {}


def _count(counts: dict[str, Any], name: str) -> int:
    count = counts.get(name)
    return count if isinstance(count, int) and count > 0 else 0
