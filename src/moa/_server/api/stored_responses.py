"""Responses that were stored: shown again by their id, with what they answered, and deleted."""

from functools import partial
from typing import Any
from urllib.parse import parse_qs

from moa._server.api.apis import RESPONSES
from moa._server.api.request_model import encode
from moa._server.http.errors import RequestError
from moa._server.http.exchange import HttpExchange
from moa._server.http.routes import Route
from moa._server.service import Service
from moa._server.streaming import conversations_of

_ITEMS = "/input_items"


def stored_response_routes(service: Service) -> list[Route]:
    """Return the addresses below that of the Responses API."""
    path = RESPONSES.path + "/{response}"
    return [
        Route("GET", path, partial(show, service), "Show a stored response, or its input items.", "models"),
        Route("DELETE", path, partial(delete, service), "Delete a stored response.", "models"),
    ]


async def show(service: Service, exchange: HttpExchange) -> None:
    """Answer with a response, or with the items that it answered, on one page.

    Raises:
        RequestError: It isn't stored, or not any more.
        StateUnavailable: The store can't be reached.
    """
    query = parse_qs(exchange.scope["query_string"].decode("latin-1"))
    identity = _identity(exchange)
    stored = await _stored(service, exchange, identity.removesuffix(_ITEMS))
    given = stored["given"]
    if identity.endswith(_ITEMS):
        reply = _page(stored["items"][:given], is_ascending=query.get("order") == ["asc"])
    elif query.get("stream") == ["true"]:
        message = "stream: the response is whole: get it without"
        raise RequestError(400, "invalid_request", message, param="stream")
    else:
        reply = {**stored["response"], "output": stored["items"][given:]}
    await exchange.reply(200, encode(reply))


async def delete(service: Service, exchange: HttpExchange) -> None:
    """Forget a response; its items can be referred to until they expire.

    Raises:
        RequestError: It isn't stored, or not any more.
        StateUnavailable: The store can't be reached.
    """
    identity = _identity(exchange)
    await _stored(service, exchange, identity)
    await conversations_of(service, exchange).delete(identity)
    await exchange.reply(200, encode({"id": identity, "object": "response", "deleted": True}))


def _identity(exchange: HttpExchange) -> str:
    return exchange.path.removeprefix(f"{RESPONSES.path}/")


async def _stored(service: Service, exchange: HttpExchange, identity: str) -> dict[str, Any]:
    match await conversations_of(service, exchange).get(identity):
        case {"response": _, "items": _, "given": _} as stored:
            return dict(stored)
    message = f"{identity!r:.80} isn't stored here: responses are for 30 minutes, except with store: false"
    raise RequestError(404, "not_found", message)


def _page(items: list[Any], *, is_ascending: bool) -> dict[str, Any]:
    """Items as a list in the API's shape, each with an id and its text as a part."""
    data = [_item(item, number) for number, item in enumerate(items)]
    data = data if is_ascending else data[::-1]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}


def _item(item: dict[str, Any], number: int) -> dict[str, Any]:
    item = {"id": f"msg_{number}", "type": "message", **item}
    if item["type"] != "message":
        return item
    content = item.get("content")
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    parts = [{"type": kind, "text": content}] if isinstance(content, str) else content
    return {"status": "completed", **item, "content": parts}
