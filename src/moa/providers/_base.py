"""The protocol that every provider and every policy around one has: `stream(request)`.

A reply is a series of deltas with one `Finish` at its end; `collect` folds them into a `Reply`. A provider raises
`ProviderError`s and nothing else, and never puts an error's text into the reply.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from moa._ledger import ErrorInfo
from moa._messages import Conversation, ReplyOptions, Sampling, ServiceState, ToolCall
from moa._usage import TokenUsage
from moa.errors import BrokenReply
from moa.providers._call_context import NO_CONTEXT, CallContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One question to one model.

    Attributes:
        reference: `endpoint/model-id`, for errors.
        model: The model's id as its service knows it.
        messages: The whole conversation; system messages come first.
        sampling: Parameters; None inside means "the service's default".
        options: Tools, response format and the like.
        deltas: Whether the reply is wanted piece by piece; if not, a provider may use a cheaper call.
        idle_timeout_s: Longest silence inside a streamed reply, in seconds; None for no limit.
        avoid: What the service is known to refuse and only its adapter can write in another way: `max_tokens` (its
            other name is `max_completion_tokens`), `stream_options`, `null_content`, and calls without what it would
            have hung on them itself, `thought_signature` and `thoughts_of_calls`.
        context: How the call is made (ledger, budget, time); nothing that a provider has to read.
    """

    reference: str
    model: str
    messages: Conversation
    sampling: Sampling = field(default_factory=Sampling)
    options: ReplyOptions = field(default_factory=ReplyOptions)
    deltas: bool = True
    idle_timeout_s: float | None = None
    avoid: frozenset[str] = frozenset()
    context: CallContext = field(default=NO_CONTEXT, repr=False)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Visible text; `logprobs` in the OpenAI API's shape where they were asked for."""

    text: str
    logprobs: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Text that the model thinks to itself; never part of a proposal or an answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; `id` and `name` come with its first piece, `state` with any."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    state: ServiceState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The end of a reply.

    Attributes:
        reason: `stop`, `length`, `tool_calls`, `content_filter`, or the service's own word.
        usage: Reported tokens, None if the service reported none.
        served_by: The model's name in the service's words.
        request_id: The service's id of the request, for its support.
        notes: What is worth knowing of a reply that is whole, e.g. that it gave no reason for its end.
        state: What the service wants back with this message in the next request; None if nothing.
        stop_sequence: Which of the request's stop texts ended the reply; None if none did, or the service doesn't say.
    """

    reason: str
    usage: TokenUsage | None = None
    served_by: str | None = None
    request_id: str | None = None
    notes: tuple[ErrorInfo, ...] = ()
    state: ServiceState | None = None
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Restarted:
    """What came so far is void: its attempt failed and another one begins. Only replayable requests see this."""


ReplyEvent = TextDelta | ReasoningDelta | ToolCallDelta | Finish | Restarted
"""What a reply consists of."""

ReplyStream = AbstractAsyncContextManager[AsyncIterator[ReplyEvent]]
"""An open reply: entering it gives the events, leaving it closes the connection."""


class WholeReply:
    """The events of a reply that is all there. A policy looks at them at once, and has no need to be called for each.

    Attributes:
        events: All of them, in order.
    """

    __slots__ = ("_left", "events")

    def __init__(self, events: Sequence[ReplyEvent]) -> None:
        self.events = events
        self._left = iter(events)

    def __aiter__(self) -> AsyncIterator[ReplyEvent]:
        return self

    async def __anext__(self) -> ReplyEvent:
        for event in self._left:
            return event
        raise StopAsyncIteration


class Provider(Protocol):
    """Calls models of one endpoint. Policies wrap a provider and are providers themselves."""

    @property
    def takes_seed(self) -> bool:
        """Whether the service honors `Sampling.seed`."""
        ...

    def stream(self, request: ModelRequest) -> ReplyStream:
        """Open a reply; leaving the block closes its connection.

        Raises:
            ProviderError: On entering or while iterating.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections and processes."""
        ...


class WrappedProvider:
    """A provider around another one: like it in all that a subclass doesn't say otherwise.

    Args:
        inner: The other one.

    Attributes:
        inner: The other one.
    """

    def __init__(self, inner: Provider) -> None:
        self.inner = inner

    @property
    def takes_seed(self) -> bool:
        """Whether the service honors a seed, as far as is known by now."""
        return self.inner.takes_seed

    async def aclose(self) -> None:
        """Close the wrapped provider."""
        await self.inner.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole reply."""

    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    finish: Finish

    @property
    def is_empty(self) -> bool:
        """Whether there is neither text, nor a tool call, nor a log probability (a judge's blank token has some)."""
        return not self.text.strip() and not self.tool_calls and not self.logprobs


class ReplyFold:
    """Adds up the events of one reply; also shows what had arrived when a reply broke off."""

    def __init__(self) -> None:
        self.finish: Finish | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._tools: dict[int, ToolCall] = {}

    def add(self, event: ReplyEvent) -> None:
        """Take in the next event."""
        match event:
            case TextDelta():
                self._text.append(event.text)
                self._logprobs.extend(event.logprobs)
            case ReasoningDelta():
                self._reasoning.append(event.text)
            case ToolCallDelta():
                self._add_tool(event)
            case Finish():
                self.finish = event
            case Restarted():
                self._text, self._reasoning, self._logprobs, self._tools = [], [], [], {}

    def _add_tool(self, delta: ToolCallDelta) -> None:
        known = self._tools.get(delta.index, ToolCall(id="", name="", arguments=""))
        self._tools[delta.index] = ToolCall(
            id=known.id or delta.id or "",
            name=known.name or delta.name or "",
            arguments=known.arguments + delta.arguments,
            state=delta.state or known.state,
        )

    @property
    def text(self) -> str:
        """Visible text so far."""
        return "".join(self._text)

    @property
    def written(self) -> str:
        """Everything that the model wrote so far: text, reasoning and tool calls."""
        tools = (call.name + call.arguments for call in self._tools.values())
        return "".join((*self._text, *self._reasoning, *tools))

    def reply(self, reference: str) -> Reply:
        """The whole reply.

        Raises:
            BrokenReply: It has no end.
        """
        if self.finish is None:
            raise BrokenReply("the reply ended without saying why", model=reference)
        return Reply(
            text=self.text,
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._tools[index] for index in sorted(self._tools)),
            logprobs=tuple(self._logprobs),
            finish=self.finish,
        )


async def collect(provider: Provider, request: ModelRequest) -> Reply:
    """Return the whole reply: a fold over the provider's stream.

    Raises:
        ProviderError: Whatever the provider raises; `BrokenReply` if the stream had no end.
    """
    fold = ReplyFold()
    async with provider.stream(request) as events:
        async for event in events:
            fold.add(event)
    return fold.reply(request.reference)
