"""The OpenAPI description of the doors that the framework doesn't know by itself."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from moa._server.api.chat_request import ChatRequest
from moa._server.api.messages_request import CountRequest, MessagesRequest
from moa._server.api.responses_request import ResponsesRequest
from moa._server.playground import MixtureFields, RunRequest, YamlText

BODIES: Mapping[str, tuple[type[BaseModel], str, str]] = {
    "/v1/chat/completions": (ChatRequest, "models", "Answer a conversation (OpenAI's Chat Completions API)."),
    "/v1/responses": (ResponsesRequest, "models", "Answer a conversation (OpenAI's Responses API)."),
    "/v1/messages": (MessagesRequest, "models", "Answer a conversation (Anthropic's Messages API)."),
    "/v1/messages/count_tokens": (
        CountRequest,
        "models",
        "Estimate a prompt's tokens (Anthropic's Messages API).",
    ),
    "/api/runs": (RunRequest, "playground", "Run a mixture and tell every event."),
    "/api/check": (YamlText, "playground", "Tell whether a mixture file can be used."),
    "/api/yaml": (MixtureFields, "playground", "Give a mixture as the text of its file."),
}
"""What each address takes."""

STREAMS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/runs")

_FAILED: Mapping[str, str] = {
    "400": "Something in the request is wrong; the error names it.",
    "401": "The API key is missing or unknown.",
    "402": "The budget doesn't allow it.",
    "403": "Wrong Host or Origin.",
    "404": "There is no such model.",
    "408": "The body was too slow.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many requests; Retry-After says when to come back.",
    "500": "The server made a mistake.",
    "502": "A model's service failed.",
    "503": "The server is about to stop, or not set up for this.",
    "504": "A model, or the run, took too long.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of the whole application."""
    document: dict[str, Any] = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for path, (model, tag, summary) in BODIES.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
        document["paths"][path] = {"post": _operation(path, model.__name__, tag, summary)}
    failed = _responses(("401", "403", "404", "500"))
    for path in document["paths"].values():
        for operation in path.values():
            # The framework's own word for requests that don't fit; all of ours are 400.
            operation["responses"].pop("422", None)
            operation["responses"] |= {
                code: said for code, said in failed.items() if code not in operation["responses"]
            }
    return document


def _operation(path: str, model: str, tag: str, summary: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if path in STREAMS:
        content["text/event-stream"] = {"schema": {"type": "object", "required": ["data"]}}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}}
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": body,
        "responses": {"200": {"description": "The answer.", "content": content}, **_responses(tuple(_FAILED))},
    }


def _responses(codes: tuple[str, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
    return {code: {"description": _FAILED[code], "content": content} for code in codes}
