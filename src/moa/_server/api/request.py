"""What a client asks, whatever API it speaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from moa._messages import Conversation, Message, ReplyOptions, Sampling, conversation
from moa._mixture.schema import Tier
from moa._server.api.carried_state import unpacked_states, with_state
from moa._server.api.request_model import RequestModel
from moa._server.api.translated_tools import NO_TOOLS, TranslatedTools
from moa._server.http.errors import RequestError
from moa.errors import UsageError

MAX_MESSAGES = 5_000
"""Most messages of a conversation: each costs some microseconds for every call of a run."""


class MoaFields(RequestModel):
    """The field `moa` of a request: what mixtures have and single models don't.

    Attributes:
        ledger: Whether the reply's `moa` field holds every proposal, call and attempt.
        proposals: `reasoning`: proposals are shown as the model's thinking while they are written.
        bypass: Ask the aggregator alone, without any proposers.
        mixture: Keys of the mixture file that replace the served mixture's: mappings are merged, lists replaced.
        budget_usd: US dollars for this run; the tightest budget holds.
        deadline_s: Seconds for this run; the tightest deadline holds.
    """

    ledger: bool = False
    proposals: Literal["none", "reasoning"] = "none"
    bypass: bool = False
    mixture: dict[str, Any] | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


_NOTHING = MoaFields()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request for an answer.

    Attributes:
        model: What the client calls the mixture or model.
        stream: Whether the answer is wanted piece by piece.
        include_usage: Whether a stream ends with the usage.
        tier: The service tier of all calls; None: the operator's.
        tools: The tools as the client knows them.
        echo: Fields of the request that the API repeats in its reply.
        history: What to store of the conversation for requests that continue it; None if nothing.
        size_bytes: Of its body, and of what that refers to.
    """

    model: str
    messages: Conversation
    sampling: Sampling
    options: ReplyOptions
    seed: int | None = None
    stream: bool = False
    include_usage: bool = True
    moa: MoaFields = _NOTHING
    tier: Tier | None = None
    tools: TranslatedTools = NO_TOOLS
    echo: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Any] | None = None
    size_bytes: int = 0


def parse_messages(messages: Sequence[Message | Mapping[str, Any]], *, param: str) -> Conversation:
    """Return messages in the OpenAI API's shape as a conversation.

    An assistant turn that only calls tools becomes part of the one before it: services take all calls of a turn in one
    message. A mapping may have a `state`: the text that a client carried for the service.

    Raises:
        RequestError: They are none; `param` is the field where they stand.
    """
    joined = _joined_calls(messages)
    if joined and all(_role(turn) in ("system", "developer") for turn in joined):
        # OpenAI's own models take a system message for the whole prompt; others want a user's.
        only = joined[-1]
        joined[-1] = replace(only, role="user") if isinstance(only, Message) else {**only, "role": "user"}
    if len(joined) > MAX_MESSAGES:
        message = f"the conversation has more than {MAX_MESSAGES:,} messages, the most that this server takes"
        raise RequestError(413, "request_too_large", message, param=param)
    states = [turn.get("state") if isinstance(turn, Mapping) else None for turn in joined]
    plain = [
        {name: value for name, value in turn.items() if name != "state"} if isinstance(turn, Mapping) else turn
        for turn in joined
    ]
    try:
        return tuple(with_state(*pair) for pair in zip(conversation(plain), unpacked_states(states), strict=True))
    except UsageError as error:
        raise RequestError(400, "invalid_request", str(error), param=param) from None


def _role(turn: Message | Mapping[str, Any]) -> object:
    return turn.role if isinstance(turn, Message) else turn.get("role")


def _joined_calls(messages: Sequence[Message | Mapping[str, Any]]) -> list[Message | Mapping[str, Any]]:
    joined: list[Message | Mapping[str, Any]] = []
    calls: list[Any] = []  # of the last one in `joined`
    for message in messages:
        before = joined[-1] if joined else None
        if (
            isinstance(message, Mapping)
            and isinstance(before, Mapping)
            and message.get("role") == before.get("role") == "assistant"
            and message.get("tool_calls")
            and not message.get("content")
        ):
            if before.get("tool_calls") is not calls:
                calls = list(before.get("tool_calls") or ())
            calls.extend(message["tool_calls"])  # one list for all: there may be thousands
            joined[-1] = {**before, "tool_calls": calls, "state": before.get("state") or message.get("state")}
        else:
            joined.append(message)
    return joined


_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "prompt_cache_options": ({},),
    "verbosity": ("medium",),
}


_TIERS: Mapping[str, Tier | None] = {
    "auto": None,
    "default": None,
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}
"""The tiers of the OpenAI API; `fast` is its further name of `priority`. The usual one is the operator's own."""


def wanted_tier(value: object) -> Tier | None:
    """Return the tier that a request asks for; None: the operator's.

    Raises:
        RequestError: It is none, or one that is an arrangement of an account with its service.
    """
    if value is None:
        return None
    if not isinstance(value, str) or value not in _TIERS:
        message = f"service_tier: give {', '.join(_TIERS)}; others are a matter between the operator and the services"
        raise RequestError(400, "invalid_request", message, param="service_tier")
    return _TIERS[value]


def passthrough_fields(fields: Mapping[str, object]) -> dict[str, Any]:
    """Return fields for the aggregator's service that are neither absent nor what the API would do anyway."""
    return {name: value for name, value in fields.items() if value is not None and value not in _NEUTRAL.get(name, ())}
