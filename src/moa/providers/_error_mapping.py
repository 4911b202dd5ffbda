"""A service's failures as our errors."""

import time
from collections.abc import Callable, Mapping

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
    UnsupportedInput,
)
from moa.providers._base import ModelRequest
from moa.providers._error_body import ErrorBody
from moa.providers._failure_words import kind_by_status, kind_by_words
from moa.providers._rejections import rejections
from moa.providers._reply_context import ReplyContext
from moa.providers._retry_after import retry_after_s, retry_in_words_s
from moa.providers._successors import successor

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
    context: ReplyContext,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.time,
) -> ProviderError:
    """Return our error for a server's complaint.

    Args:
        complaint: What the server said.
        context: Whose reply it is; if the request is unknown, the error names no rejected part.
        status: HTTP status of the reply, None for an error that came inside of a good reply.
        headers: The reply's headers.
        now: The time of day in seconds since 1970, to which a Retry-After date is compared.
    """
    known, request = status or complaint.status, context.request
    has_moved = status is not None and 300 <= status < 400
    kind, rejects = kind_and_rejects(complaint, known, None if has_moved else request)
    kind = BadRequest if has_moved else kind
    words = complaint.message or complaint.code or "no reason given"
    if has_moved and (target := (headers or {}).get("location")):
        words = f"it has moved to {target.partition('?')[0]}: correct the endpoint's base_url"
    place = f"HTTP {status}" if status else "error in the reply"
    advice = f" ({_ADVICE[kind]}{instead(kind, request)})" if kind in _ADVICE else ""
    wait_s = retry_after_s(headers or {}, now)
    if wait_s is None and kind in (RateLimited, ServiceFailed):
        wait_s = retry_in_words_s(complaint.whole)
    error = kind(f"{place}: {words}{advice}", model=context.reference, status=status, retry_after_s=wait_s)
    error.rejects = rejects
    return error


def kind_and_rejects(
    complaint: ErrorBody, status: int | None, request: ModelRequest | None
) -> tuple[type[ProviderError], tuple[Rejection, ...]]:
    """Return the kind of failure that a complaint is, and which parts of the request it turns down."""
    has_images = request is not None and any(message.images for message in request.messages)
    text = f"{complaint.code} {complaint.message}"
    kind = kind_by_words(text, status, has_images=has_images) or kind_by_status(status)
    if request is None or kind not in _MAY_REJECT:
        return kind, ()
    for text in (complaint.message, complaint.whole):
        rejects = rejections(
            status=status, code=complaint.code, parameter=complaint.parameter, message=text, request=request
        )
        if rejects:
            # Told to be another failure (templates fail with 500, routers with 404), but asking again is of no use.
            return BadRequest, rejects
    return kind, ()


def instead(kind: type[ProviderError], request: ModelRequest | None) -> str:
    """Return which model to use in place of one that is gone, as the end of a piece of advice."""
    name = successor(request.model) if kind is ModelNotFound and request is not None else None
    return f"; a later model is {name}" if name else ""
