"""The addresses of the client APIs: requests read, run, and answered in the shape of each API."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from moa._server.api.apis import APIS, MESSAGES, RESPONSES, Api, meant_api
from moa._server.api.messages_reply import empty_reply
from moa._server.api.messages_request import CountRequest, read_count_request
from moa._server.api.request import ApiRequest
from moa._server.api.request_model import encode, read_json
from moa._server.api.responses_request import ResponsesRequest, read_responses_request
from moa._server.api.usage import moa_field, total_headers
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa._server.http.routes import Route
from moa._server.models import ServedModel
from moa._server.service import Service
from moa._server.streaming import collect_answer, conversations_of, stream_reply
from moa.providers._token_estimates import estimated_prompt_tokens


def api_routes(service: Service) -> list[Route]:
    """Return the addresses at which answers are asked for."""
    return [
        *(
            Route(
                "POST",
                api.path,
                partial(answer, service, api),
                f"Answer a conversation ({api.name}).",
                "models",
                body=api.schema,
                streams=True,
            )
            for api in APIS
        ),
        *(
            Route(
                "POST",
                f"{api.path}/{name}",
                partial(count_tokens, service, api, reader),
                f"Estimate a prompt's tokens ({api.name}).",
                "models",
                body=schema,
            )
            for api, name, reader, schema in (
                (MESSAGES, "count_tokens", read_count_request, CountRequest),
                (RESPONSES, "input_tokens", read_responses_request, ResponsesRequest),
            )
        ),
    ]


async def answer(service: Service, api: Api, exchange: HttpExchange) -> None:
    """Answer one request.

    Raises:
        RequestError: It can't be honoured.
        MoaError: The run failed.
    """
    options = service.options
    service.inflight.check(exchange.caller)
    request = await read(service, api, exchange, api.read)
    # A run's place is taken once the request is complete: clients that send slowly hold none.
    with service.inflight.acquire(exchange):
        if options.log_prompts:
            exchange.log_fields["prompt"] = request.messages[-1].text
        served = await service.resolve(exchange, request)
        if request.sampling.max_tokens == 0:
            await exchange.reply(200, encode(empty_reply(exchange, request)))
            return
        with service.run_memory(exchange, request, served):
            await _run(service, api, exchange, request, served)


async def _run(service: Service, api: Api, exchange: HttpExchange, request: ApiRequest, served: ServedModel) -> None:
    run = service.open_run(exchange, request, served)
    if request.stream:
        await stream_reply(service, exchange, request, served, run, api.stream_encoder(exchange, request))
        return
    found = await collect_answer(service, exchange, served, run)
    reply = api.encode_reply(exchange, request, found)
    if request.moa.ledger:
        reply.body["moa"] = moa_field(request, found, show_details=service.options.shows_error_details)
    await conversations_of(service, exchange).put(reply.stored)
    await exchange.reply(200, encode(reply.body), total_headers(found))


async def read(
    service: Service, api: Api, exchange: HttpExchange, reader: Callable[[dict[str, Any]], ApiRequest]
) -> ApiRequest:
    """Return what a request asks.

    Raises:
        RequestError: It can't be honoured; for one in another API's shape, the error names the right address.
    """
    text = await service.body(exchange)
    body = await service.in_turn(exchange, len(text), lambda: read_json(text))
    if exchange.path == api.path and (meant := meant_api(api, body)) is not None:
        message = f"this is a request of {meant.name}: send it to {meant.path}, not to {exchange.path}"
        raise RequestError(400, "wrong_api", message)
    conversations = conversations_of(service, exchange)
    body = await api.looked_up(body, conversations)
    size = len(text) + conversations.looked_up_bytes
    return replace(await service.in_turn(exchange, size, lambda: reader(body)), size_bytes=size)


async def count_tokens(
    service: Service, api: Api, reader: Callable[[dict[str, Any]], ApiRequest], exchange: HttpExchange
) -> None:
    """Answer how many tokens a prompt has: an estimate, as each model of a mixture counts differently.

    Raises:
        RequestError: The message could not be asked.
        MixtureError: The changed mixture can't be used.
    """
    request = await read(service, api, exchange, reader)
    await service.resolve(exchange, request)
    tokens = estimated_prompt_tokens(request.messages, request.options)
    counted: dict[str, Any] = {"input_tokens": tokens}
    if api is RESPONSES:
        counted["object"] = "response.input_tokens"
    elif request.echo:
        counted["context_management"] = {"original_input_tokens": tokens}
    await exchange.reply(200, encode(counted))
