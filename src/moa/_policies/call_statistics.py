"""How long replies are and take, by endpoint, model and kind of call: what plans expect of the next ones."""

from collections import defaultdict
from dataclasses import dataclass, fields

from moa._ledger import AttemptRecord
from moa.providers._base import ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatistics:
    """Complete replies of one kind, added up.

    Attributes:
        calls: How many; a fraction where older ones count less.
        input_tokens: Reported tokens of the prompts, of all of them.
        cached_input_tokens: Those of them that the service read from its prompt cache.
        output_tokens: Reported tokens that were written, of all of them.
        reasoning_tokens: Those of them that were reasoning, which nobody is shown.
        seconds: Seconds from sending to the end, of all of them.
    """

    calls: float = 0.0
    input_tokens: float = 0.0
    cached_input_tokens: float = 0.0
    output_tokens: float = 0.0
    reasoning_tokens: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "CallStatistics") -> "CallStatistics":
        """Add field by field."""
        return CallStatistics(**{name: getattr(self, name) + getattr(other, name) for name in MEASURES})


MEASURES = tuple(field.name for field in fields(CallStatistics))
"""The names of what is added up."""

VERDICT = "conversation choice"
"""How kinds begin of which a judge's calls in a given form are."""


def kind_of_call(layer: int, max_tokens: int | None, *, has_format: bool) -> str:
    """Return what calls have in common that take about equally long at one model.

    Args:
        layer: From 1; from 2 on, a prompt shows proposals.
        max_tokens: The most that the reply may have, None without a limit.
        has_format: Whether the reply has a given form: a choice or a verdict is shorter than an answer.
    """
    if has_format and layer == 1:
        return f"{VERDICT} {max_tokens or '-'}"
    prompt, reply = "proposals" if layer > 1 else "conversation", "choice" if has_format else "text"
    return f"{prompt} {reply} {max_tokens or '-'}"


class CallRecorder:
    """Adds up the replies of one process, to be stored when it ends."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, str], CallStatistics] = defaultdict(CallStatistics)

    def add(self, endpoint: str, request: ModelRequest, attempt: AttemptRecord) -> None:
        """Count an attempt; only complete replies whose service reported their tokens count.

        Args:
            endpoint: The endpoint's name and address.
            request: What was asked.
            attempt: How it ended.
        """
        call, usage = request.context.call, attempt.usage
        if call is None or attempt.ended_at is None or attempt.status != "ok":
            return
        if usage is None or attempt.usage_source != "reported" or attempt.cached:
            return
        kind = kind_of_call(
            call.layer, request.sampling.max_tokens, has_format=request.options.response_format is not None
        )
        self._sums[endpoint, request.model, kind] += CallStatistics(
            calls=1.0,
            input_tokens=usage.input_tokens,
            cached_input_tokens=usage.cached_input_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            seconds=attempt.ended_at - attempt.sent_at,
        )

    def take(self) -> dict[tuple[str, str, str], CallStatistics]:
        """Return the sums by endpoint, model and kind, and start again from zero."""
        taken, self._sums = dict(self._sums), defaultdict(CallStatistics)
        return taken
