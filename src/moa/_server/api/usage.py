"""A run's ledger as replies show it: usage, totals, and the ledger on request."""

from typing import Any

from moa._results import Answer
from moa._server.api.request import ApiRequest
from moa._server.http.exchange import HeaderList
from moa._usage import TokenUsage, json_usd


def run_totals(answer: Answer) -> dict[str, Any]:
    """Return a run's status, cost and times."""
    spend = answer.ledger.spend
    return {
        "run_id": answer.id,
        "status": answer.status,
        "cost_usd": json_usd(spend.cost_usd),
        "priced_usd": json_usd(spend.priced_usd),
        "estimated_usd": json_usd(spend.estimated_usd),
        "charged_usd": json_usd(spend.charged_usd),
        "unpriced": list(answer.unpriced),
        "calls": len(answer.ledger.calls),
        "latency": answer.latency.as_dict(),
        "degraded": [{"agent": reason.agent, "code": reason.code} for reason in answer.degraded],
        "unseeded": list(answer.unseeded),
    }


def moa_field(request: ApiRequest, answer: Answer, *, show_details: bool) -> dict[str, Any]:
    """Return a reply's `moa` field: the totals, or everything if the request asks for the ledger.

    Args:
        request: The request.
        answer: The answer.
        show_details: Whether to include the text of services' errors.
    """
    if not request.moa.ledger:
        return run_totals(answer)
    whole = answer.as_dict()
    return {**run_totals(answer), **(whole if show_details else without_messages(whole))}


def without_messages(value: Any) -> Any:
    """The value with the codes of errors alone: their messages may hold addresses and texts of services."""
    if isinstance(value, list):
        return [without_messages(item) for item in value]
    if not isinstance(value, dict):
        return value
    hidden = {"message"} if "code" in value else set()
    return {key: without_messages(item) for key, item in value.items() if key not in hidden}


def total_headers(answer: Answer) -> HeaderList:
    """Return the totals as headers of a reply that isn't streamed."""
    cost_usd = answer.cost_usd
    return [
        (b"x-moa-status", answer.status.encode()),
        (b"x-moa-cost-usd", b"unknown" if cost_usd is None else f"{cost_usd:f}".encode()),
        (b"x-moa-critical-path-ms", f"{answer.latency.critical_path_s * 1000:.1f}".encode()),
    ]


def openai_tier(answer: Answer) -> str:
    """Return the service tier that all calls of a run were served in, as the OpenAI API names it."""
    tiers = {attempt.usage.tier for attempt in answer.ledger.attempts if attempt.usage is not None}
    return next(iter(tiers)) or "default" if len(tiers) == 1 and tiers <= {None, "flex", "priority"} else "default"


def openai_usage(usage: TokenUsage) -> dict[str, Any]:
    """Return the usage of all calls in the shape of chat completions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
