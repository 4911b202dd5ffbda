"""A server's error replies as our errors."""

import re
import time
from collections.abc import Callable, Mapping

from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    BrokenReply,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Rejection,
    ServiceFailed,
    UnsupportedInput,
)
from moa.providers._base import ModelRequest
from moa.providers._failure_words import NO_MODEL, failure_by_words
from moa.providers._openai_compatible.error_body import ErrorBody
from moa.providers._rejections import rejections
from moa.providers._retry_after import retry_after_s, retry_in_words_s
from moa.providers._successors import successor

_RATE = re.compile(r"rate.?limit|too many requests|throttl|resource_exhausted", re.IGNORECASE)
_AUTH = re.compile(r"invalid_api_key|authentication|unauthorized|permission_(?:denied|error)", re.IGNORECASE)
_OVERLOAD = re.compile(r"overloaded|server_error|internal|unavailable|timeout", re.IGNORECASE)
_INVALID = re.compile(r"invalid_request|bad_?request|invalid_argument|invalid_parameter|unsupported_", re.IGNORECASE)

_MODELS_OWN = re.compile(
    r"failed_generation|tool_use_failed|json_validate_failed|malformed_function_call|unexpected_tool_call", re.I
)
"""The model wrote something that its service can't read, told as if the request were wrong: it may do better."""

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    404: ModelNotFound,
    408: ServiceFailed,
    409: ServiceFailed,
    410: ModelNotFound,
    413: ContextTooLong,
    425: ServiceFailed,
    429: RateLimited,
    498: RateLimited,
    499: ServiceFailed,  # what is behind a gateway hung up
    501: BadRequest,  # not implemented: asking again is of no use
}
_MAY_REJECT = (AuthenticationFailed, BadRequest, ModelNotFound, ServiceFailed, UnsupportedInput)
"""Kinds of failure that may be about a part of the request."""

_ADVICE: Mapping[type[ProviderError], str] = {
    AuthenticationFailed: "check the endpoint's key and what it may use",
    ModelNotFound: "check the model's id and the endpoint's base_url",
    QuotaExhausted: "the account needs credit",
    ContextTooLong: "shorten the prompt, lower max_tokens, or use a model with a larger window",
    UnsupportedInput: "leave the images out or use a model that takes them",
}


def map_error(
    complaint: ErrorBody,
    *,
    reference: str,
    request: ModelRequest | None = None,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
) -> ProviderError:
    """Return our error for a server's complaint.

    Args:
        complaint: What the server said.
        reference: The model's, for the error.
        request: What was sent; None if unknown; the error then names no rejected part.
        status: HTTP status of the reply, None for an error that came inside of a good reply.
        headers: The reply's headers.
        now: The time of day in seconds since 1970, to which a Retry-After date is compared.
    """
    known = status or complaint.status
    has_images = request is not None and any(message.images for message in request.messages)
    kind = _kind(complaint, known, has_images=has_images)
    rejects: tuple[Rejection, ...] = ()
    if request is not None and kind in _MAY_REJECT:
        for text in (complaint.message, complaint.whole):
            rejects = rejects or rejections(
                status=known,
                code=complaint.code,
                parameter=complaint.parameter,
                message=text,
                request=request,
            )
        # Told to be another failure (templates fail with 500, routers with 404), but asking again is of no use.
        kind = BadRequest if rejects else kind
    words = complaint.message or complaint.code or "no reason given"
    if status is not None and 300 <= status < 400 and (target := (headers or {}).get("location")):
        words = f"it has moved to {target.partition('?')[0]}: correct the endpoint's base_url"
    place = f"HTTP {status}" if status else "error in the reply"
    advice = f" ({_ADVICE[kind]}{_instead(kind, request)})" if kind in _ADVICE else ""
    wait_s = retry_after_s(headers or {}, now)
    if wait_s is None and kind in (RateLimited, ServiceFailed):
        wait_s = retry_in_words_s(complaint.whole)
    error = kind(f"{place}: {words}{advice}", model=reference, status=status, retry_after_s=wait_s)
    error.rejects = rejects
    return error


def _instead(kind: type[ProviderError], request: ModelRequest | None) -> str:
    name = successor(request.model) if kind is ModelNotFound and request is not None else None
    return f"; a later model is {name}" if name else ""


def _kind(complaint: ErrorBody, status: int | None, *, has_images: bool) -> type[ProviderError]:
    text = f"{complaint.code} {complaint.message}"
    if status is not None and 300 <= status < 400:
        return BadRequest
    if _MODELS_OWN.search(text):
        return BrokenReply
    if (kind := failure_by_words(text, status, has_images=has_images)) is not None:
        return kind
    if status is None:
        return _kind_in_words(text)
    return _BY_STATUS.get(status) or (ServiceFailed if status >= 500 else BadRequest)


def _kind_in_words(text: str) -> type[ProviderError]:
    table: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
        (_RATE, RateLimited),
        (_AUTH, AuthenticationFailed),
        (NO_MODEL, ModelNotFound),
        (_OVERLOAD, ServiceFailed),
        (_INVALID, BadRequest),
    )
    return next((kind for words, kind in table if words.search(text)), ServiceFailed)
