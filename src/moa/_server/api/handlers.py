"""The addresses of the client APIs: requests read, run, and answered in the shape of each API."""

from functools import partial

from moa._server.api.apis import APIS, MESSAGES, Api
from moa._server.api.messages_request import CountRequest, read_count_request
from moa._server.api.request_model import encode
from moa._server.http.endpoint import Endpoint
from moa._server.http.exchange import HttpExchange
from moa._server.service import Service
from moa._server.streaming import collect_answer, stream_reply
from moa.providers._token_estimates import estimated_prompt_tokens


def api_endpoints(service: Service) -> list[Endpoint]:
    """Return the addresses at which answers are asked for."""
    count = Endpoint(
        method="POST",
        path=f"{MESSAGES.path}/count_tokens",
        handle=partial(count_tokens, service),
        summary=f"Estimate a prompt's tokens ({MESSAGES.name}).",
        tag="models",
        body=CountRequest,
    )
    return [
        *(
            Endpoint(
                method="POST",
                path=api.path,
                handle=partial(answer, service, api),
                summary=f"Answer a conversation ({api.name}).",
                tag="models",
                body=api.schema,
                streams=True,
            )
            for api in APIS
        ),
        count,
    ]


async def answer(service: Service, api: Api, exchange: HttpExchange) -> None:
    """Answer one request.

    Raises:
        RequestError: It can't be honoured.
        MoaError: The run failed.
    """
    options = service.options
    exchange.caller.check_rate(exchange.started_at)
    with service.inflight.acquire(exchange):
        request = api.read(await exchange.body(options.max_body_bytes, options.body_timeout_s))
        if options.log_prompts:
            exchange.log_fields["prompt"] = request.messages[-1].text
        served = service.resolve(request)
        run = service.open_run(exchange, request, served)
        if request.stream:
            encoder = api.stream_encoder(exchange, request, show_details=options.shows_error_details)
            await stream_reply(service, exchange, served, run, encoder)
        else:
            found = await collect_answer(service, exchange, served, run)
            body, headers = api.encode_reply(exchange, request, found, show_details=options.shows_error_details)
            await exchange.reply(200, body, headers)


async def count_tokens(service: Service, exchange: HttpExchange) -> None:
    """Answer how many tokens a prompt has: an estimate, as each model of a mixture counts differently.

    Raises:
        RequestError: The message could not be asked.
        MixtureError: The changed mixture can't be used.
    """
    options = service.options
    exchange.caller.check_rate(exchange.started_at)
    with service.inflight.acquire(exchange):
        request = read_count_request(await exchange.body(options.max_body_bytes, options.body_timeout_s))
        service.resolve(request)
        await exchange.reply(200, encode({"input_tokens": estimated_prompt_tokens(request.messages, request.options)}))
