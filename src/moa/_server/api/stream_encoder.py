"""What the replies of all APIs have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moa._results import Answer
from moa._server.api.proposal_reasoning import ProposalReasoning, proposals_text
from moa._server.api.request import ApiRequest
from moa._server.api.usage import moa_field
from moa._server.http.exchange import HeaderList, HttpExchange
from moa.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedReply:
    """A whole reply.

    Attributes:
        stored: What later requests may refer to, by id.
    """

    body: bytes
    headers: HeaderList
    stored: Mapping[str, Any] = field(default_factory=dict)


def call_id(request_id: str, index: int) -> str:
    """Return an id for a tool call whose service gave none: clients send it back with the tool's result."""
    return f"call_{request_id.removeprefix('req-')}_{index}"


def call_ids(request_id: str, answer: Answer) -> dict[int, str]:
    """Return the ids by which clients know an answer's tool calls, by their index."""
    return {index: call.id or call_id(request_id, index) for index, call in enumerate(answer.tool_calls)}


def thinking(request: ApiRequest, answer: Answer) -> str:
    """Return what a whole reply shows as the model's thinking: the proposals, if they are asked for, and its own."""
    return (proposals_text(answer) if request.moa.proposals == "reasoning" else "") + answer.reasoning


class BaseStreamEncoder:
    """The state of one run that is streamed to a client, whatever API it speaks.

    Args:
        exchange: The request that is answered.
        request: What was asked.
        show_details: Whether the ledger includes the text of services' errors.
    """

    def __init__(self, exchange: HttpExchange, request: ApiRequest, *, show_details: bool) -> None:
        self._exchange, self._request, self._show_details = exchange, request, show_details
        self._proposals = ProposalReasoning() if request.moa.proposals == "reasoning" else None
        self._finished: Answer | None = None

    def stored(self) -> Mapping[str, Any]:
        """What later requests may refer to, by id; asked for after `closing`."""
        return {}

    def _proposal_text(self, event: Event) -> str:
        """What an event adds to the proposals that are shown as thinking; empty if nothing."""
        return self._proposals.add(event) if self._proposals else ""

    @property
    def _answer(self) -> Answer:
        assert self._finished is not None, "a stream is closed after `RunFinished`"
        return self._finished

    @property
    def _moa(self) -> dict[str, Any]:
        """The field `moa` of the stream's end."""
        return moa_field(self._request, self._answer, show_details=self._show_details)
