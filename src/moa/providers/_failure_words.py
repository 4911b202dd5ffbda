"""What a service's failure means by its words, where neither status nor code tells: each service has its own for it.

As for refused parts, nothing here is a list of sentences: a pattern joins a thing (the prompt, the account's money, a
filter, the model) to what happened to it.
"""

import re

from moa.errors import (
    AuthenticationFailed,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    QuotaExhausted,
    Refused,
    UnsupportedInput,
)

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
    r"|too many (?:input )?tokens|exceed_context_size|exceeds the maximum allowed length"
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
    r"|guardrail_(?:violat|interven|block)\w*"
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
    r"|余额|欠费|充值|无可用资源包",
    re.IGNORECASE,
)
NO_MODEL = re.compile(
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
    r"|(?:support|not a).{0,40}(?:image|vision|multi-?modal)",
    re.IGNORECASE,
)

_NOT_A_FILTERS = frozenset({401, 402, 404, 429})
_OF_MONEY = frozenset({400, 401, 402, 403, 412, 422, 429})
_OF_MODELS = frozenset({400, 410, 422})
_OF_IMAGES = frozenset({400, 404, 415, 422, 500, 501})
_NOT_OF_LENGTH = frozenset({401, 402, 403, 404, 429})


def failure_by_words(text: str, status: int | None, *, has_images: bool) -> type[ProviderError] | None:
    """Return the kind of failure that a service's words tell of; None if they tell of none that is known here.

    Args:
        text: Code and sentence.
        status: HTTP status; None for an error that came inside of a good reply.
        has_images: Whether the request has images, so that the failure may be about them.
    """
    if status not in _NOT_OF_LENGTH and _TOO_LONG.search(text) and not _OUTPUT.search(text):
        return ContextTooLong
    if (status is None or status in _OF_MONEY) and _NO_MONEY.search(text):
        return QuotaExhausted
    if (status is None or (status < 500 and status not in _NOT_A_FILTERS)) and _FILTERED.search(text):
        return AuthenticationFailed if _OF_THE_ACCOUNT.search(text) else Refused
    if has_images and status in _OF_IMAGES and _NO_IMAGES.search(text):
        return UnsupportedInput
    if status in _OF_MODELS and NO_MODEL.search(text):
        return ModelNotFound
    return None
