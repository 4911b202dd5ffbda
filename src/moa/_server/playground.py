"""The playground's own API: mixtures as the page shows them, and runs as the engine's events."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import yaml
from pydantic import Field

from moa._config.settings import Settings
from moa._engine.stream import RunStream
from moa._ledger import ErrorInfo
from moa._messages import Conversation, ReplyOptions, Sampling
from moa._mixture.roster import roster
from moa._mixture.schema import Mixture
from moa._render.errors import unfinished_dict
from moa._results import Answer
from moa._runtime.model_lists import model_lists
from moa._server.api.request import ApiRequest, MoaFields, parse_messages
from moa._server.api.request_model import M, RequestModel, encode, parse
from moa._server.api.stream_encoder import StreamEncoder
from moa._server.api.usage import without_messages
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa._server.http.routes import Route
from moa._server.models import MAX_MIXTURE_VALUES, ServedModel
from moa._server.service import INLINE_BYTES, Service
from moa._server.streaming import stream_reply
from moa._traces.event_json import event_dict
from moa._validation.strict_yaml import Document, check, from_text
from moa.errors import MixtureError
from moa.events import AnswerDelta, AnswerToolCallDelta, Event, ProposalDelta

MAX_YAML_CHARS = 100_000
"""Longest text that is checked: a hundred times what a mixture needs."""

LISTS_AGE_S = 300.0
"""Seconds for which an endpoint's list of models is good: the operator may just have installed one."""

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


async def listed_references(settings: Settings) -> list[str]:
    """Return `endpoint/model-id` of each model that OpenAI-compatible endpoints list, endpoint by endpoint."""
    names = [each.name for each in settings.endpoints.values() if each.kind == "openai" and each.base_url]
    lists = await model_lists(settings, names, max_age_s=LISTS_AGE_S, retry_s=LISTS_AGE_S)
    return [
        reference
        for one in lists
        for reference in sorted(f"{one.endpoint}/{model.id}" for model in one.models if model.status != "retired")
    ]


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

    def routes(self) -> list[Route]:
        """Return the addresses that the page calls."""
        tag = "playground"
        run, check, write = RunRequest, YamlText, MixtureFields
        return [
            Route("GET", "/api/mixtures", self.list_mixtures, "List the mixtures as the page shows them.", tag),
            Route("GET", "/api/models", self.list_models, "List the models that a mixture can be compared with.", tag),
            Route("POST", "/api/runs", self.run, "Run a mixture and stream every event.", tag, body=run, streams=True),
            Route("POST", "/api/check", self.check, "Check whether a mixture file can be used.", tag, body=check),
            Route("POST", "/api/yaml", self.to_yaml, "Write a mixture as the text of its file.", tag, body=write),
        ]

    async def list_mixtures(self, exchange: HttpExchange) -> None:
        """List all mixtures as the page shows them."""
        await exchange.reply(200, encode([_mixture_dict(each) for each in self._service.models.mixtures.values()]))

    async def list_models(self, exchange: HttpExchange) -> None:
        """List single models: those that are served, and where requests may name any, those that endpoints list."""
        served = sorted(self._service.models.references)
        takes_others = self._service.options.takes_unserved_models
        others = await listed_references(self._service.engine.settings) if takes_others else []
        listed = {"served": served, "others": [other for other in others if other not in served]}
        await exchange.reply(200, encode(listed))

    async def check(self, exchange: HttpExchange) -> None:
        """Answer whether a mixture file can be used; if not, where it is wrong."""
        text = (await self._parsed(YamlText, exchange)).yaml
        # Parsing YAML is slow, but in Python throughout: in a thread it lets the event loop have its turns.
        reply = await self._service.in_turn(exchange, max(len(text), INLINE_BYTES + 1), lambda: self._checked(text))
        await exchange.reply(200, encode(reply))

    def _checked(self, text: str) -> dict[str, Any]:
        document = None
        try:
            if len(text) > MAX_YAML_CHARS:
                raise MixtureError(f"the text has more than {MAX_YAML_CHARS:,} characters, the most that are checked")
            document = from_text(text, MixtureError, max_values=MAX_MIXTURE_VALUES)
            mixture = self._service.models.from_request(document.data if isinstance(document.data, dict) else {})
        except MixtureError as error:
            located = error if document is None else _located(document, error)
            return {"error": {"message": str(located.args[0]), "line": located.line, "key": located.key}}
        return {"ok": True, "mixture": _mixture_dict(mixture)}

    async def to_yaml(self, exchange: HttpExchange) -> None:
        """Answer with a mixture as the text of its file."""
        fields = (await self._parsed(MixtureFields, exchange)).mixture

        def write() -> str:
            mixture = self._service.models.from_request(fields)
            return yaml.safe_dump(mixture.as_dict(), sort_keys=False, allow_unicode=True, width=100)

        await exchange.reply(200, encode({"yaml": await self._service.in_turn(exchange, INLINE_BYTES + 1, write)}))

    async def _parsed(self, model: type[M], exchange: HttpExchange) -> M:
        body = await self._service.body(exchange)
        return await self._service.in_turn(exchange, len(body), lambda: parse(model, body))

    async def run(self, exchange: HttpExchange) -> None:
        """Run a mixture and stream every event."""
        service = self._service
        service.inflight.check(exchange.caller)
        text = await service.body(exchange)
        body, messages = await service.in_turn(exchange, len(text), lambda: _read_run(text))
        with service.inflight.acquire(exchange):
            served = await self._resolve(exchange, body.mixture)
            request = ApiRequest(
                model=served.id,
                messages=messages,
                sampling=Sampling(),
                options=ReplyOptions(),
                seed=body.seed,
                stream=True,
                moa=MoaFields(proposals="reasoning", budget_usd=body.budget_usd, deadline_s=body.deadline_s),
                size_bytes=len(text),
            )
            with service.run_memory(exchange, request, served):
                run = service.open_run(exchange, request, served)
                encoder = EventStreamEncoder(run, show_details=service.options.shows_error_details)
                await stream_reply(service, exchange, request, served, run, encoder)

    async def _resolve(self, exchange: HttpExchange, mixture: object) -> ServedModel:
        models = self._service.models
        if isinstance(mixture, str):
            return models.get(mixture)
        if not isinstance(mixture, dict):
            raise MixtureError("expected a name or a mapping", key="mixture")
        own = await self._service.in_turn(exchange, INLINE_BYTES + 1, lambda: models.from_request(mixture))
        return ServedModel(id=own.name, mixture=own, label=CUSTOM)


