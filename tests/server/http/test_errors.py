"""Errors as HTTP."""

from collections.abc import Iterator

import pytest

from moa import errors
from moa._ledger import Ledger
from moa._server.api.errors import anthropic_error, openai_error
from moa._server.http.errors import STATUS, RequestError, error_response, status_of
from moa.errors import AggregationFailed, ConfigError, LayerFailed, MoaError


def _tree(kind: type[MoaError] = MoaError) -> Iterator[type[MoaError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


OURS = [kind for kind in _tree() if kind.__module__ == "moa.errors"]


@pytest.mark.parametrize("kind", OURS)
def test_every_class_of_errors_has_a_status_of_its_own_in_the_table(kind: type[MoaError]) -> None:
    assert 400 <= STATUS[kind] < 600


def test_a_class_of_another_package_has_the_status_of_the_class_above_it() -> None:
    class Throttled(errors.RateLimited):
        code = "throttled"

    assert status_of(Throttled) == 429


def test_a_run_whose_causes_are_of_one_kind_fails_as_that_kind() -> None:
    limited = errors.RateLimited("slow down", model="lab/a", retry_after_s=7)
    failure = error_response(
        LayerFailed(layer=1, needed=1, got=0, ledger=Ledger(), failures=[limited, limited]), show_details=False
    )

    assert (failure.status, failure.code, failure.retry_after_s) == (429, "rate_limited", 7)


def test_a_run_with_causes_of_several_kinds_fails_as_itself() -> None:
    causes = [errors.RateLimited("slow", model="lab/a"), errors.ServiceFailed("down", model="lab/b")]
    failure = error_response(
        AggregationFailed("no aggregator gave an answer", ledger=Ledger(), failures=causes), show_details=True
    )

    assert (failure.status, failure.code) == (502, "aggregation_failed")
    assert failure.message == "no aggregator gave an answer (lab/a: slow; lab/b: down)"


def test_what_services_said_is_told_only_to_who_runs_the_server_unless_it_is_about_the_request() -> None:
    causes = [
        errors.ConnectionFailed("no reply from http://10.0.0.7:9000", model="lab/a"),
        errors.BadRequest("temperature is too high", model="lab/b"),
    ]
    error = AggregationFailed("no answer", ledger=Ledger(), failures=causes)

    hidden, told = error_response(error, show_details=False), error_response(error, show_details=True)

    assert hidden.message == "no answer (lab/a: connection_failed; lab/b: temperature is too high)"
    assert hidden.causes[0] == {"model": "lab/a", "code": "connection_failed"}
    assert "10.0.0.7" in told.message


def test_a_faulty_set_up_is_not_told_to_strangers() -> None:
    error = ConfigError("/home/me/moa.yaml is broken")

    assert "moa.yaml" not in error_response(error, show_details=False).message
    assert "moa.yaml" in error_response(error, show_details=True).message


def test_a_prompt_that_is_too_long_has_the_code_that_clients_look_for() -> None:
    causes = [errors.ContextTooLong("too long", model="lab/a")]
    failure = error_response(AggregationFailed("no answer", ledger=Ledger(), failures=causes), show_details=False)

    assert (failure.status, failure.code) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (404, "invalid_request_error", "not_found_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (502, "server_error", "api_error"),
        (503, "server_error", "overloaded_error"),
    ],
)
def test_each_api_has_its_own_word_for_a_status(status: int, openai: str, anthropic: str) -> None:
    failure = error_response(RequestError(status, "code", "message", param="model"), show_details=False)

    assert openai_error(failure, "req-1")["error"] == {
        "message": "message",
        "type": openai,
        "param": "model",
        "code": "code",
    }
    assert anthropic_error(failure, "req-1")["error"]["type"] == anthropic


def test_a_budget_that_is_used_up_is_no_error_that_clients_try_again() -> None:
    assert status_of(errors.OverBudget) == status_of(errors.BudgetExceeded) == 402
