"""The state of a run: a fold over its events, with one row for each agent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from moa._ledger import Attempt
from moa._results import Answer, Proposal
from moa._usage import Spend
from moa.events import (
    AgentInfo,
    AnswerDelta,
    CallStarted,
    Event,
    LayerStarted,
    ProposalDelta,
    ProposalFinished,
    ProposalRestarted,
    RunFinished,
    RunStarted,
)
from moa.providers._token_estimates import BYTES_PER_TOKEN

AgentState = Literal[
    "waiting", "asked", "thinking", "writing", "answering", "done", "cut off", "failed", "abandoned", "cancelled"
]

_EXCERPT_CHARACTERS = 2000
"""More than the widest terminal shows for one agent."""


@dataclass(slots=True, kw_only=True)
class AgentRow:
    """The state of one agent.

    Attributes:
        agent: Its unique name.
        model: Reference of the model that is asked now: its own, or a fallback.
        state: `asked` until the first token, then `thinking` (reasoning only) or `writing`; `answering` if its text is
            streamed elsewhere.
        started_at: The clock's reading when its layer was asked; None before.
        duration_s: Seconds that it took; None while it runs.
        written_bytes: UTF-8 bytes that have arrived.
        excerpt: While it runs, the end of its text or reasoning; afterwards the start of its text.
        output_tokens: Tokens that the service reported at the end; None if it has not, or never does.
        spend: What it cost; None while it runs.
        failure: Why it was not used, in a sentence.
    """

    agent: str
    model: str
    state: AgentState = "waiting"
    started_at: float | None = None
    duration_s: float | None = None
    written_bytes: int = 0
    excerpt: str = ""
    output_tokens: int | None = None
    spend: Spend | None = None
    failure: str | None = None

    @property
    def running(self) -> bool:
        """Whether it was asked and has not ended."""
        return self.state in ("asked", "thinking", "writing")

    @property
    def estimated_tokens(self) -> int:
        """Approximate number of tokens that have arrived."""
        return -(-self.written_bytes // BYTES_PER_TOKEN)

    def write(self, text: str, *, reasoning: bool) -> None:
        """Add a piece of its reply."""
        state: AgentState = "thinking" if reasoning and self.state != "writing" else "writing"
        if not reasoning or state == "thinking":
            written = self.excerpt + text if state == self.state else text
            # Cut rarely: each cut changes the line breaks of the text that is shown.
            self.excerpt = written if len(written) < 2 * _EXCERPT_CHARACTERS else written[-_EXCERPT_CHARACTERS:]
        self.state = state
        self.written_bytes += len(text.encode("utf-8", "surrogatepass"))

    def close(self, attempts: Iterable[Attempt], duration_s: float) -> None:
        """Set its final time, cost and tokens."""
        attempts = tuple(attempts)
        self.duration_s = duration_s
        self.spend = sum((attempt.spend for attempt in attempts), Spend())
        reported = [a.usage.output_tokens for a in attempts if a.usage and a.usage_source == "reported"]
        self.output_tokens = sum(reported) if reported else None


class RunProgress:
    """The state of a run: apply its events, read its rows."""

    def __init__(self) -> None:
        self.mixture = ""
        self.layers: list[list[AgentRow]] = []
        self.aggregator: AgentRow | None = None

    def apply(self, event: Event, now: float) -> None:
        """Apply the next event.

        Args:
            event: From the engine.
            now: Reading of a monotonic clock, in seconds.
        """
        match event:
            case RunStarted():
                self.mixture = event.mixture
                self.layers = [[_row(info) for info in roster] for roster in event.layers]
                self.aggregator = _row(event.aggregator)
            case LayerStarted(layer=layer):
                for row in self.layers[layer - 1]:
                    row.state, row.started_at = "asked", now
            case CallStarted():
                self._ask(event, now)
            case ProposalDelta():
                self.layers[event.layer - 1][event.index].write(event.text, reasoning=event.reasoning)
            case ProposalRestarted():
                row = self.layers[event.layer - 1][event.index]
                row.state, row.written_bytes, row.excerpt = "asked", 0, ""
            case ProposalFinished(proposal=proposal):
                self._finish(proposal)
            case AnswerDelta() if self.aggregator:
                self.aggregator.write(event.text, reasoning=event.reasoning)
            case RunFinished(answer=answer):
                self._end(answer)
            case _:
                pass

    def hand_over(self) -> None:
        """Record that the answer is shown elsewhere from now on: the aggregator's row is not drawn again."""
        if self.aggregator and self.aggregator.running:
            self.aggregator.state = "answering"

    def cancel(self, now: float) -> None:
        """Record that the run was cancelled.

        Args:
            now: Reading of the clock that the events came with, in seconds.
        """
        rows = [row for layer in self.layers for row in layer] + ([self.aggregator] if self.aggregator else [])
        for row in rows:
            if row.running:
                row.state = "cancelled"
                row.duration_s = None if row.started_at is None else now - row.started_at

    def _ask(self, event: CallStarted, now: float) -> None:
        if event.layer <= len(self.layers):
            self.layers[event.layer - 1][event.index].model = event.model
        elif self.aggregator:
            row = self.aggregator
            row.model, row.state = event.model, "asked"
            row.started_at = now if row.started_at is None else row.started_at

    def _finish(self, proposal: Proposal) -> None:
        row = self.layers[proposal.layer - 1][proposal.index]
        row.model = proposal.model
        row.state = ("cut off" if proposal.cut_off else "done") if proposal.status == "used" else proposal.status
        row.failure = proposal.error.message if proposal.error else None
        row.excerpt = proposal.text[:_EXCERPT_CHARACTERS] if proposal.status == "used" else ""
        row.close(proposal.attempts, proposal.duration_s)

    def _end(self, answer: Answer) -> None:
        if self.aggregator and answer.attempts:
            self.aggregator.state = "cut off" if answer.finish_reason == "length" else "done"
            self.aggregator.close(answer.attempts, answer.aggregation_s)


def _row(info: AgentInfo) -> AgentRow:
    return AgentRow(agent=info.agent, model=info.model)
