"""What the replies of all APIs have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moa._results import Answer
from moa._server.api.carried_state import packed_state
from moa._server.api.proposal_reasoning import ProposalReasoning, proposals_text
from moa._server.api.request import ApiRequest
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedReply:
    """A whole reply.

    Attributes:
        stored: What later requests may refer to, by id.
    """

    body: dict[str, Any]
    stored: Mapping[str, Any] = field(default_factory=dict)


def call_id(exchange: HttpExchange, index: int) -> str:
    """Return an id for a tool call whose service gave none: clients send it back with the tool's result."""
    return f"call_{exchange.id.removeprefix('req-')}_{index}"


def carried_state(exchange: HttpExchange, answer: Answer) -> str | None:
    """Return what an answer's service wants back, as one text for the client to carry; None if it wants nothing."""
    ids = {index: call.id or call_id(exchange, index) for index, call in enumerate(answer.tool_calls)}
    return packed_state(answer, ids)


def thinking(request: ApiRequest, answer: Answer) -> str:
    """Return what a whole reply shows as the model's thinking: the proposals, if they are asked for, and its own."""
    return (proposals_text(answer) if request.moa.proposals == "reasoning" else "") + answer.reasoning


class StreamEncoder(ABC):
    """How one API writes a run as a stream of events; keeps the state of one stream.

    Args:
        exchange: The request that is answered.
        request: What was asked.

    Attributes:
        keep_alive: What shows that a silent stream is alive.
    """

    keep_alive = b": keep-alive\n\n"

    def __init__(self, exchange: HttpExchange, request: ApiRequest) -> None:
        self._exchange, self._request = exchange, request
        self._proposals = ProposalReasoning() if request.moa.proposals == "reasoning" else None

    @abstractmethod
    def opening(self) -> bytes:
        """What a stream begins with, before anything has happened."""

    @abstractmethod
    def event(self, event: Event) -> bytes:
        """What an event of the engine adds to the stream; empty if nothing."""

    @abstractmethod
    def closing(self, answer: Answer, moa: Mapping[str, Any]) -> bytes:
        """What a stream ends with after `RunFinished`; `moa` is the reply's field of that name."""

    @abstractmethod
    def failure(self, failure: RequestError) -> bytes:
        """How a failure is written after the stream has begun."""

    def stored(self, answer: Answer) -> Mapping[str, Any]:
        """What later requests may refer to, by id; asked for after `closing`."""
        return {}

    def _proposal_text(self, event: Event) -> str:
        """What an event adds to the proposals that are shown as thinking; empty if nothing."""
        return self._proposals.add(event) if self._proposals else ""
