"""The OpenAPI description of the server."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from moa._server.http.routes import Route

_ERRORS: Mapping[str, str] = {
    "400": "Something in the request is wrong; the error names it.",
    "401": "The API key is missing or unknown.",
    "402": "The budget doesn't allow it.",
    "403": "Wrong Host or Origin.",
    "404": "There is no such model.",
    "408": "The body was too slow.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many requests; Retry-After gives the seconds to wait.",
    "500": "The server made a mistake.",
    "502": "A model's service failed.",
    "503": "The server is about to stop, or not set up for this.",
    "504": "A model, or the run, took too long.",
}
_ERRORS_OF_GET = ("401", "403", "404", "500", "503")


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the description of all addresses that have a tag."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.tag is None:
            continue
        if route.body is not None:
            schema = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas[route.body.__name__] = schema
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mixture of agents", "version": version("mixture-of-agents")},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {}}}
    if route.path == "/metrics":
        content = {"text/plain": {"schema": {"type": "string"}}}
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "object", "required": ["data"]}}
    error = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
    codes = tuple(_ERRORS) if route.method == "POST" else _ERRORS_OF_GET
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary,
        "operationId": route.path.strip("/{}").replace("/{", "_").replace("/", "_").replace(".", "_"),
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **{code: {"description": _ERRORS[code], "content": error} for code in codes},
        },
    }
    if route.body is not None:
        reference = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    if "{" in route.path:
        name = route.path.partition("{")[2].rstrip("}")
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation
