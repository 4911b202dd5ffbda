"""The playground's own API: mixtures as the page shows them, and runs as the engine's events."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import yaml
from pydantic import Field

from moa._engine.stream import RunStream
from moa._ledger import ErrorInfo
from moa._messages import ReplyOptions, Sampling
from moa._mixture.roster import roster
from moa._mixture.schema import Mixture
from moa._render.errors import unfinished_dict
from moa._server.api.request import ApiRequest, MoaFields, parse_messages
from moa._server.api.request_model import RequestModel, encode, parse
from moa._server.api.usage import without_messages
from moa._server.http.endpoint import Endpoint
from moa._server.http.errors import ErrorResponse
from moa._server.http.exchange import HttpExchange
from moa._server.models import ServedModel
from moa._server.service import Service
from moa._server.streaming import stream_reply
from moa._traces.event_json import event_dict
from moa._validation.strict_yaml import check, from_text
from moa.errors import MixtureError
from moa.events import AnswerDelta, AnswerToolCallDelta, Event, ProposalDelta

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


def _mixture_dict(mixture: Mixture) -> dict[str, Any]:
    aggregator = mixture.aggregator
    return {
        "name": mixture.name,
        "description": mixture.description,
        "mixture": mixture.as_dict(),
        "layers": [
            [{"agent": member.name, "model": member.agent.model} for member in roster(layer)]
            for layer in mixture.layers
        ],
        "aggregator": {"agent": aggregator.name or "aggregator", "model": aggregator.model},
    }


class Playground:
    """The page's own addresses.

    Args:
        service: What all handlers share.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        """Return the addresses that the page calls."""
        tag = "playground"
        return [
            Endpoint(
                method="GET",
                path="/api/mixtures",
                handle=self.list_mixtures,
                summary="List the mixtures as the page shows them.",
                tag=tag,
            ),
            Endpoint(
                method="POST",
                path="/api/runs",
                handle=self.run,
                summary="Run a mixture and stream every event.",
                tag=tag,
                body=RunRequest,
                streams=True,
            ),
            Endpoint(
                method="POST",
                path="/api/check",
                handle=self.check,
                summary="Check whether a mixture file can be used.",
                tag=tag,
                body=YamlText,
            ),
            Endpoint(
                method="POST",
                path="/api/yaml",
                handle=self.to_yaml,
                summary="Write a mixture as the text of its file.",
                tag=tag,
                body=MixtureFields,
            ),
        ]

    async def list_mixtures(self, exchange: HttpExchange) -> None:
        """List all mixtures as the page shows them."""
        await exchange.reply(200, encode([_mixture_dict(each) for each in self._service.models.mixtures.values()]))

    async def check(self, exchange: HttpExchange) -> None:
        """Answer whether a mixture file can be used; if not, where it is wrong."""
        text = parse(YamlText, await self._body(exchange)).yaml
        try:
            fields = from_text(text, MixtureError).data
            mixture = self._service.models.from_request(fields if isinstance(fields, dict) else {})
            # Once more with the lines of the text, which only a document has.
            check(Mixture, from_text(text, MixtureError))
        except MixtureError as error:
            await exchange.reply(200, encode({"error": _error_dict(text, error)}))
        else:
            await exchange.reply(200, encode({"ok": True, "mixture": _mixture_dict(mixture)}))

    async def to_yaml(self, exchange: HttpExchange) -> None:
        """Answer with a mixture as the text of its file."""
        mixture = self._service.models.from_request(parse(MixtureFields, await self._body(exchange)).mixture)
        text = yaml.safe_dump(mixture.as_dict(), sort_keys=False, allow_unicode=True, width=100)
        await exchange.reply(200, encode({"yaml": text}))

    async def run(self, exchange: HttpExchange) -> None:
        """Run a mixture and stream every event."""
        service = self._service
        exchange.caller.check_rate(exchange.started_at)
        with service.inflight.acquire(exchange):
            body = parse(RunRequest, await self._body(exchange))
            served = self._resolve(body.mixture)
            request = ApiRequest(
                model=served.id,
                messages=parse_messages(body.messages, param="messages"),
                sampling=Sampling(),
                options=ReplyOptions(),
                seed=body.seed,
                stream=True,
                moa=MoaFields(proposals="reasoning", budget_usd=body.budget_usd, deadline_s=body.deadline_s),
            )
            run = service.open_run(exchange, request, served)
            encoder = EventStreamEncoder(run, show_details=service.options.shows_error_details)
            await stream_reply(service, exchange, served, run, encoder)

    def _resolve(self, mixture: object) -> ServedModel:
        models = self._service.models
        if isinstance(mixture, str):
            return models.get(mixture)
        if not isinstance(mixture, dict):
            raise MixtureError("expected a name or a mapping", key="mixture")
        own = models.from_request(mixture)
        return ServedModel(id=own.name, mixture=own, label=CUSTOM)

    async def _body(self, exchange: HttpExchange) -> bytes:
        options = self._service.options
        return await exchange.body(options.max_body_bytes, options.body_timeout_s)


def _error_dict(text: str, error: MixtureError) -> dict[str, Any]:
    """What is wrong with a mixture file; with the line, if the text by itself shows the error."""
    try:
        check(Mixture, from_text(text, MixtureError))
    except MixtureError as located:
        error = located
    return {"message": str(error.args[0]), "line": error.line, "key": error.key}


class EventStreamEncoder:
    """The engine's events as JSON objects, one for each server-sent event.

    Args:
        run: Whose ledger goes with a failure.
        show_details: Whether to repeat what services said of their faults.
    """

    keep_alive = b": keep-alive\n\n"

    def __init__(self, run: RunStream, *, show_details: bool) -> None:
        self._run, self._show_details = run, show_details

    def opening(self) -> bytes:
        """Shows at once that the stream has begun."""
        return b": run\n\n"

    def event(self, event: Event) -> bytes:
        """One event."""
        fields = event_dict(event)
        is_piece = isinstance(event, AnswerDelta | ProposalDelta | AnswerToolCallDelta)
        return _line(fields if is_piece or self._show_details else without_messages(fields))

    def closing(self) -> bytes:
        """`run_finished` is the last event."""
        return b""

    def stored(self) -> Mapping[str, Any]:
        """Nothing: the page sends whole conversations."""
        return {}

    def failure(self, failure: ErrorResponse) -> bytes:
        """The last event of a run that failed, with the ledger of what it used all the same."""
        causes = [dict(cause) for cause in failure.causes]
        error = {"code": failure.code, "message": failure.message, "causes": causes}
        unfinished = unfinished_dict(ErrorInfo(code=failure.code, message=failure.message), self._run.ledger)
        ledger = unfinished if self._show_details else without_messages(unfinished)
        return _line({"type": "error", "error": error, "ledger": ledger})


def _line(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
