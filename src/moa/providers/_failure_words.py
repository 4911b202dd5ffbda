"""What a service's failure means by its words, where neither status nor code tells: each service has its own for it.

As for refused parts, nothing here is a list of sentences: a pattern joins a thing (the prompt, the account's money, a
filter, the model) to what happened to it.
"""

import re
from collections.abc import Mapping

from moa.errors import (
    AuthenticationFailed,
    BadRequest,
    BrokenReply,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Refused,
    ServiceFailed,
    UnsupportedInput,
)

_MODELS_OWN = re.compile(
    r"failed_generation|tool_use_failed|json_validate_failed|malformed_function_call|unexpected_tool_call", re.I
)
"""The model wrote something that its service can't read, told as if the request were wrong: it may do better."""

_LARGER_THAN_THE_RATE = re.compile(r"request too large for", re.IGNORECASE)
"""One request has more tokens than a minute allows: waiting doesn't make it smaller."""

_BUSY = re.compile(
    r"\b(?:tokens|requests|queries)[ _-]per[ _-](?:sec|min)|concurrent requests|\bthrottl|wait before trying"
    r"|request_limit_exceeded|#token-limit",
    re.IGNORECASE,
)
"""Limits that are open again in a moment, whatever a service calls them: some say that their quota is insufficient."""

_TOO_LONG = re.compile(
    r"context.?(?:length|size|window|limit).{0,40}(?:exceed|overflow)|(?:exceed|overflow)\w*.{0,60}context"
    r"|context .{0,12}overflow|maximum context (?:length|size|window|limit)|(?:max_model_len|\bn_ctx)\b"
    r"|longer than (?:the )?(?:model's|maximum)|(?:greater|larger) than the context"
    r"|\b(?:prompt|input|request|conversation|messages)\b[^.;]{0,40}\btoo (?:long|large)\b"
    r"|maximum (?:prompt|input) length|expected maxlength|range of input length"
    r"|\b(?:inputs?|prompt)[`'\s_-]{1,3}(?:length|size|tokens?(?: count)?)\b.{0,60}"
    r"(?:exceed|must (?:be|have)|only supports|too (?:long|large|many))"
    r"|\binputs?\W+must have less|(?:model|input|prompt)s? token limit|\btokens? limit exceed"
    r"|(?:context|input) (?:length|window) is only|reduce the length of the (?:messages|prompt)"
    r"|too many (?:input |total )?tokens|exceed_context_size|exceeds (?:the maximum allowed|max) length"
    r"|\btotal (?:number of )?tokens\b.{0,30}\bexceed|reduce (?:your|the) prompt"
    r"|messages?\[\d+\]\.content\W.{0,10}string too long"
    r"|prompt contains .{0,40}tokens.{0,40}too large"
    r"|(?:prompt|输入|上下文|长度)\W{0,2}.{0,12}(?:超长|过长|超出|超过)|(?:超出|超过).{0,12}上下文",
    re.IGNORECASE,
)
_OUTPUT = re.compile(r"\bmax[_ -]?(?:completion[_ -]?|output[_ -]?|new[_ -]?)?tokens\W.{0,20}(?:too large|> ?\d)", re.I)
"""The reply that is asked for is too long, not the prompt."""

_FILTERED = re.compile(
    r"content[_ ]filter|content[_ ]policy|content management policy|responsibleaipolicy|moderation|\bflagged\b"
    r"|data_inspection_failed|content (?:exists )?risk|\bsafety (?:system|filter|polic)|safety_check"
    r"|(?:block|reject|filter)\w*.{0,40}\bsafety"
    r"|prohibited_content|considered high risk|inappropriate content"
    r"|sensitive (?:content|word|information)|new_sensitive"
    r"|guardrails?\b.{0,40}(?:block|interven|violat|reject|trigger)|(?:block|reject|violat)\w*.{0,40}guardrail"
    r"|guardrail_(?:violat|interven|block)\w*|\b(?:prompt|response|input|output) (?:was )?blocked"
    r"|\b(?:content|prompt|input|request|messages?|response|output)\b.{0,60}\bviolat|敏感|违规|不安全",
    re.IGNORECASE,
)
_OF_THE_ACCOUNT = re.compile(
    r"\b(?:account|organi[sz]ation|project|user|key)\b.{0,40}\b(?:flagged|suspended|disabled|banned|deactivated)", re.I
)
"""Nobody read the prompt: the account itself is out."""

