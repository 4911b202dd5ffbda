"""Bedrock's failures as our errors: by AWS's error code first, then by what the message says, then by HTTP status."""

from collections.abc import Mapping

import orjson

from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejection,
    ServiceFailed,
)
from moa.providers._base import ModelRequest
from moa.providers._failure_words import failure_by_words
from moa.providers._redaction import NO_SECRETS, Secrets
from moa.providers._rejections import rejections
from moa.providers._retry_after import retry_after_s
from moa.providers._successors import successor

_MESSAGE_LIMIT = 600
"""Most characters of the service's own words that go into an error."""

_ACCESS_HINT = (
    "ask for access to the model in the Amazon Bedrock console (Model access), in this region, "
    "and allow bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream"
)
_PAYMENT_HINT = "set a valid means of payment for the AWS account, then try again"
_PROFILE_HINT = "use the id of an inference profile, e.g. with us., eu., apac. or global. before the model's id"
_CREDENTIALS_HINT = "renew the AWS credentials (e.g. `aws sso login`), or check keys, region and this machine's clock"

_KINDS: dict[str, type[ProviderError]] = {
    "throttlingexception": RateLimited,
    "toomanyrequestsexception": RateLimited,
    "servicequotaexceededexception": RateLimited,
    "modeltimeoutexception": ServiceFailed,
    "modelstreamerrorexception": ServiceFailed,
    "modelnotreadyexception": ServiceFailed,
    "modelerrorexception": ServiceFailed,
    "serviceunavailableexception": ServiceFailed,
    "internalserverexception": ServiceFailed,
    "internalfailure": ServiceFailed,
    "validationexception": BadRequest,
    "unknownoperationexception": BadRequest,
    "conflictexception": BadRequest,
    "accessdeniedexception": AuthenticationFailed,
    "resourcenotfoundexception": ModelNotFound,
    "expiredtokenexception": AuthenticationFailed,
    "expiredtoken": AuthenticationFailed,
    "unrecognizedclientexception": AuthenticationFailed,
    "invalidsignatureexception": AuthenticationFailed,
    "signaturedoesnotmatch": AuthenticationFailed,
    "incompletesignatureexception": AuthenticationFailed,
    "incompletesignature": AuthenticationFailed,
    "missingauthenticationtokenexception": AuthenticationFailed,
    "missingauthenticationtoken": AuthenticationFailed,
    "invalidclienttokenid": AuthenticationFailed,
    "optinrequired": AuthenticationFailed,
}

_SEVERAL: dict[type[ProviderError], int] = {BadRequest: 400, AuthenticationFailed: 403}
"""Kinds whose codes cover other failures too, with their usual status: exceptions in a stream have none."""


def from_response(
    status: int,
    headers: Mapping[str, str],
    content: bytes,
    *,
    reference: str,
    request: ModelRequest | None = None,
    secrets: Secrets = NO_SECRETS,
) -> ProviderError:
    """Return the error for an HTTP response that isn't a success; of a known request, the part that was turned down."""
    body = _json(content)
    code = headers.get("x-amzn-errortype") or _text(body, "__type", "code", "Code") or ""
    message = _text(body, "message", "Message") or content.decode("utf-8", "replace")
    error = _error(code, message, reference=reference, request=request, secrets=secrets, status=status)
    error.retry_after_s = retry_after_s(headers)
    return error


def from_event(
    headers: Mapping[str, object],
    payload: bytes,
    *,
    reference: str,
    request: ModelRequest | None = None,
    secrets: Secrets = NO_SECRETS,
) -> ProviderError:
    """Return the error for an exception or error event inside an event stream."""
    body = _json(payload)
    code = str(headers.get(":exception-type") or headers.get(":error-code") or "an error event")
    message = _text(body, "message", "Message", "originalMessage") or str(headers.get(":error-message") or "")
    return _error(code, message, reference=reference, request=request, secrets=secrets)


def _error(
    code: str,
    message: str,
    *,
    reference: str,
    request: ModelRequest | None,
    secrets: Secrets,
    status: int | None = None,
) -> ProviderError:
    # The code may come with a namespace before it (`com.amazon.coral#`) and an address after it (`:http://…`).
    name = code.rpartition("#")[2].partition(":")[0].strip()
    by_code = _KINDS.get(name.lower()) or _by_status(status)
    kind, rejects = _refined(by_code, message, request), tuple[Rejection, ...]()
    if by_code in _SEVERAL and kind in (by_code, ModelNotFound) and request is not None:
        rejects = rejections(status=status, code=name, parameter="", message=message, request=request)
        kind = by_code if rejects else kind
    text = secrets.beginning(_shown_text(message, kind), _MESSAGE_LIMIT)
    description = ": ".join(filter(None, (name or f"HTTP {status}", text)))
    hint = _hint(name.lower(), kind, message, request)
    error = kind(f"{description} ({hint})" if hint else description, model=reference, status=status)
    error.rejects = rejects
    return error


def _refined(kind: type[ProviderError], message: str, request: ModelRequest | None) -> type[ProviderError]:
    """The kind of failure by the message, where AWS's code covers several."""
    if kind in _SEVERAL:
        has_images = request is not None and any(one.images for one in request.messages)
        return failure_by_words(message, _SEVERAL[kind], has_images=has_images) or kind
    # Access to the model was not asked for, which a 404 tells: the model is there.
    if kind is ModelNotFound and "use case" in message:
        return AuthenticationFailed
    # A day's allowance doesn't come back while a run waits.
    return QuotaExhausted if kind is RateLimited and "per day" in message else kind


def _by_status(status: int | None) -> type[ProviderError]:
    match status:
        case 401 | 403:
            return AuthenticationFailed
        case 404:
            return ModelNotFound
        case 413:
            return ContextTooLong
        case 429:
            return RateLimited
        case None | 408 | 424:
            return ServiceFailed
    return ServiceFailed if status >= 500 else BadRequest


def _hint(name: str, kind: type[ProviderError], message: str, request: ModelRequest | None) -> str:
    if kind is ModelNotFound:
        instead = None if request is None else successor(request.model)
        return f"`moa models` lists what there is{f'; a later model is {instead}' if instead else ''}"
    if kind is BadRequest and "on-demand throughput" in message:
        return _PROFILE_HINT
    if kind is QuotaExhausted and name == "accessdeniedexception":
        return _PAYMENT_HINT
    if kind is AuthenticationFailed and name in ("accessdeniedexception", "resourcenotfoundexception"):
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
