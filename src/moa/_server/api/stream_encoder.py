"""What the replies of all APIs have in common."""

from typing import Any

from moa._results import Answer
from moa._server.api.proposal_reasoning import Narrator, narrated
from moa._server.api.request import Ask
from moa._server.api.usage import moa_field
from moa._server.http.exchange import Visit
from moa.events import Event


def call_id(request_id: str, index: int) -> str:
    """Return an id for a tool call whose service gave none: clients send it back with the tool's result."""
    return f"call_{request_id.removeprefix('req-')}_{index}"


def thinking(ask: Ask, answer: Answer) -> str:
    """Return what a whole reply shows as the model's thinking: the proposals, if they are asked for, and its own."""
    return (narrated(answer) if ask.moa.proposals == "reasoning" else "") + answer.reasoning


class AnswerScript:
    """What has to be remembered of a run that is told to a client, whatever API it speaks.

    Args:
        visit: Whose reply it is.
        ask: What was asked.
        candid: Whether the ledger repeats what services said of their faults.
    """

    def __init__(self, visit: Visit, ask: Ask, *, candid: bool) -> None:
        self._visit, self._ask, self._candid = visit, ask, candid
        self._narrator = Narrator() if ask.moa.proposals == "reasoning" else None
        self._finished: Answer | None = None

    def _narration(self, event: Event) -> str:
        """What an event adds to the proposals that are shown as thinking; empty if nothing."""
        return self._narrator.hear(event) if self._narrator else ""

    @property
    def _answer(self) -> Answer:
        assert self._finished is not None, "a stream is closed after `RunFinished`"
        return self._finished

    @property
    def _moa(self) -> dict[str, Any]:
        """The field `moa` of the stream's end."""
        return moa_field(self._ask, self._answer, candid=self._candid)