def _read_run(text: bytes) -> tuple[RunRequest, Conversation]:
    body = parse(RunRequest, text)
    return body, parse_messages(body.messages, param="messages")


def _located(document: Document, error: MixtureError) -> MixtureError:
    """The fault of a mixture file with its line, if the text by itself shows the error."""
    try:
        check(Mixture, document)
    except MixtureError as located:
        return located
    return error


class EventStreamEncoder(StreamEncoder):
    """The engine's events as JSON objects, one for each server-sent event.

    Args:
        run: Whose ledger goes with a failure.
        show_details: Whether to include the text of services' errors.
    """

    def __init__(self, run: RunStream, *, show_details: bool) -> None:
        # Events are written as they are: neither the exchange nor the request is needed.
        self._run, self._show_details = run, show_details

    def opening(self) -> bytes:
        """Shows at once that the stream has begun."""
        return b": run\n\n"

    def event(self, event: Event) -> bytes:
        """One event."""
        fields = event_dict(event)
        is_piece = isinstance(event, AnswerDelta | ProposalDelta | AnswerToolCallDelta)
        return _line(fields if is_piece or self._show_details else without_messages(fields))

    def closing(self, answer: Answer, moa: Mapping[str, Any]) -> bytes:
        """`run_finished` is the last event."""
        return b""

    def failure(self, failure: RequestError) -> bytes:
        """The last event of a run that failed, with the ledger of what it used all the same."""
        causes = [dict(cause) for cause in failure.causes]
        error = {"code": failure.code, "message": failure.message, "causes": causes}
        unfinished = unfinished_dict(ErrorInfo(code=failure.code, message=failure.message), self._run.ledger)
        ledger = unfinished if self._show_details else without_messages(unfinished)
        return _line({"type": "error", "error": error, "ledger": ledger})


def _line(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
