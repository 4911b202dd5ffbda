"""The columns of an answer, which are added to its row."""

from collections.abc import Mapping
from typing import Any

from moa._results import Answer
from moa._usage import json_usd
from moa.errors import EngineError, MoaError

COLUMNS = (
    "answer",
    "answer_status",
    "answer_error",
    "answer_degraded",
    "answer_cost_usd",
    "answer_input_tokens",
    "answer_output_tokens",
    "answer_seconds",
)
"""In this order; a row of the user's file must not contain any of them."""


def answered(answer: Answer) -> Mapping[str, Any]:
    """Return the columns of an answer."""
    usage = answer.usage
    return {
        "answer": answer.text,
        "answer_status": answer.status,
        "answer_error": None,
        "answer_degraded": "; ".join(f"{why.agent}: {why.code}" for why in answer.degraded) or None,
        "answer_cost_usd": json_usd(answer.cost_usd),
        "answer_input_tokens": usage.input_tokens,
        "answer_output_tokens": usage.output_tokens,
        "answer_seconds": round(answer.latency.total_s, 3),
    }


def failed(error: MoaError) -> Mapping[str, Any]:
    """Return the columns of a row without an answer, with the cost of its calls."""
    spend = error.ledger.spend if isinstance(error, EngineError) else None
    usage = error.ledger.usage if isinstance(error, EngineError) else None
    return {
        "answer": None,
        "answer_status": "failed",
        "answer_error": f"{error.code}: {error}",
        "answer_degraded": None,
        "answer_cost_usd": None if spend is None else json_usd(spend.cost_usd),
        "answer_input_tokens": None if usage is None else usage.input_tokens,
        "answer_output_tokens": None if usage is None else usage.output_tokens,
        "answer_seconds": None,
    }
