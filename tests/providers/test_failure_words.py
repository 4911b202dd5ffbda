"""What services' failures mean by their words: real sentences, as an OpenAI-style service and as Bedrock says them."""

import json

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
from moa.providers._base import ModelRequest
from moa.providers._bedrock.error_mapping import from_response
from moa.providers._error_body import parse_error_body
from moa.providers._error_mapping import map_error
from moa.providers._reply_context import ReplyContext
from tests.providers.requests import ask

Kind = type[ProviderError]

NO_MONEY = [
    # github.com/amd/gaia/issues/3766
    (
        412,
        "Account acme-1 is suspended, possibly due to reaching the monthly spending limit or failure to pay invoices",
    ),
    (403, "Your newly created team doesn't have any credits or licenses yet. You can purchase those on the console."),
    (429, "Your team has either used all available credits or reached its monthly spending limit."),
    (429, "余额不足或无可用资源包,请充值。"),
    (400, "Arrearage: Access denied, please make sure your account is in good standing."),
    (403, "Sorry, your account balance is insufficient"),
    (403, "Key limit exceeded (total limit). Manage it in the settings"),
    (429, "Your prepayment credits are depleted. Please manage your project and billing."),
    (400, "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."),
    (402, "You have exceeded your monthly included credits for Inference Providers."),
    # github.com/666ghj/BettaFish/issues/524
    (429, "Your account org-x is suspended due to insufficient balance, please recharge or check your plan"),
    (400, "Budget has been exceeded! Current cost: 10.2, Max budget: 10.0"),
    # github.com/diegosouzapw/OmniRoute/issues/6980: Cloudflare's Workers AI, whose day ends at midnight
    (429, "AiError: you have used up your daily free allocation of 10,000 neurons, please upgrade to a paid plan"),
    (429, "Subscription quota exceeded. You can continue using free models."),  # …/OmniRoute/issues/1772
    (429, "The usage limit has been reached"),  # github.com/code-yeongyu/senpi/issues/1969
    (429, "Weekly usage limit reached. Resets in 6hr 29min."),  # github.com/NousResearch/hermes-agent/pull/93455
    (429, "All accounts have exhausted their quota (reset after 5m)"),  # …/OmniRoute/pull/9387
]
FILTERED = [
    (400, "Output blocked by content filtering policy"),  # github.com/anthropics/claude-code/issues/6195
    # github.com/theopenco/llmgateway/pull/1785
    (403, "Content violates usage guidelines. Model: grok-4, API key ID: k, Failed check: SAFETY_CHECK_TYPE_CSAM"),
    (400, "系统检测到输入或生成内容可能包含不安全或敏感内容"),
    (400, "The request was rejected because it was considered high risk"),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
    (400, "This request has been blocked by our content filters, because it may conflict our AUP."),
    (400, "Your request was rejected by the safety filter"),
    (403, "Request blocked by guardrail: PII detected"),
    (400, "Prompt blocked due to security configurations"),  # Cloudflare's AI Gateway, by its guide to guardrails
]
NO_MODEL = [
    # github.com/crewAIInc/crewAI/issues/1976
    (400, "The model `llama-3.1-70b-versatile` has been decommissioned and is no longer supported."),
    (400, "The model x-1 is deprecated and was shut down on 2026-10-01. Use y instead."),
    (410, "This model has been retired."),
    (400, "Model Not Exist"),
    (400, "模型不存在，请检查模型代码。"),
    (400, "meta-llama/Old is not a valid model ID"),
    (422, "The model `foo` is not supported. Supported models are: a, b"),
    (400, "Unsupported model: foo"),
]
TOO_LONG = [
    # github.com/docker/docker-agent/issues/569
    (400, "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length"),
    (400, "Range of input length should be [1, 30720]"),  # github.com/QwenLM/Qwen-Agent/issues/615
    (400, "Input token length too long"),
    (400, "Your request exceeded model token limit: 131072"),
    # github.com/proxysoul/Empryo/issues/52
    (400, "You passed 202753 input tokens. However, the model's context length is only 202752 tokens"),
    (400, "prompt token count of 13613 exceeds the limit of 12288"),
    (400, "Unable to submit request because the input token count is 40000 but model only supports up to 32768."),
    (400, "tokens limit exceed"),
    (400, "Prompt 超长"),
    (400, "Trying to keep the first 5210 tokens when context the overflows."),
    (500, "prompt too long; exceeded max context length by 4 tokens"),
    (400, "Prompt too long: 5152 tokens exceeds max_seq_len 2048"),  # github.com/0xBakeer/inference-atlas/pull/186
    # github.com/earendil-works/pi/issues/4943 and pull/5929
    (400, "Input length 131393 exceeds the maximum allowed input length of 131040 tokens."),
    (400, "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens"),
    (400, "Your input exceeds the model's context window."),  # github.com/code-yeongyu/senpi/pull/1466
    (400, "The total number of tokens in the request exceeds the limit of 131072"),
    (400, "too many total tokens: 8200 > 8192"),
    (400, "Please reduce your prompt; or completion length."),
    (400, "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576"),
]
BUSY = [
    # github.com/LibreChat-AI/agents/issues/357: Scaleway says so of each of its limits
    (429, "INSUFFICIENT QUOTA: You exceeded your current limit of concurrent requests."),
    (429, "INSUFFICIENT QUOTA: You exceeded your current limit of tokens per minute."),
    # github.com/can1357/oh-my-pi/issues/8496: DashScope
    (429, "insufficient_quota: You exceeded your current quota. See https://help.aliyun.com/x/error-code#token-limit"),
    (429, "Too many tokens per minute"),
    (403, "REQUEST_LIMIT_EXCEEDED: Exceeded workspace input tokens per minute rate limit"),  # Databricks
    (400, "upstream rate limit exceeded"),
]
KEY = [
    (400, "API key not valid. Please pass a valid API key."),  # Gemini, as for all of its refusals of a key
    (400, "API key expired. Please renew the API key."),
    (400, "Missing or invalid Authorization header."),
    (400, "Incorrect API key provided: xa***11. You can obtain an API key from the console."),  # xAI
    (400, "User location is not supported for the API use."),  # github.com/google-gemini/gemini-cli/issues/24641
    (400, "claude-4-sonnet is not authorized or not available in your region."),  # Snowflake
    (422, "Invalid api key"),
    (500, "Authentication Error, Invalid proxy server token passed."),  # LiteLLM's proxy
    (400, "Access to Anthropic models is not allowed from unsupported countries, regions, or territories."),
]
OTHERS = [
    (429, "You exceeded your current quota, please check your plan and billing details. Retry in 30s.", RateLimited),
    (429, "Rate limit reached on tokens per minute (TPM): Limit 6000, Used 5000, Requested 2000.", RateLimited),
    (503, "No available channel for model foo under group default", ServiceFailed),
    (400, "Invalid 'max_tokens': 64000 is greater than the maximum 8192", BadRequest),
    (400, "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens", BadRequest),
    (400, "max_tokens is too large: 9000. This model supports at most 4096 completion tokens.", BadRequest),
    (400, "`temperature` is deprecated for this model.", BadRequest),
    (400, "Unknown name 'safety_settings': cannot find field.", BadRequest),
    (403, "Your account was flagged and its key disabled", AuthenticationFailed),
    (403, "Project `p` does not have access to model `gpt-6`", AuthenticationFailed),
    (499, "Client closed request", ServiceFailed),
    (400, "Model is overloaded, please retry later", ServiceFailed),
    # github.com/NousResearch/hermes-agent/pull/51793 and github.com/strands-agents/harness-sdk/pull/3722
    (400, "The parameter `max_tokens` is not valid: expected a value <= 32768, but got 65536", BadRequest),
    (400, "max_output_tokens (200000) exceeds model maximum output tokens (128000)", BadRequest),
    # More than a minute allows: no wait makes it smaller.
    (429, "Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 40000.", ContextTooLong),
    (429, "This request would exceed your account's rate limit. Please try again later.", RateLimited),
]


