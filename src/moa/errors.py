"""The errors of this package, as one tree.

::

    MoaError
    ├── UsageError                  an invalid request or option; nothing was sent
    │   └── TraceError              a trace that can't be read, written or replayed
    ├── MixtureError                a mixture file or mapping that can't be used
    │   ├── UnknownMixture          no preset and no file of that name
    │   └── TemplateError           an aggregator prompt that can't be rendered
    ├── ConfigError                 endpoints or settings that can't be used
    │   ├── UnknownEndpoint         a model reference names an endpoint that is not configured
    │   ├── MissingCredentials      the endpoint needs a key that isn't set
    │   └── MissingDependency       the feature needs an optional package
    ├── ProviderError               one call to one model failed
    │   ├── RateLimited             429, throttling, or the service's equivalent
    │   ├── QuotaExhausted          the account has no credit left
    │   ├── ServiceFailed           5xx, overloaded, or an error event inside a stream
    │   ├── ConnectionFailed        refused, reset, unknown host, TLS
    │   ├── CallTimedOut            the agent's time limit expired
    │   ├── IdleTimedOut            the reply stayed silent for too long
    │   ├── BrokenReply             a reply that breaks off, or is not what the protocol says
    │   ├── EmptyReply              a complete reply without content
    │   ├── UnusableReply           a complete reply that doesn't do what was asked, e.g. select a proposal
    │   ├── Refused                 a content filter or guardrail stepped in
    │   ├── AuthenticationFailed    the key is wrong or expired, or may not use this model
    │   ├── ModelNotFound           the endpoint doesn't know this model
    │   ├── Abandoned               the run continued without this call
    │   ├── CircuitOpen             skipped: the model has failed several times in a row
    │   ├── OutOfDescriptors        this process has no file descriptor left for a connection
    │   ├── BudgetExceeded          the call may cost more than is left of a budget
    │   ├── ProviderFault           the provider itself raised something else: a bug in it
    │   └── BadRequest              the service won't take this request
    │       ├── ContextTooLong      the prompt doesn't fit into the model's window
    │       └── UnsupportedInput    the model can't take this kind of input
    ├── StateUnavailable            the store of shared limits and budgets can't be reached
    ├── EvaluationDataError         a data file of an evaluation that can't be used
    └── EngineError                 a run failed; carries the ledger of what it cost
        ├── OverBudget              the run's worst case exceeds its budget, even with everything dropped that may be
        ├── LayerFailed             too few proposals arrived
        ├── AggregationFailed       no aggregator gave an answer
        ├── AnswerInterrupted       the answer broke off after part of it was shown
        └── DeadlineExceeded        the run's deadline passed

Every error says what failed, where, and what to do. `code` is stable and safe to match on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from moa._ledger import ErrorInfo, Ledger
from moa._usage import TokenUsage

__all__ = [
    "Abandoned",
    "AggregationFailed",
    "AnswerInterrupted",
    "AuthenticationFailed",
    "BadRequest",
    "BrokenReply",
    "BudgetExceeded",
    "CallTimedOut",
    "CircuitOpen",
    "ConfigError",
    "ConnectionFailed",
    "ContextTooLong",
    "DeadlineExceeded",
    "EmptyReply",
    "EngineError",
    "EvaluationDataError",
    "IdleTimedOut",
    "LayerFailed",
    "MissingCredentials",
    "MissingDependency",
    "MixtureError",
    "MoaError",
    "ModelNotFound",
    "OutOfDescriptors",
    "OverBudget",
    "ProviderError",
    "ProviderFault",
    "QuotaExhausted",
    "RateLimited",
    "Refused",
    "Rejection",
    "ServiceFailed",
    "StateUnavailable",
    "TemplateError",
    "TraceError",
    "UnknownEndpoint",
    "UnknownMixture",
    "UnsupportedInput",
    "UnusableReply",
    "UsageError",
]


class MoaError(Exception):
    """Base of every error that this package raises on purpose."""

    code = "moa_error"

    @property
    def info(self) -> ErrorInfo:
        """The error as data, for ledgers and JSON."""
        return ErrorInfo(code=self.code, message=str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: keyword-only constructors break the default way."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[MoaError], args: tuple[Any, ...], state: dict[str, Any]) -> MoaError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(MoaError):
    """A request or an option is invalid; nothing was sent and nothing was spent."""

    code = "usage_error"


def _located(message: str, path: Path | None, line: int | None, key: str | None) -> str:
    place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
    return f"{place}{key}: {message}" if key else f"{place}{message}"


class _InFile(Exception):
    """Something in a file, or in a mapping given in code, that can't be used; attributes as in `MixtureError`."""

    def __init__(
        self, message: str, *, path: Path | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.path, self.line, self.key = path, line, key

    def __str__(self) -> str:
        return _located(self.args[0], self.path, self.line, self.key)


class TraceError(_InFile, UsageError):
    """A trace can't be read, written or replayed.

    Attributes:
        path: The file.
        line: Line in it, from 1; None for the whole.
    """

    code = "invalid_trace"


class MixtureError(_InFile, MoaError):
    """A mixture can't be used as it is written.

    Attributes:
        path: The file, or None for a mapping given in code.
        line: Line in that file, from 1; None if unknown.
        key: Dotted path of the value, e.g. `layers.0.proposers.1.temperature`; None for the whole.
    """

    code = "invalid_mixture"


class UnknownMixture(MixtureError):
    """No preset and no file has this name."""

    code = "unknown_mixture"


class TemplateError(MixtureError):
    """An aggregator prompt can't be rendered, or never uses the proposals."""

    code = "invalid_template"


class ConfigError(_InFile, MoaError):
    """The endpoints or settings can't be used as they are written; attributes as in `MixtureError`."""

    code = "invalid_config"


class UnknownEndpoint(ConfigError):
    """A model reference names an endpoint that is neither built in nor configured."""

    code = "unknown_endpoint"


class MissingCredentials(ConfigError):
    """The endpoint needs a key that isn't set."""

    code = "missing_credentials"


class MissingDependency(ConfigError):
    """The feature needs an optional package that isn't installed."""

    code = "missing_dependency"

    @classmethod
    def of(cls, feature: str, *, extra: str) -> Self:
        """The error for a feature of this package's extra, with the command that installs it."""
        return cls(f'{feature} needs an optional package: pip install "mixture-of-agents[{extra}]"')


@dataclass(frozen=True, slots=True)
class Rejection:
    """A part of a request that a service turned down.

    Attributes:
        part: Its neutral name: a parameter (`temperature`, `max_tokens`, `response_format`, `tools` …), a way of
            delivery (`stream`, `stream_options`), a property of the conversation (`system`, `alternation`,
            `prefill`, `name`, `tool_call_id` …), or a further field of the request by its own name.
        beside: The part that it doesn't go together with; None if it is turned down in any case.
    """

    part: str
    beside: str | None = None

    def __str__(self) -> str:
        return self.part if self.beside is None else f"{self.part} beside {self.beside}"


class ProviderError(MoaError):
    """One call to one model failed.

    Attributes:
        model: Model reference, `endpoint/model-id`.
        status: HTTP status of the service's answer, None if there was none.
        retry_after_s: Seconds that the service asks to wait, None if it didn't say.
        retryable: The same request may well succeed a little later.
        maybe_billed: The service may have generated (and billed) tokens before the failure.
        usage: Tokens that the service reported all the same, None if it reported none.
        ask_again: The request was not taken by chance (a kept connection was found closed): the same request may be
            sent again at once.
        rejects: The parts of the request that the service turned down, the likeliest first; empty if the failure is
            about something else. A request without the first of them may well be taken.
    """

    code = "provider_error"
    retryable = False
    maybe_billed = False
    usage: TokenUsage | None = None
    ask_again = False
    rejects: tuple[Rejection, ...] = ()

    def __init__(
        self, message: str, *, model: str, status: int | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.model, self.status, self.retry_after_s = model, status, retry_after_s

    def __str__(self) -> str:
        return f"{self.model}: {self.args[0]}"


class RateLimited(ProviderError):
    """The service answered 429, or its equivalent."""

    code, retryable = "rate_limited", True


class QuotaExhausted(ProviderError):
    """The account behind the key has no credit left; waiting doesn't help."""

    code = "quota_exhausted"


class ServiceFailed(ProviderError):
    """The service failed: 5xx, overloaded, or an error event inside a stream."""

    code, retryable = "service_failed", True


class ConnectionFailed(ProviderError):
    """No reply began: connection refused or reset, unknown host, TLS failure."""

    code, retryable = "connection_failed", True


class CallTimedOut(ProviderError):
    """The agent's time limit expired before its reply was complete."""

    code, maybe_billed = "call_timed_out", True


class IdleTimedOut(ProviderError):
    """The reply had started, and then nothing arrived for longer than the idle limit."""

    code, retryable, maybe_billed = "idle_timed_out", True, True


class BrokenReply(ProviderError):
    """The reply broke off, or is not what the protocol says."""

    code, retryable, maybe_billed = "broken_reply", True, True


class EmptyReply(ProviderError):
    """The reply is complete but has no content (at most reasoning)."""

    code, maybe_billed = "empty_reply", True


class UnusableReply(ProviderError):
    """The reply is complete, but doesn't do what was asked, e.g. name the best proposal."""

    code, maybe_billed = "unusable_reply", True


class Refused(ProviderError):
    """A content filter or guardrail of the service stepped in."""

    code, maybe_billed = "refused", True


class AuthenticationFailed(ProviderError):
    """The key is wrong or expired, or may not use this model."""

    code = "authentication_failed"


class ModelNotFound(ProviderError):
    """The endpoint doesn't know this model."""

    code = "model_not_found"


class Abandoned(ProviderError):
    """The run continued without this call: it was slower than the mixture waits."""

    code, maybe_billed = "abandoned", True


class CircuitOpen(ProviderError):
    """The call was skipped: its model has failed several times in a row."""

    code = "circuit_open"


class OutOfDescriptors(ProviderError):
    """The call was not made: this process has no file descriptor left for a connection. The service is not at fault."""

    code, retryable = "out_of_descriptors", True


class BudgetExceeded(ProviderError):
    """The call was not made: its worst case exceeds what is left of a budget."""

    code = "budget_exceeded"


class ProviderFault(ProviderError):
    """The provider raised an exception that is not a `ProviderError`: a bug in it, reported as this call's failure."""

    code, maybe_billed = "provider_fault", True


class BadRequest(ProviderError):
    """The service rejects this request; a retry doesn't help."""

    code = "bad_request"


class ContextTooLong(BadRequest):
    """The prompt doesn't fit into the model's context window."""

    code = "context_too_long"


class UnsupportedInput(BadRequest):
    """The model can't take this kind of input, e.g. images."""

    code = "unsupported_input"


class EvaluationDataError(MoaError):
    """A data file of an evaluation can't be used.

    Attributes:
        path: The file, or None for values given in code.
        row: Its row or record, from 1; None for the whole file.
        key: The column or field; None for the whole row.
    """

    code = "invalid_evaluation_data"

    def __init__(
        self, message: str, *, path: Path | None = None, row: int | None = None, key: str | None = None
    ) -> None:
        super().__init__(message)
        self.path, self.row, self.key = path, row, key

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}: "
        return _located(f"{row}{self.args[0]}", self.path, None, self.key)


class StateUnavailable(MoaError):
    """The store of shared limits and budgets can't be reached, or doesn't answer in time."""

    code = "state_unavailable"


class EngineError(MoaError):
    """A run failed.

    Attributes:
        ledger: What the run used and cost until then.
        failures: The real causes, in the order of agents: one for each model that failed, fallbacks included.
    """

    code = "run_failed"

    def __init__(self, message: str, *, ledger: Ledger, failures: Sequence[ProviderError] = ()) -> None:
        super().__init__(message)
        self.ledger, self.failures = ledger, tuple(failures)

    def __str__(self) -> str:
        causes = "; ".join(map(str, self.failures))
        return f"{self.args[0]} ({causes})" if causes else str(self.args[0])


class OverBudget(EngineError):
    """The worst case of the rest of the run exceeds its budget, even with everything dropped that may be."""

    code = "over_budget"


class LayerFailed(EngineError):
    """A layer ended with fewer proposals than the mixture needs."""

    code = "layer_failed"

    def __init__(self, *, layer: int, needed: int, got: int, ledger: Ledger, failures: Sequence[ProviderError]) -> None:
        super().__init__(f"layer {layer}: {got} of {needed} needed proposals arrived", ledger=ledger, failures=failures)
        self.layer, self.needed, self.got = layer, needed, got


class AggregationFailed(EngineError):
    """Neither the aggregator nor its fallbacks answered."""

    code = "aggregation_failed"


class AnswerInterrupted(EngineError):
    """The answer broke off after part of it had been shown; nothing is replayed.

    Attributes:
        partial_text: What had been shown.
    """

    code = "answer_interrupted"

    def __init__(
        self, message: str, *, partial_text: str, ledger: Ledger, failures: Sequence[ProviderError] = ()
    ) -> None:
        super().__init__(message, ledger=ledger, failures=failures)
        self.partial_text = partial_text


class DeadlineExceeded(EngineError):
    """The run's deadline passed.

    Attributes:
        partial_text: The part of the answer that had been shown, empty if none.
    """

    code = "deadline_exceeded"

    def __init__(
        self, message: str, *, ledger: Ledger, failures: Sequence[ProviderError] = (), partial_text: str = ""
    ) -> None:
        super().__init__(message, ledger=ledger, failures=failures)
        self.partial_text = partial_text
