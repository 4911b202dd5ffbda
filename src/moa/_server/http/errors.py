"""What goes wrong, as HTTP: a status for every class of errors, and what a client may know of it."""

from collections.abc import Mapping

from moa import errors
from moa.errors import BadRequest, ConfigError, EngineError, MoaError, ProviderError

STATUS: Mapping[type[MoaError], int] = {
    errors.MoaError: 500,
    errors.UsageError: 400,
    errors.TraceError: 500,
    errors.MixtureError: 400,
    errors.UnknownMixture: 404,
    errors.TemplateError: 400,
    errors.ConfigError: 500,
    errors.UnknownEndpoint: 400,
    errors.MissingCredentials: 503,
    errors.MissingDependency: 503,
    errors.ProviderError: 502,
    errors.RateLimited: 429,
    errors.QuotaExhausted: 503,
    errors.ServiceFailed: 502,
    errors.ConnectionFailed: 502,
    errors.CallTimedOut: 504,
    errors.IdleTimedOut: 504,
    errors.BrokenReply: 502,
    errors.EmptyReply: 502,
    errors.UnusableReply: 502,
    errors.Refused: 400,
    errors.AuthenticationFailed: 502,
    errors.ModelNotFound: 404,
    errors.Abandoned: 504,
    errors.CircuitOpen: 503,
    errors.OutOfDescriptors: 503,
    errors.BudgetExceeded: 402,
    errors.ProviderFault: 502,
    errors.BadRequest: 400,
    errors.ContextTooLong: 400,
    errors.UnsupportedInput: 400,
    errors.StateUnavailable: 503,
    errors.EvaluationDataError: 500,
    errors.EngineError: 502,
    errors.OverBudget: 402,
    errors.LayerFailed: 502,
    errors.AggregationFailed: 502,
    errors.AnswerInterrupted: 502,
    errors.DeadlineExceeded: 504,
}
"""HTTP status of every class. 402 for budgets, as clients try 429 and 5xx again, which would not help."""

_CODES = {errors.ContextTooLong.code: "context_length_exceeded"}
"""Codes that clients look for, where they differ from ours."""


MAX_MESSAGE_CHARS = 2_000
MAX_PARAM_CHARS = 200
"""Longest part of a faulty request that an error repeats: keys and values may be megabytes long."""


class RequestError(Exception):
    """Why a request gets no answer, as its client may know it.

    Attributes:
        status: HTTP status of the reply.
        code: Stable and safe to match on.
        message: What is wrong and what to do.
        param: The field of the request that is wrong, None for the whole.
        retry_after_s: Seconds after which the same request may be taken, None if it never will.
        allow: Methods that the address takes, if this one was none of them.
        details: What clients of the API look for beside the code.
        causes: What went wrong with each model, if a run failed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        allow: str | None = None,
        details: Mapping[str, str] | None = None,
        causes: tuple[Mapping[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, _shortened(message, MAX_MESSAGE_CHARS)
        self.param = param and _shortened(param, MAX_PARAM_CHARS)
        self.retry_after_s, self.allow, self.details, self.causes = retry_after_s, allow, details, causes


def _shortened(text: str, limit: int) -> str:
    """A text that may repeat what a request holds, so that no reply is larger than its request."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


INTERNAL = RequestError(status=500, code="internal_error", message="the server made a mistake; its log says more")


def status_of(kind: type[MoaError]) -> int:
    """Return the HTTP status of a class of errors: its own, or that of the nearest class above it."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def error_response(error: MoaError | RequestError, *, show_details: bool) -> RequestError:
    """Return any error as a client may know it.

    Args:
        error: What was raised.
        show_details: Whether to include the text of services' errors and their addresses; for operators only.
    """
    if isinstance(error, RequestError):
        return error
    if isinstance(error, EngineError):
        return _failed_run(error, show_details=show_details)
    status = status_of(type(error))
    hidden = status >= 500 and isinstance(error, ConfigError) and not show_details
    message = "the server is not set up for this request; its log says more" if hidden else str(error)
    param = error.key if isinstance(error, errors.MixtureError) else None
    return RequestError(status, error.code, message, param=param)


def _failed_run(error: EngineError, *, show_details: bool) -> RequestError:
    """A failed run; if all causes are of one class, that class determines code and status."""
    causes = tuple(_cause(cause, show_details=show_details) for cause in error.failures)
    kinds = {type(cause) for cause in error.failures}
    telling = isinstance(error, errors.LayerFailed | errors.AggregationFailed) and len(kinds) == 1
    kind: type[MoaError] = next(iter(kinds)) if telling else type(error)
    # Each once: a hundred samples of one model fail for one cause.
    words = "; ".join(dict.fromkeys(f"{cause['model']}: {cause.get('message') or cause['code']}" for cause in causes))
    waits = [cause.retry_after_s for cause in error.failures if cause.retry_after_s is not None]
    return RequestError(
        status=status_of(kind),
        code=_CODES.get(kind.code, kind.code),
        message=f"{error.args[0]} ({words})" if words else str(error.args[0]),
        retry_after_s=max(waits, default=None),
        causes=causes,
    )


def _cause(cause: ProviderError, *, show_details: bool) -> dict[str, str]:
    known = {"model": cause.model, "code": cause.code}
    # A client needs a service's text about the request itself; other texts are internal.
    return known | {"message": str(cause.args[0])} if show_details or isinstance(cause, BadRequest) else known
