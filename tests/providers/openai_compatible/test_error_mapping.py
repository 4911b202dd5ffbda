import itertools
import json
from typing import Any

import pytest

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, TextPart
from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Refused,
    Rejection,
    ServiceFailed,
    UnsupportedInput,
)
from moa.providers._error_body import MOST_SHOWN, parse_error_body
from moa.providers._error_mapping import map_error
from moa.providers._reply_context import ReplyContext
from tests.providers.requests import ask


def error_of(
    status: int, body: object, headers: dict[str, str] | None = None, *, has_images: bool = False
) -> ProviderError:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    parts = (TextPart(text="What is this?"), ImagePart(data=b"GIF8", media_type="image/gif"))
    request = ask(messages=(Message(role="user", content=parts),)) if has_images else ask()
    said = parse_error_body(sent)
    return map_error(said, ReplyContext("lab/small", request), status=status, headers=headers)


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
        # DeepSeek, and vLLM with a limit of its own
        (400, "Failed to deserialize the JSON body: messages[0]: unknown variant `image_url`, expected `text`"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        # github.com/chatboxai/chatbox/issues/1740 and github.com/browser-use/web-ui/issues/99
        (422, "Failed to deserialize the JSON body: messages[2]: invalid type: sequence, expected a string at line 1"),
        (422, "messages[2]: data did not match any variant of untagged enum ChatCompletionRequestContent at line 1"),
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


WORDINGS = (
    "`{0}` is not something that this model accepts.",
    "Unsupported parameter: '{0}'",
    "{0}: Extra inputs are not permitted",
    'json: unknown field "{0}"',
    "This model doesn't support the {0} parameter",
    "[{{'type': 'extra_forbidden', 'loc': ('body', '{0}'), 'msg': 'Extra inputs are not permitted'}}]",
    "1 validation error for Request {0} Extra inputs are not permitted [type=extra_forbidden]",
    "不支持参数 {0}",
    "{0} 字段不被支持",
    "パラメータ「{0}」はサポートされていません",
    "Der Parameter „{0}“ wird nicht unterstützt.",
    "Le paramètre « {0} » n'est pas pris en charge",
    "El parámetro '{0}' no es compatible con este modelo",
)
"""How a service may say that it doesn't take a part."""


def _shapes(sentence: str, name: str) -> dict[str, str]:
    """The bodies in which a sentence may come."""
    fault = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
    bodies: dict[str, Any] = {
        "openai": {"error": {"message": sentence, "type": "invalid_request_error", "param": None, "code": None}},
        "code as a number": {"error": {"code": 400, "message": sentence, "status": "INVALID_ARGUMENT"}},
        "list": [{"error": {"message": sentence}}],
        "error as a text": {"error": sentence},
        "detail": {"detail": sentence},
        "detail list": {"detail": [fault]},
        "message holds detail": {"object": "error", "message": {"detail": [fault]}},
        "errors": {"success": False, "errors": [{"code": 7003, "message": sentence}]},
        "problem": {"title": "Bad Request", "status": 400, "detail": sentence},
        "json inside of a text": {"error": {"message": json.dumps({"error": {"message": sentence}})}},
        "msg": {"code": 1210, "msg": sentence},
    }
    texts = {shape: json.dumps(body, ensure_ascii=False) for shape, body in bodies.items()}
    page = f"<html><head><style>p {{}}</style></head><body><p>{sentence}</p></body></html>"
    return texts | {"text": sentence, "page": page}


PARTS = Sampling(
    temperature=0.5,
    top_p=0.9,
    top_k=5,
    seed=1,
    reasoning_effort="low",
    extra={
        **{"user": "u", "presence_penalty": 0.1, "store": True, "prompt_cache_key": "k", "verbosity": "low"},
        **{"safety_identifier": "s", "parallel_tool_calls": True, "frequency_penalty": 0.1, "metadata": {"a": "b"}},
    },
)


@pytest.mark.parametrize(
    "part", ["temperature", "top_p", "top_k", "seed", "reasoning_effort", "logprobs", "cache_points", *PARTS.extra]
)
def test_a_refused_part_is_found_in_any_wording_shape_and_status(part: str) -> None:
    marked = Message(role="user", content="hi", cache_points=(2,))
    request = ask(messages=(marked,), sampling=PARTS, options=ReplyOptions(top_logprobs=2))
    # None is an error inside of a reply with status 200.
    statuses = itertools.cycle((400, 403, 404, 405, 406, 415, 422, 500, 501, None))
    name = "cache_control" if part == "cache_points" else part
    for wording in WORDINGS:
        for shape, body in _shapes(wording.format(name), name).items():
            status = next(statuses)
            complaint = parse_error_body(body.encode())
            error = map_error(complaint, ReplyContext("lab/small", request), status=status)
            assert error.rejects[:1] == (Rejection(part),), (wording, shape, status)
            assert type(error) is BadRequest


def test_an_address_that_has_moved_is_named_without_its_query() -> None:
    headers = {"location": "https://x.test/v1/chat/completions?key=secret"}
    error = map_error(parse_error_body(b"moved"), ReplyContext("lab/m"), status=308, headers=headers)

    assert "it has moved to https://x.test/v1/chat/completions: correct the endpoint's base_url" in str(error)
    assert not error.retryable


def test_a_wait_in_the_body_counts_where_no_header_names_one() -> None:
    body = parse_error_body(b'{"error":{"code":429,"details":[{"retryDelay":"39s"}],"status":"RESOURCE_EXHAUSTED"}}')

    assert map_error(body, ReplyContext("lab/m"), status=429).retry_after_s == 39
    assert map_error(body, ReplyContext("lab/m"), status=429, headers={"retry-after": "2"}).retry_after_s == 2