def at_openai(status: int, message: str, *, has_images: bool = False) -> ProviderError:
    body = json.dumps({"error": {"message": message, "type": None, "param": None, "code": None}}).encode()
    return map_error(parse_error_body(body), ReplyContext("lab/m", question(has_images)), status=status)


def on_bedrock(status: int, code: str, message: str, *, has_images: bool = False) -> ProviderError:
    body = json.dumps({"message": message}).encode()
    headers = {"x-amzn-errortype": code}
    return from_response(status, headers, body, ReplyContext("bedrock/m", question(has_images)))


def question(has_images: bool) -> ModelRequest:
    image = ImagePart(data=b"GIF8", media_type="image/gif")
    parts = (TextPart(text="What is this?"), image) if has_images else (TextPart(text="What is this?"),)
    return ask(messages=(Message(role="user", content=parts),))


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        *((status, message, QuotaExhausted) for status, message in NO_MONEY),
        *((status, message, Refused) for status, message in FILTERED),
        *((status, message, ModelNotFound) for status, message in NO_MODEL),
        *((status, message, ContextTooLong) for status, message in TOO_LONG),
        *((status, message, RateLimited) for status, message in BUSY),
        *((status, message, AuthenticationFailed) for status, message in KEY),
        *OTHERS,
    ],
)
def test_a_failure_is_what_its_words_say_whatever_its_status(status: int, message: str, kind: Kind) -> None:
    assert type(at_openai(status, message)) is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        *((message, Refused) for status, message in FILTERED if status == 400),
        *((message, ContextTooLong) for status, message in TOO_LONG),
        ("The model returned the following errors: Output blocked by content filtering policy", Refused),
        ("This model version is no longer supported.", ModelNotFound),
        ("This model doesn't support the stopSequences field. Remove stopSequences and try again.", BadRequest),
    ],
)
def test_bedrocks_validation_is_what_its_words_say(message: str, kind: Kind) -> None:
    assert type(on_bedrock(400, "ValidationException", message)) is kind


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Too many tokens, please wait before trying again.", RateLimited),  # Bedrock's throttling, through a gateway
        ("This request exceeds the limit of 30000 tokens per minute", RateLimited),
        ("This model's maximum context length is 8192 tokens.", ContextTooLong),
        ("Worker local total request limit reached (33/32)", ServiceFailed),  # …/OmniRoute/pull/8210
    ],
)
def test_a_failure_inside_of_a_reply_is_what_its_words_say(message: str, kind: Kind) -> None:
    assert type(map_error(parse_error_body(message.encode()), ReplyContext("lab/m"))) is kind


