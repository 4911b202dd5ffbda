"""A trace as one self-contained HTML page: no script, nothing fetched, nothing in it is markup but our own."""

import json
from typing import Any

from markupsafe import Markup

from moa._messages import message_dict
from moa._render.format import seconds, spent
from moa._render.html import filled
from moa._render.waterfall import waterfall_html
from moa._traces.trace import Trace


def trace_page(trace: Trace) -> str:
    """Return the page: how the run ended, its waterfall, what was said, with which parameters."""
    result = trace.outcome.result if trace.outcome else {}
    ledger = trace.ledger
    usage = ledger.usage
    return filled(
        "trace.html",
        trace=trace,
        result=result,
        state=_state(trace),
        facts={
            "time": seconds(trace.ended_s),
            "calls": f"{len(ledger.calls):,}",
            "tokens": f"{usage.input_tokens:,} in, {usage.output_tokens:,} out",
            "cost": spent(ledger.spend) if trace.outcome else "unknown",
            "seed": "none" if trace.options.seed is None else str(trace.options.seed),
            "recorded": f"{trace.recorded_at:%Y-%m-%d %H:%M} UTC, moa {trace.package}",
        },
        # Made by our own template, with everything in it escaped.
        waterfall=Markup(waterfall_html(ledger)),
        messages=[_role_and_text(message_dict(message)) for message in trace.conversation],
        mixture=json.dumps(trace.mixture.as_dict(), indent=2, ensure_ascii=False),
        events=[(f"{at_s:.3f}", event.get("type", ""), _one_line(event)) for at_s, event in trace.events],
    )


def _state(trace: Trace) -> str:
    if trace.outcome is None:
        return "breaks off"
    return str(trace.outcome.result.get("status", trace.outcome.kind))


def _role_and_text(message: dict[str, Any]) -> tuple[str, str]:
    content = message["content"]
    if isinstance(content, list):
        content = "\n".join(part.get("text", "[image]") for part in content)
    return str(message["role"]), str(content or "")


def _one_line(event: Any) -> str:
    """What an event says beside its type, on one line."""
    rest = {name: value for name, value in event.items() if name != "type"}
    return json.dumps(rest, ensure_ascii=False)[:200]
