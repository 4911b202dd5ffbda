import pytest
from botocore.session import Session

from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServiceFailed,
)
from moa.providers._bedrock.error_mapping import from_event, from_response
from moa.providers._reply_context import ReplyContext

REFERENCE = "bedrock/some.model"
CONTEXT = ReplyContext(REFERENCE)


def answered(status: int, code: str, message: str = "It failed.") -> ProviderError:
    headers = {"x-amzn-errortype": f"{code}:http://internal.amazon.com/coral/"}
    return from_response(status, headers, b'{"message": "%s"}' % message.encode(), CONTEXT)


def in_stream(code: str, message: str = "It failed.") -> ProviderError:
    return from_event({":exception-type": code}, b'{"message": "%s"}' % message.encode(), CONTEXT)


CODES = [
    (429, "ThrottlingException", RateLimited),
    (400, "ServiceQuotaExceededException", RateLimited),
    (408, "ModelTimeoutException", ServiceFailed),
    (424, "ModelStreamErrorException", ServiceFailed),
    (429, "ModelNotReadyException", ServiceFailed),
    (424, "ModelErrorException", ServiceFailed),
    (503, "ServiceUnavailableException", ServiceFailed),
    (500, "InternalServerException", ServiceFailed),
    (400, "ValidationException", BadRequest),
    (404, "UnknownOperationException", BadRequest),
    (403, "AccessDeniedException", AuthenticationFailed),
    (404, "ResourceNotFoundException", ModelNotFound),
    (403, "ExpiredTokenException", AuthenticationFailed),
    (403, "UnrecognizedClientException", AuthenticationFailed),
    (403, "InvalidSignatureException", AuthenticationFailed),
    (403, "MissingAuthenticationTokenException", AuthenticationFailed),
]


@pytest.mark.parametrize(("status", "code", "kind"), CODES)
def test_error_code_becomes_our_error(status: int, code: str, kind: type[ProviderError]) -> None:
    error = answered(status, code)

    assert type(error) is kind
    assert str(error).startswith(f"{REFERENCE}: {code}: It failed.")
    assert error.status == status


@pytest.mark.parametrize(("status", "code", "kind"), CODES)
def test_code_means_the_same_inside_a_stream(status: int, code: str, kind: type[ProviderError]) -> None:
    assert type(in_stream(code[0].lower() + code[1:])) is kind


def test_every_error_of_the_service_model_has_a_kind_by_its_code_alone() -> None:
    service = Session().get_service_model("bedrock-runtime")
    shapes = {
        shape.name for name in ("Converse", "ConverseStream") for shape in service.operation_model(name).error_shapes
    }

    assert len(shapes) >= 9
    # A status that would make any other code a refusal of the service: the code must win.
    for name in shapes:
        known = answered(418, name)
        assert type(known) is not BadRequest or name == "ValidationException", name


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (301, BadRequest),
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, ModelNotFound),
        (413, ContextTooLong),
        (429, RateLimited),
        (408, ServiceFailed),
        (502, ServiceFailed),
    ],
)
def test_unknown_answer_is_judged_by_its_status(status: int, kind: type[ProviderError]) -> None:
    error = from_response(status, {}, b"<html>nope</html>", CONTEXT)

    assert type(error) is kind
    assert f"HTTP {status}: <html>nope</html>" in str(error)


def test_code_is_also_found_in_the_body() -> None:
    content = b'{"__type": "com.amazon.coral.service#ThrottlingException", "Message": "slow"}'

    error = from_response(400, {}, content, CONTEXT)
    assert isinstance(error, RateLimited)
    assert error.args == ("ThrottlingException: slow",)


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "prompt is too long: 205000 tokens > 200000 maximum",
        "The model returned the following errors: input length and `max_tokens` exceed context limit: 198000 + 4096",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        "Malformed input request: expected maxLength: 42000, actual: 46735, please reformat your input and try again.",
        "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
    ],
)
def test_validation_of_too_long_an_input_says_so(message: str) -> None:
    assert type(answered(400, "ValidationException", message)) is ContextTooLong
    assert type(in_stream("validationException", message)) is ContextTooLong


@pytest.mark.parametrize(
    "message",
    [
        "The maximum tokens you requested exceeds the model limit of 4096. Try again.",
        "This model doesn't support system messages.",
        "1 validation error detected: Value '2.0' at 'inferenceConfig.temperature' failed to satisfy constraint",
    ],
)
def test_other_validation_is_a_bad_request(message: str) -> None:
    assert type(answered(400, "ValidationException", message)) is BadRequest


def test_model_that_needs_an_inference_profile_gets_the_hint() -> None:
    message = "Invocation of model ID meta.llama3-2-3b-instruct-v1:0 with on-demand throughput isn't supported."

    assert "use the id of an inference profile, e.g. with us." in str(answered(400, "ValidationException", message))


def test_invalid_model_identifier_is_an_unknown_model() -> None:
    assert type(answered(400, "ValidationException", "The provided model identifier is invalid.")) is ModelNotFound


def test_denied_access_gets_the_hint_to_enable_the_model() -> None:
    assert "Amazon Bedrock console (Model access)" in str(answered(403, "AccessDeniedException"))


def test_daily_allowance_is_exhausted_rather_than_throttled() -> None:
    message = "Too many tokens per day, please wait before trying again."

    assert type(answered(429, "ThrottlingException", message)) is QuotaExhausted


def test_complaint_about_a_signature_never_shows_the_session_token() -> None:
    message = r"It does not match.\n\nThe Canonical String was\n'POST\nx-amz-security-token:SECRET'"

    assert "SECRET" not in str(answered(403, "InvalidSignatureException", message))


def test_long_message_is_shortened() -> None:
    assert len(str(answered(500, "InternalServerException", "x" * 10_000))) < 700


@pytest.mark.parametrize(
    ("value", "seconds"), [("2", 2.0), ("0.5", 0.5), ("Thu, 01 Jan 1970 00:01:40 GMT", 0.0), ("soon", None)]
)
def test_wait_that_the_service_asks_for_is_kept(value: str, seconds: float | None) -> None:
    headers = {"x-amzn-errortype": "ThrottlingException", "retry-after": value}

    assert from_response(429, headers, b"{}", CONTEXT).retry_after_s == seconds


def test_error_event_without_a_known_code_is_a_failure_of_the_service() -> None:
    headers = {":message-type": "error", ":error-code": "Boom", ":error-message": "It broke."}

    error = from_event(headers, b"", CONTEXT)
    assert type(error) is ServiceFailed
    assert error.args == ("Boom: It broke.",)