_NO_MONEY = re.compile(
    # Not "exceeded your current quota": Gemini says so of its limits per minute too.
    r"insufficient[_ ](?:quota|balance|credits?|funds)|billing[_ ](?:hard[_ ]limit|not[_ ]active)|payment[_ ]required"
    r"|\b(?:credits?|balance|funds)\b[^.]{0,40}"
    r"\b(?:insufficient|exhaust|deplet|too low|run out|used up|not enough|exceed)"
    r"|\b(?:any|available|included|out of|ran out|no|not enough|insufficient|purchase(?: more)?)\b[^.]{0,20}"
    r"\b(?:credits?|funds)\b|credit limit exceeded"
    r"|(?:spend(?:ing)?|monthly)[_ ](?:limit|cap|budget)|budget[_ ](?:has been )?exceeded|key limit exceeded"
    r"|(?:reached|exceeded|hit) .{0,40}\busage limits?\b|\barrear|payment[_ ](?:instrument|method)|past.due|unpaid"
    r"|usage limit (?:has been )?reached|subscription quota|daily (?:free )?allocation|exhausted (?:their|your) quota"
    r"|余额|欠费|充值|无可用资源包",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_(?:not_found|not_exists?|decommissioned|deprecated|retired)"
    r"|(?:no such|invalid|unsupported) model(?! \w*param)"
    r"|not a valid model|model identifier is invalid"
    r"|model.{0,200}(?:not found|(?:does(?:n't| not)|not) exist|not available|unknown)"
    r"|\bmodels?\b(?: version)?[\s:]*(?:[`'\"“]?[\w./:@-]+[`'\"”]?\s+)?(?:is|was|has been|has)\s+(?:now\s+|been\s+)?"
    r"(?:not supported|unsupported|deprecated|decommissioned|retired|discontinued|shut ?down|sunset|removed|no longer"
    r"|reached)"
    r"|模型.{0,10}(?:不存在|下线|不支持)",
    re.IGNORECASE,
)
_NO_IMAGES = re.compile(
    r"(?:image|vision|multi-?modal|mmproj).{0,60}(?:support|only|not a|missing|required)"
    r"|(?:support|not a).{0,40}(?:image|vision|multi-?modal)|unknown variant \W?image|at most 0 image"
    r"|sequence, expected a string|untagged enum \w*content",
    re.IGNORECASE,
)

_RATE = re.compile(r"rate.?limit|too many requests|resource_exhausted", re.IGNORECASE)
_KEY = re.compile(
    r"\bapi[ _]?key\b.{0,12}(?:not valid|invalid|expired)|authentication[ _](?:fail|error)|api_key_invalid"
    r"|(?:invalid|incorrect|expired|missing)\b.{0,20}\b(?:api[ _-]?key|authorization|access token|server token)"
    r"|location is not supported"
    r"|(?:not (?:available|supported) in|unsupported)[ _](?:your |this )?(?:country|countries|regions?)\b",
    re.IGNORECASE,
)
_AUTH = re.compile(r"invalid_api_key|authentication|unauthorized|permission_(?:denied|error)", re.IGNORECASE)
_FAILED = re.compile(r"overloaded|\b(?:server|internal)_error\b|internal_server_error|service_unavailable")
_OVERLOAD = re.compile(r"overloaded|server_error|internal|unavailable|timeout", re.IGNORECASE)
_INVALID = re.compile(r"invalid_request|bad_?request|invalid_argument|invalid_parameter|unsupported_", re.IGNORECASE)

_INSIDE: frozenset[int | None] = frozenset({None})
"""The status of an error that came inside of a good reply."""
_ANY = _INSIDE | frozenset(range(300, 600))
_LOOSE = _INSIDE | {400, 403, 422}
"""Statuses with which services say all kinds of things."""

_TABLE: tuple[tuple[re.Pattern[str], type[ProviderError], frozenset[int | None]], ...] = (
    (_MODELS_OWN, BrokenReply, _ANY),
    (_LARGER_THAN_THE_RATE, ContextTooLong, _ANY),
    (_BUSY, RateLimited, _LOOSE | {429}),
    (_TOO_LONG, ContextTooLong, _ANY - {401, 402, 403, 404, 429}),
    (_NO_MONEY, QuotaExhausted, _LOOSE | {401, 402, 412, 429}),
    (_OF_THE_ACCOUNT, AuthenticationFailed, _LOOSE),
    (_FILTERED, Refused, _ANY - {401, 402, 404, 429, *range(500, 600)}),
    (_NO_IMAGES, UnsupportedInput, frozenset({400, 404, 415, 422, 500, 501})),
    (_RATE, RateLimited, _LOOSE),
    (_KEY, AuthenticationFailed, _LOOSE | {500}),
    (_AUTH, AuthenticationFailed, _INSIDE),
    (_NO_MODEL, ModelNotFound, _INSIDE | {400, 410, 422}),
    (_FAILED, ServiceFailed, _LOOSE),
    (_OVERLOAD, ServiceFailed, _INSIDE),
    (_INVALID, BadRequest, _INSIDE),
)
"""Words, what they mean, and with which statuses they do; the first that fit count."""

_BY_STATUS: Mapping[int | None, type[ProviderError]] = {
    None: ServiceFailed,
    401: AuthenticationFailed,
    402: QuotaExhausted,
    403: AuthenticationFailed,
    404: ModelNotFound,
    408: ServiceFailed,
    409: ServiceFailed,
    410: ModelNotFound,
    413: ContextTooLong,
    424: ServiceFailed,
    425: ServiceFailed,
    429: RateLimited,
    498: RateLimited,
    499: ServiceFailed,  # what is behind a gateway hung up
    501: BadRequest,  # not implemented: asking again is of no use
}


def kind_by_words(text: str, status: int | None, *, has_images: bool) -> type[ProviderError] | None:
    """Return the kind of failure that a service's words tell of; None if they tell of none that is known here.

    Args:
        text: Code and sentence.
        status: HTTP status; None for an error that came inside of a good reply.
        has_images: Whether the request has images, so that the failure may be about them.
    """
    for words, kind, statuses in _TABLE:
        if status not in statuses or (kind is UnsupportedInput and not has_images):
            continue
        if words.search(text) and not (words is _TOO_LONG and _OUTPUT.search(text)):
            return kind
    return None


def kind_by_status(status: int | None) -> type[ProviderError]:
    """Return the kind of failure that an HTTP status tells of, whatever the words; None as for `kind_by_words`."""
    return _BY_STATUS.get(status) or (ServiceFailed if status is not None and status >= 500 else BadRequest)
