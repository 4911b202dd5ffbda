"""Bedrock's failures as our errors: by AWS's error code first, then by what the message says, then by HTTP status."""

from collections.abc import Mapping

import orjson

from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejection,
    ServiceFailed,
)
from moa.providers._base import ModelRequest
from moa.providers._error_body import ErrorBody
from moa.providers._error_mapping import instead, kind_and_rejects
from moa.providers._failure_words import kind_by_status
from moa.providers._reply_context import ReplyContext
from moa.providers._retry_after import retry_after_s

_MESSAGE_LIMIT = 600
"""Most characters of the service's own words that go into an error."""

_ACCESS_HINT = (
    "ask for access to the model in the Amazon Bedrock console (Model access), in this region, "
    "and allow bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream"
)
_PAYMENT_HINT = "set a valid means of payment for the AWS account, then try again"
_PROFILE_HINT = "use the id of an inference profile, e.g. with us., eu., apac. or global. before the model's id"
_CREDENTIALS_HINT = "renew the AWS credentials (e.g. `aws sso login`), or check keys, region and this machine's clock"

_CODES: Mapping[type[ProviderError], tuple[str, ...]] = {
    RateLimited: ("Throttling", "TooManyRequests", "ServiceQuotaExceeded"),
    ServiceFailed: (
        *("ModelTimeout", "ModelStreamError", "ModelNotReady", "ModelError"),
        *("ServiceUnavailable", "InternalServer", "InternalFailure"),
    ),
    BadRequest: ("Validation", "UnknownOperation", "Conflict"),
    ModelNotFound: ("ResourceNotFound",),
    AuthenticationFailed: (
        *("AccessDenied", "ExpiredToken", "UnrecognizedClient", "InvalidSignature", "SignatureDoesNotMatch"),
        *("IncompleteSignature", "MissingAuthenticationToken", "InvalidClientTokenId", "OptInRequired"),
    ),
}
"""AWS's codes, which may end in `Exception`."""

_KINDS = {code.lower(): kind for kind, codes in _CODES.items() for code in codes}

_SEVERAL: dict[type[ProviderError], int] = {BadRequest: 400, AuthenticationFailed: 403}
"""Kinds whose codes cover other failures too, with their usual status: exceptions in a stream have none."""


def from_response(status: int, headers: Mapping[str, str], content: bytes, context: ReplyContext) -> ProviderError:
    """Return the error for an HTTP response that isn't a success; of a known request, the part that was turned down."""
    body = _json(content)
    code = headers.get("x-amzn-errortype") or _text(body, "__type", "code", "Code") or ""
    message = _text(body, "message", "Message") or content.decode("utf-8", "replace")
    error = _error(code, message, context, status)
    error.retry_after_s = retry_after_s(headers)
    return error


def from_event(headers: Mapping[str, object], payload: bytes, context: ReplyContext) -> ProviderError:
    """Return the error for an exception or error event inside an event stream."""
    body = _json(payload)
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "an error event")
    message = _text(body, "message", "Message", "originalMessage") or str(headers.get(":error-message") or "")
    return _error(code, message, context)


def _error(code: str, message: str, context: ReplyContext, status: int | None = None) -> ProviderError:
    # The code may come with a namespace before it (`com.amazon.coral#`) and an address after it (`:http://…`).
    name = code.rpartition("#")[2].partition(":")[0].strip()
    known = name.lower().removesuffix("exception")
    kind, rejects = _KINDS.get(known) or kind_by_status(status), tuple[Rejection, ...]()
    if kind in _SEVERAL:
        complaint = ErrorBody(message=message, code=name)
        kind, rejects = kind_and_rejects(complaint, _SEVERAL[kind], context.request)
    elif kind is ModelNotFound and "use case" in message:
        kind = AuthenticationFailed  # access to the model was not asked for: the model is there
    elif kind is RateLimited and "per day" in message:
        kind = QuotaExhausted  # a day's allowance doesn't come back while a run waits
    text = context.secrets.beginning(_shown_text(message, kind), _MESSAGE_LIMIT)
    description = ": ".join(filter(None, (name or f"HTTP {status}", text)))
    hint = _hint(known, kind, message, context.request)
    error = kind(f"{description} ({hint})" if hint else description, model=context.reference, status=status)
    error.rejects = rejects
    return error


def _hint(code: str, kind: type[ProviderError], message: str, request: ModelRequest | None) -> str:
    if kind is ModelNotFound:
        return f"`moa models` lists what there is{instead(kind, request)}"
    if kind is BadRequest and "on-demand throughput" in message:
        return _PROFILE_HINT
    if kind is QuotaExhausted and code == "accessdenied":
        return _PAYMENT_HINT
    if kind is AuthenticationFailed and code in ("accessdenied", "resourcenotfound"):
        return _ACCESS_HINT
    return _CREDENTIALS_HINT if kind is AuthenticationFailed else ""


def _shown_text(message: str, kind: type[ProviderError]) -> str:
    # After its first line, a complaint about a signature quotes the request's headers, session token included.
    return message.strip().partition("\n")[0] if kind is AuthenticationFailed else " ".join(message.split())


def _json(content: bytes) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _text(body: object, *keys: str) -> str | None:
    if not isinstance(body, dict):
        return None
    return next((body[key] for key in keys if isinstance(body.get(key), str) and body[key]), None)
