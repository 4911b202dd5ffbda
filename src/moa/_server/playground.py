"""The playground's own API: mixtures as the page shows them, and runs as the engine's events."""

from dataclasses import replace
from typing import Annotated, Any

import orjson
import yaml
from pydantic import Field

from moa._engine.stream import RunStream
from moa._ledger import ErrorInfo
from moa._messages import ReplyOptions, Sampling
from moa._mixture.roster import roster
from moa._mixture.schema import Agent, Mixture
from moa._render.errors import unfinished_dict
from moa._server import streaming
from moa._server.api.request import ApiRequest, MoaFields, talk
from moa._server.api.request_model import RequestModel, encode, parse
from moa._server.api.usage import without_messages
from moa._server.http.errors import ErrorResponse
from moa._server.http.exchange import HttpExchange
from moa._server.models import ServedModel
from moa._server.service import Service
from moa._traces.event_json import event_dict
from moa._validation.strict_yaml import check, from_text
from moa.errors import MixtureError
from moa.events import (
    AnswerDelta,
    AnswerToolCallDelta,
    Event,
    ProposalDelta,
)

CUSTOM = "custom"
"""Label of mixtures that a request brings."""


class YamlText(RequestModel):
    """A mixture file's text."""

    yaml: str


class MixtureFields(RequestModel):
    """A mixture as a mapping."""

    mixture: dict[str, Any]


class RunRequest(RequestModel):
    """One run.

    Attributes:
        mixture: What `GET /api/mixtures` or `GET /v1/models` lists, or a mixture as a mapping.
        messages: In the OpenAI API's shape.
    """

    mixture: Any
    messages: list[dict[str, Any]]
    seed: int | None = None
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    budget_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def list_mixtures(service: Service) -> list[dict[str, Any]]:
    """Return all mixtures as the page shows them."""
    return [_shown(mixture) for mixture in service.menu.mixtures.values()]


def _shown(mixture: Mixture) -> dict[str, Any]:
    return {
        "name": mixture.name,
        "description": mixture.description,
        "mixture": mixture.as_dict(),
        "layers": [
            [{"agent": member.name, "model": member.agent.model} for member in roster(layer)]
            for layer in mixture.layers
        ],
        "aggregator": _seat(mixture.aggregator),
    }


def _seat(aggregator: Agent) -> dict[str, str]:
    return {"agent": aggregator.name or "aggregator", "model": aggregator.model}


class Playground:
    """The doors of the page's own API.

    Args:
        service: What the doors share.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def check(self, visit: HttpExchange) -> None:
        """Tell whether a mixture file can be used; if not, where it is wrong."""
        text = parse(YamlText, await self._body(visit)).yaml
        try:
            fields = from_text(text, MixtureError).data
            mixture = self._service.menu.requested(fields if isinstance(fields, dict) else {})
            # Once more with the lines of the text, which only a document has.
            check(Mixture, from_text(text, MixtureError))
        except MixtureError as error:
            await visit.reply(200, encode({"error": self._complaint(text, error)}))
        else:
            await visit.reply(200, encode({"ok": True, "mixture": _shown(mixture)}))

    def _complaint(self, text: str, error: MixtureError) -> dict[str, Any]:
        try:
            check(Mixture, from_text(text, MixtureError))
        except MixtureError as located:
            error = located
        return {"message": str(error.args[0]), "line": error.line, "key": error.key}

    async def to_yaml(self, visit: HttpExchange) -> None:
        """Give a mixture as the text of its file."""
        mixture = self._service.menu.requested(parse(MixtureFields, await self._body(visit)).mixture)
        text = yaml.safe_dump(mixture.as_dict(), sort_keys=False, allow_unicode=True, width=100)
        await visit.reply(200, encode({"yaml": text}))

    async def run(self, visit: HttpExchange) -> None:
        """Run a mixture and tell every event."""
        service = self._service
        visit.caller.check_rate(visit.started_at)
        with service.gate.entered(visit):
            request = parse(RunRequest, await self._body(visit))
            served = self._chosen(request.mixture)
            ask = ApiRequest(
                model=served.id,
                messages=talk(request.messages, param="messages"),
                sampling=Sampling(),
                options=ReplyOptions(),
                seed=request.seed,
                stream=True,
                moa=MoaFields(proposals="reasoning", budget_usd=request.budget_usd, deadline_s=request.deadline_s),
            )
            run = service.open(visit, ask, served)
            await streaming.stream(
                service, visit, served, run, EventStreamEncoder(run, show_details=service.options.shows_error_details)
            )

    def _chosen(self, mixture: object) -> ServedModel:
        menu = self._service.menu
        if isinstance(mixture, str):
            return menu.find(mixture)
        if not isinstance(mixture, dict):
            raise MixtureError("expected a name or a mapping", key="mixture")
        own = menu.requested(mixture)
        return replace(menu.all[0], id=own.name, mixture=own, label=CUSTOM)

    async def _body(self, visit: HttpExchange) -> bytes:
        options = self._service.options
        return await visit.body(options.max_body_bytes, options.body_timeout_s)


class EventStreamEncoder:
    """The engine's events as JSON objects, one for each server-sent event.

    Args:
        run: Whose books a failure is told with.
        candid: Whether to repeat what services said of their faults.
    """

    keep_alive = b": keep-alive\n\n"

    def __init__(self, run: RunStream, *, show_details: bool) -> None:
        self._run, self._candid = run, show_details

    def opening(self) -> bytes:
        """Shows at once that the stream has begun."""
        return b": run\n\n"

    def event(self, event: Event) -> bytes:
        """One event."""
        told = event_dict(event)
        is_piece = isinstance(event, AnswerDelta | ProposalDelta | AnswerToolCallDelta)
        return _line(told if is_piece else self._without_details(told))

    def closing(self) -> bytes:
        """`run_finished` is the last word."""
        return b""

    def failure(self, failure: ErrorResponse) -> bytes:
        """The last event of a run that failed, with what it used all the same."""
        causes = [dict(cause) for cause in failure.causes]
        error = {"code": failure.code, "message": failure.message, "causes": causes}
        books = unfinished_dict(ErrorInfo(code=failure.code, message=failure.message), self._run.ledger)
        return _line({"type": "error", "error": error, "ledger": self._without_details(books)})

    def _without_details(self, told: dict[str, Any]) -> Any:
        return told if self._candid else without_messages(told)


def _line(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
