"""The client APIs: one value owns all that is specific to an API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moa._results import Answer
from moa._server.api.chat_reply import ChatStreamEncoder, chat_reply
from moa._server.api.chat_request import ChatRequest, read_chat_request
from moa._server.api.conversations import Conversations
from moa._server.api.errors import anthropic_error, openai_error
from moa._server.api.known_fields import CHAT as CHAT_FIELDS
from moa._server.api.known_fields import MESSAGES as MESSAGES_FIELDS
from moa._server.api.known_fields import RESPONSES as RESPONSES_FIELDS
from moa._server.api.known_fields import Known, Table
from moa._server.api.messages_reply import MessagesStreamEncoder, messages_reply
from moa._server.api.messages_request import MessagesRequest, read_messages_request, with_thread
from moa._server.api.request import ApiRequest
from moa._server.api.request_model import RequestModel
from moa._server.api.responses_reply import ResponsesStreamEncoder, responses_reply
from moa._server.api.responses_request import ResponsesRequest, read_responses_request, with_stored_items
from moa._server.api.stream_encoder import EncodedReply, StreamEncoder
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One client API.

    Attributes:
        name: What its publisher calls it.
        path: Where requests for an answer are posted; addresses below are the API's too.
        fields: What is known of the fields of such a request.
        required: Fields that every request has.
        schema: The fields that are honoured, for the OpenAPI description.
        look_up: Puts what a body refers to in its place; raises RequestError. None: its requests refer to nothing.
        read: Makes a request of such a body; raises RequestError.
        encode_reply: Writes a whole reply.
        stream_encoder: Makes what writes a stream.
        encode_error: Writes an error reply, given the error and the request's id.
        key_headers: Headers in which its clients send their API key, the usual one first.
        marker_header: A header that all of its clients send; identifies the API at addresses that APIs share.
    """

    name: str
    path: str
    fields: Table
    required: frozenset[str]
    schema: type[RequestModel]
    read: Callable[[dict[str, Any]], ApiRequest]
    encode_reply: Callable[[HttpExchange, ApiRequest, Answer], EncodedReply]
    stream_encoder: Callable[[HttpExchange, ApiRequest], StreamEncoder]
    encode_error: Callable[[RequestError, str], dict[str, Any]] = openai_error
    key_headers: tuple[bytes, ...] = (b"authorization", b"x-api-key")
    look_up: Callable[[dict[str, Any], Conversations], Awaitable[dict[str, Any]]] | None = None
    marker_header: bytes | None = None

    async def looked_up(self, body: dict[str, Any], conversations: Conversations) -> dict[str, Any]:
        """Return a request's body with what it refers to in its place.

        Raises:
            RequestError: It isn't stored, or not any more.
        """
        return body if self.look_up is None else await self.look_up(body, conversations)


CHAT = Api(
    name="OpenAI's Chat Completions API",
    path="/v1/chat/completions",
    fields=CHAT_FIELDS,
    required=frozenset({"messages"}),
    schema=ChatRequest,
    read=read_chat_request,
    encode_reply=chat_reply,
    stream_encoder=ChatStreamEncoder,
)
RESPONSES = Api(
    name="OpenAI's Responses API",
    path="/v1/responses",
    fields=RESPONSES_FIELDS,
    required=frozenset({"input"}),
    schema=ResponsesRequest,
    look_up=with_stored_items,
    read=read_responses_request,
    encode_reply=responses_reply,
    stream_encoder=ResponsesStreamEncoder,
)
MESSAGES = Api(
    name="Anthropic's Messages API",
    path="/v1/messages",
    fields=MESSAGES_FIELDS,
    required=frozenset({"messages", "max_tokens"}),
    schema=MessagesRequest,
    look_up=with_thread,
    read=read_messages_request,
    encode_reply=messages_reply,
    stream_encoder=MessagesStreamEncoder,
    encode_error=anthropic_error,
    key_headers=(b"x-api-key", b"authorization"),
    marker_header=b"anthropic-version",
)
APIS = (CHAT, RESPONSES, MESSAGES)


def api_of(exchange: HttpExchange) -> Api:
    """Return the API that a client speaks: that of the address; at addresses that APIs share, that of its headers."""
    for api in APIS:
        if exchange.path == api.path or exchange.path.startswith(f"{api.path}/"):
            return api
    return next((api for api in APIS if api.marker_header in exchange.headers), CHAT)


def meant_api(api: Api, body: Mapping[str, Any]) -> Api | None:
    """Return the API whose shape a request has; None if it fits the API that it was sent to, or no other one."""
    if _fits(api, body):
        return None
    return next((other for other in APIS if other is not api and _fits(other, body)), None)


def _fits(api: Api, body: Mapping[str, Any]) -> bool:
    known = api.fields["request"]
    return isinstance(known, Known) and api.required <= body.keys() <= known.names
