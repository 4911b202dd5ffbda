import json
from typing import Any

import pytest

from moa._messages import ImagePart, Message, TextPart
from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServiceFailed,
    UnsupportedInput,
)
from moa.providers._openai_compatible.error_body import MOST_SHOWN, parse_error_body
from moa.providers._openai_compatible.error_mapping import map_error
from tests.providers.requests import ask


def error_of(
    status: int, body: object, headers: dict[str, str] | None = None, *, has_images: bool = False
) -> ProviderError:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    parts = (TextPart(text="What is this?"), ImagePart(data=b"GIF8", media_type="image/gif"))
    request = ask(messages=(Message(role="user", content=parts),)) if has_images else ask()
    said = parse_error_body(sent)
    return map_error(said, reference="lab/small", request=request, status=status, headers=headers)


def openai(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None} | fields}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, "", BadRequest),
        (401, openai("Incorrect API key provided"), AuthenticationFailed),
        (402, openai("Insufficient credits"), QuotaExhausted),
        (403, openai("Project does not have access"), AuthenticationFailed),
        (404, openai("The model does not exist", code="model_not_found"), ModelNotFound),
        (404, "404 page not found", ModelNotFound),
        (400, openai("invalid model ID"), ModelNotFound),
        (405, "", BadRequest),
        (408, "", ServiceFailed),
        (413, "Request Entity Too Large", ContextTooLong),
        (422, {"detail": [{"loc": ["body", "temperature"], "msg": "too large", "type": "value_error"}]}, BadRequest),
        (429, openai("Rate limit reached", code="rate_limit_exceeded"), RateLimited),
        (429, "", RateLimited),
        (429, openai("You exceeded your current quota", code="insufficient_quota"), QuotaExhausted),
        (429, openai("You exceeded your current quota", code=429, status="RESOURCE_EXHAUSTED"), RateLimited),
        (498, openai("Flex capacity exceeded"), RateLimited),
        (500, "Internal Server Error", ServiceFailed),
        (502, "<html><title>502 Bad Gateway</title></html>", ServiceFailed),
        (503, openai("Loading model", code=503, type="unavailable_error"), ServiceFailed),
        (529, openai("Overloaded"), ServiceFailed),
        (302, "", BadRequest),
    ],
)
def test_failure_follows_the_status(status: int, body: object, expected: type[ProviderError]) -> None:
    error = error_of(status, body)

    assert type(error) is expected
    assert (error.model, error.status) == ("lab/small", status)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
        (400, "The prompt (total length 9000) is too long to fit into the model. Make sure that max_model_len ..."),
        (
            400,
            "the request exceeds the available context size. try increasing the context size or enable context shift",
        ),
        (500, "the request exceeds the available context size"),
        (400, "input length exceeds the context length"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000"),
        (400, "Please reduce the length of the messages or completion."),
        (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        (400, "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."),
        (400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens."),
        (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        (400, "Input is too long for requested model."),
        (413, "Request too large for model in organization on tokens per minute (TPM)"),
    ],
)
def test_failure_knows_every_servers_words_for_too_long_a_prompt(status: int, message: str) -> None:
    assert type(error_of(status, openai(message))) is ContextTooLong


@pytest.mark.parametrize(
    "body",
    [
        openai("too long", code="context_length_exceeded"),
        openai("too long", type="exceed_context_size_error", code=400, n_ctx=512),
        {"object": "error", "message": "maximum context length is 10 tokens", "type": "BadRequestError", "code": 400},
        {"error": "the input length exceeds the context length"},
        {"message": "Prompt is too long", "type": "invalid_request"},
    ],
)
def test_failure_reads_every_shape_of_error(body: object) -> None:
    assert type(error_of(400, body)) is ContextTooLong


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 9000. This model supports at most 4096 completion tokens.",
        "Invalid 'temperature': decimal above maximum value.",
        "messages: at least one message is required",
    ],
)
def test_failure_does_not_take_other_faults_for_too_long_a_prompt(message: str) -> None:
    assert type(error_of(400, openai(message))) is BadRequest


@pytest.mark.parametrize(
    "body",
    [
        openai(
            "The response was filtered due to the prompt triggering our content management policy.",
            code="content_filter",
        ),
        openai("Your request was rejected as a result of our safety system.", code="content_policy_violation"),
        openai("Content Exists Risk"),
        openai("Input data may contain inappropriate content.", code="data_inspection_failed"),
    ],
)
def test_failure_is_a_refusal_when_a_filter_stepped_in(body: object) -> None:
    assert type(error_of(400, body)) is Refused


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "small is not a multimodal model"),
        (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
        (400, "This model does not support image input."),
    ],
)
def test_failure_is_unsupported_input_when_a_model_takes_no_images(status: int, message: str) -> None:
    assert type(error_of(status, openai(message), has_images=True)) is UnsupportedInput
    assert type(error_of(status, openai(message))) is not UnsupportedInput


def test_failure_shows_what_the_server_said_in_one_short_line() -> None:
    error = error_of(503, "<html><style>p {x}</style><p>We are\n\n down</p>" + "<b>x </b>" * 5000)

    assert "HTTP 503: We are down x x" in str(error)
    assert "style" not in str(error)
    assert len(str(error)) < MOST_SHOWN + 100


def test_failure_shows_a_gateways_cause() -> None:
    body = openai("Provider returned error", code=502, metadata={"raw": "upstream said no", "provider_name": "x"})

    assert "Provider returned error: upstream said no" in str(error_of(502, body))


def test_failure_carries_the_servers_wait() -> None:
    assert error_of(429, "", {"retry-after": "7"}).retry_after_s == 7.0
