"""When each attempt of a run waited, thought and wrote: what waterfalls are drawn from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from moa._ledger import Attempt, Call, Ledger
from moa._render.format import count, seconds, usd

BarState = Literal["ok", "cached", "failed", "cancelled", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One attempt. Times are seconds after the run's start.

    Attributes:
        label: The agent; for its further attempts, what they are.
        model: Reference of the model.
        is_first: Whether it is its agent's first attempt.
        queued_s: When it began to wait for a free place.
        sent_s: When it was sent.
        first_token_s: When its first token came; None if it came whole, or none came.
        ended_s: When it was over.
        figures: Time, tokens and cost in a few words.
        problem: What went wrong; empty if nothing did.
    """

    label: str
    model: str
    is_first: bool
    state: BarState
    queued_s: float
    sent_s: float
    first_token_s: float | None
    ended_s: float
    figures: str
    problem: str = ""

    @property
    def writes_s(self) -> float:
        """When it began to write; a reply that came whole is all writing, one that never came is none."""
        if self.first_token_s is not None:
            return self.first_token_s
        return self.sent_s if self.state in ("ok", "cached") else self.ended_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The attempts of one layer."""

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All attempts of a run, layer by layer; `span_s` is when the last one was over."""

    lanes: tuple[Lane, ...]
    span_s: float


def timeline(ledger: Ledger) -> Timeline:
    """Return a ledger as a timeline, in the order of layers and within them of starting."""
    lanes = tuple(_lane(layer, ledger) for layer in sorted({call.layer for call in ledger.calls}))
    span_s = max((bar.ended_s for lane in lanes for bar in lane.bars), default=0.0)
    return Timeline(lanes=lanes, span_s=span_s)


def _lane(layer: int, ledger: Ledger) -> Lane:
    calls = [call for call in ledger.calls if call.layer == layer]
    purposes = {call.purpose for call in calls}
    title = "answer" if purposes == {"answer"} else f"layer {layer}"
    return Lane(title=title, bars=tuple(_bars(calls)))


def _bars(calls: list[Call]) -> Iterator[Bar]:
    """An agent's attempts are listed together, even if others started between them."""
    for agent in dict.fromkeys(call.agent for call in calls):
        own = [call for call in calls if call.agent == agent]
        for number, call in enumerate(own):
            for at, attempt in enumerate(call.attempts):
                label = agent if not (number or at) else _kind(attempt, call, own[0], is_fallback=not at)
                yield _bar(label, call.model, attempt, is_first=not (number or at))


def _kind(attempt: Attempt, call: Call, first: Call, *, is_fallback: bool) -> str:
    if attempt.hedge:
        return "hedge"
    if is_fallback and call.model != first.model:
        return f"fallback {call.model}"
    return "again"


def _bar(label: str, model: str, attempt: Attempt, *, is_first: bool) -> Bar:
    sent_s = attempt.started_s + attempt.queue_s
    return Bar(
        label=label,
        model=model,
        is_first=is_first,
        state="cached" if attempt.cached and attempt.status == "ok" else attempt.status,
        queued_s=attempt.started_s,
        sent_s=sent_s,
        first_token_s=None if attempt.first_token_s is None else sent_s + attempt.first_token_s,
        ended_s=sent_s + attempt.duration_s,
        figures=", ".join(_figures(attempt)),
        problem="" if attempt.error is None else attempt.error.message.removeprefix(f"{model}: "),
    )


def _figures(attempt: Attempt) -> Iterator[str]:
    if attempt.reused:
        yield "reused"
        return
    yield seconds(attempt.queue_s + attempt.duration_s)
    if attempt.usage is None or not attempt.usage.total_tokens:
        return
    about = {"estimated": "about ", "upper_bound": "at most "}.get(attempt.usage_source, "")
    if attempt.usage.output_tokens:
        yield about + count(attempt.usage.output_tokens, "token")
    if attempt.cached:
        yield "cached"
    else:
        yield "price unknown" if attempt.cost_usd is None else about + usd(attempt.cost_usd)