@pytest.mark.parametrize("code", ["server_error", "overloaded_error"])
def test_a_service_that_failed_says_so_by_its_code_whatever_the_status(code: str) -> None:
    # github.com/coder/anyclaude/issues/8: an error in an error in an error
    inner = {"type": code, "code": code, "message": "You can retry your request"}
    body = json.dumps({"type": "error", "error": {"type": "error", "error": inner}}).encode()

    assert type(map_error(parse_error_body(body), ReplyContext("lab/m"), status=400)) is ServiceFailed


def test_a_guardrail_that_says_so_in_an_object_is_a_refusal() -> None:
    # apim.docs.wso2.com, "Guardrail Error Response"
    told = {"interveningGuardrail": "PII", "action": "GUARDRAIL_INTERVENED", "direction": "REQUEST"}
    body = json.dumps({"code": "900514", "type": "PII", "message": told}).encode()

    assert type(map_error(parse_error_body(body), ReplyContext("lab/m"), status=446)) is Refused


def test_bedrock_tells_an_account_that_cannot_pay_from_one_without_access() -> None:
    # github.com/Tracer-Cloud/opensre/pull/1811
    unpaid = on_bedrock(
        403,
        "AccessDeniedException",
        "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.",
    )
    unasked = on_bedrock(
        404, "ResourceNotFoundException", "Model use case details have not been submitted for this account."
    )

    assert type(unpaid) is QuotaExhausted
    assert "means of payment" in str(unpaid)
    assert type(unasked) is AuthenticationFailed
    assert "Model access" in str(unasked)


def test_bedrock_says_that_a_model_takes_no_images() -> None:
    message = "This model doesn't support the image content block that you provided."

    assert type(on_bedrock(400, "ValidationException", message, has_images=True)) is UnsupportedInput
    assert type(on_bedrock(400, "ValidationException", message)) is BadRequest
