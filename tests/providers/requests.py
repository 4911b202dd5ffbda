"""Requests, books and endpoints that the providers' tests use."""

from typing import Any

from pydantic import SecretStr

from moa._ledger import Attempt, Meter
from moa._messages import conversation
from moa.providers._base import ModelRequest, Provider, ReplyEvent
from moa.providers._call_context import CallContext
from moa.providers._endpoint import Endpoint

KEY = "sk-secret-0123456789"


def ask(model: str = "small", prompt: str = "Say hello.", **fields: Any) -> ModelRequest:
    """Return a request for a model of the endpoint `lab`."""
    fields.setdefault("messages", conversation(prompt))
    return ModelRequest(reference=f"lab/{model}", model=model, **fields)


def lab(base_url: str, **fields: Any) -> Endpoint:
    """Return the endpoint `lab`, with a key."""
    return Endpoint(name="lab", kind="openai", base_url=base_url, api_key=SecretStr(KEY), **fields)


async def events_of(provider: Provider, request: ModelRequest) -> list[ReplyEvent]:
    """Return all events of a reply."""
    async with provider.stream(request) as events:
        return [event async for event in events]


class Books:
    """A ledger with one open call: `books.context` goes into a request, `books.attempts` is what was written down."""

    def __init__(self, model: str = "lab/small") -> None:
        self.meter = Meter()
        self.call = self.meter.open_call(agent="a", model=model, purpose="proposal", layer=1, price=lambda usage: None)

    @property
    def context(self) -> CallContext:
        """The context of a request whose attempts are written down here."""
        return CallContext(call=self.call)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The call's attempts so far."""
        return self.meter.ledger().attempts
