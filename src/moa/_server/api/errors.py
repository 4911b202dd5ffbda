"""Errors in the shapes of the client APIs."""

from typing import Any

from moa._server.http.errors import RequestError

_OPENAI_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def openai_error(failure: RequestError, request_id: str) -> dict[str, Any]:
    """Return the body of a failure in the OpenAI API's shape; `moa` holds what it has no place for."""
    default = "invalid_request_error" if failure.status < 500 else "server_error"
    body: dict[str, Any] = {
        "message": failure.message,
        "type": _OPENAI_TYPES.get(failure.status, default),
        "param": failure.param,
        "code": failure.code,
    }
    return {"error": body, "moa": _details(failure, request_id)}


def anthropic_error(failure: RequestError, request_id: str) -> dict[str, Any]:
    """Return the body of a failure in the Anthropic API's shape."""
    default = "invalid_request_error" if failure.status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(failure.status, default)
    message, param = failure.message, failure.param
    if param and not message.startswith(param):
        message = f"{param}: {message}"
    body: dict[str, Any] = {"type": kind, "message": message, "code": failure.code}
    if failure.details is not None:
        body["details"] = dict(failure.details)
    return {"type": "error", "error": body, "request_id": request_id, "moa": _details(failure, request_id)}


def _details(failure: RequestError, request_id: str) -> dict[str, Any]:
    return {"request_id": request_id, "causes": [dict(cause) for cause in failure.causes]}
