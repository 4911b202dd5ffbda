import pytest

from moa.providers._openai_compatible.dialect import Dialect, rejected_parameter
from moa.providers._openai_compatible.error_body import error_body_of

SENT = {"temperature", "top_p", "top_k", "max_tokens", "seed", "stream", "stream_options", "logprobs", "tools"}


def rejected(error: object, *, status: int = 400, sent: set[str] = SENT) -> str | None:
    return rejected_parameter(status, error_body_of(error), sent)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            },
            "max_tokens",
        ),
        (
            {
                "message": "Unsupported value: 'temperature' does not support 0.7 with this model.",
                "param": "temperature",
                "code": "unsupported_value",
            },
            "temperature",
        ),
        ({"message": "Unrecognized request argument supplied: top_k"}, "top_k"),
        ({"message": "Unknown parameter: 'top_k'.", "param": "top_k", "code": "unknown_parameter"}, "top_k"),
        ({"message": "property 'top_k' is unsupported"}, "top_k"),
        ({"message": "`logprobs` is not supported with this model"}, "logprobs"),
        ({"message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'}, "seed"),
        ({"message": "seed isn't supported; supported are temperature, top_p"}, "seed"),
        (
            {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            },
            "stream_options",
        ),
    ],
)
def test_rejected_parameter_is_found_in_every_servers_words(error: object, expected: str) -> None:
    assert rejected(error) == expected


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid 'temperature': decimal above maximum value.", "param": "temperature"},
        {"message": "max_tokens is too large: this model supports at most 4096 tokens", "param": "max_tokens"},
        {"message": "Unsupported parameter: 'tools' is not supported with this model.", "param": "tools"},
        {"message": "Unsupported parameter: 'response_format'", "param": "response_format"},
        {"message": "this model is not supported"},
    ],
)
def test_rejected_parameter_is_none_when_the_fault_is_another(error: object) -> None:
    assert rejected(error) is None


def test_rejected_parameter_is_none_when_it_was_not_ours() -> None:
    assert rejected({"message": "Unknown parameter: 'top_k'."}, sent={"temperature"}) is None


def test_rejected_parameter_is_none_when_the_service_itself_failed() -> None:
    assert rejected({"message": "Unknown parameter: 'top_k'."}, status=500) is None


def test_dialect_renames_the_token_limit_once_and_never_drops_it() -> None:
    renamed = Dialect().without("max_tokens")

    assert renamed is not None
    assert renamed.apply({"max_tokens": 5}) == {"max_completion_tokens": 5}
    assert renamed.without("max_completion_tokens") is None
    assert renamed.without("max_tokens") is None


def test_dialect_drops_both_halves_of_log_probabilities() -> None:
    quiet = Dialect().without("logprobs")

    assert quiet is not None
    assert quiet.apply({"logprobs": True, "top_logprobs": 2, "seed": 1}) == {"seed": 1}


@pytest.mark.parametrize("parameter", ["tools", "response_format", "stop", "stream"])
def test_dialect_never_does_without_what_makes_another_reply(parameter: str) -> None:
    assert Dialect().without(parameter) is None
