"""The doors of the model APIs: what is asked, run, and answered in the words of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moa._results import Answer
from moa._server import streaming
from moa._server.api.chat_reply import ChatStreamEncoder, chat_reply
from moa._server.api.chat_request import read_chat_request
from moa._server.api.messages_reply import MessagesStreamEncoder, messages_reply
from moa._server.api.messages_request import read_count_request, read_messages_request
from moa._server.api.request import ApiRequest
from moa._server.api.request_model import encode
from moa._server.api.responses_reply import ResponsesStreamEncoder, responses_reply
from moa._server.api.responses_request import read_responses_request
from moa._server.http.exchange import HeaderList, HttpExchange
from moa._server.service import Service
from moa.providers._token_estimates import estimated_prompt_tokens


class ReplyEncoder(Protocol):
    """Writes a whole reply."""

    def __call__(
        self, visit: HttpExchange, ask: ApiRequest, answer: Answer, *, show_details: bool
    ) -> tuple[bytes, HeaderList]:
        """Return its body and its headers."""
        ...


class StreamEncoderFactory(Protocol):
    """Makes what writes a stream."""

    def __call__(self, visit: HttpExchange, ask: ApiRequest, *, show_details: bool) -> streaming.StreamEncoder:
        """Return the script of one stream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API: how its requests are read and its replies written."""

    path: str
    read: Callable[[bytes], ApiRequest]
    whole: ReplyEncoder
    script: StreamEncoderFactory


CHAT = Api(path="/v1/chat/completions", read=read_chat_request, whole=chat_reply, script=ChatStreamEncoder)
RESPONSES = Api(path="/v1/responses", read=read_responses_request, whole=responses_reply, script=ResponsesStreamEncoder)
MESSAGES = Api(path="/v1/messages", read=read_messages_request, whole=messages_reply, script=MessagesStreamEncoder)
APIS = (CHAT, RESPONSES, MESSAGES)
COUNT_PATH = f"{MESSAGES.path}/count_tokens"


async def answer(service: Service, api: Api, visit: HttpExchange) -> None:
    """Answer one request.

    Raises:
        RequestError: It can't be honoured.
        MoaError: The run failed.
    """
    options = service.options
    visit.caller.check_rate(visit.started_at)
    with service.gate.entered(visit):
        ask = api.read(await visit.body(options.max_body_bytes, options.body_timeout_s))
        if options.log_prompts:
            visit.notes["prompt"] = ask.messages[-1].text
        served = service.chosen(ask)
        run = service.open(visit, ask, served)
        if ask.stream:
            await streaming.stream(
                service, visit, served, run, api.script(visit, ask, show_details=options.shows_error_details)
            )
        else:
            found = await streaming.whole(service, visit, served, run)
            body, headers = api.whole(visit, ask, found, show_details=options.shows_error_details)
            await visit.reply(200, body, headers)


async def count_tokens(service: Service, visit: HttpExchange) -> None:
    """Tell about how many tokens a message's prompt has: an estimate, as each model of a mixture counts differently.

    Raises:
        RequestError: The message could not be asked.
        MixtureError: The changed mixture can't be used.
    """
    options = service.options
    visit.caller.check_rate(visit.started_at)
    with service.gate.entered(visit):
        ask = read_count_request(await visit.body(options.max_body_bytes, options.body_timeout_s))
        service.chosen(ask)
        await visit.reply(200, encode({"input_tokens": estimated_prompt_tokens(ask.messages, ask.options)}))
