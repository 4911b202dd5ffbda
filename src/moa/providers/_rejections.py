"""What a service's refusal names: the part of the request that it doesn't take, in neutral words.

Services word the same refusal in hundreds of ways, so nothing here is a list of their sentences. What counts is the
`param` or path that the error carries, else the name of a part that we really sent, wherever it stands in the
sentence; and whether the sentence turns the part itself down or only its value ("must be between 0 and 2").
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moa._messages import Message
from moa.errors import Rejection
from moa.providers._base import ModelRequest
from moa.providers._cache_marks import tool_mark
from moa.providers._reshaping import HINTS

# In the order in which a text is searched: a name that contains another one comes first.
_NAMES = {
    "stream_options": r"stream[_ -]?options|include_usage",
    "parallel_tool_calls": r"(?:disable[_ -])?parallel[_ -]?tool[_ -]?(?:calls?|use)|parallel function calling",
    "tool_choice": r"tool[_ -]?choice",
    "tool_call_id": r"tool[_ -]?(?:call|use)[_ -]?id|call_id",
    "reasoning_effort": (
        r"(?:max)?reasoning[_ .-]?effort|thinking[_ -]?budget|output[_ -]?config\.?effort|reasoning[_ -]?config"
    ),
    "reasoning_content": r"reasoning_content|reasoning_details",
    "response_format": (
        r"response[_ -]?(?:format|schema|mime[_ -]?type)|json[_ -]?(?:schema|mode|object)|structured[_ -]?outputs?"
        r"|output[_ -]?(?:config\.?)?(?:text)?format|guided[_ -]?json"
    ),
    "system": (
        r"(?:system|developer)[_ -]?(?:messages?|prompts?|roles?|instructions?)"
        r"|roles?\W{1,3}(?:system|developer)\b|(?:system|developer)\W{0,2} (?:role|message)"
    ),
    "max_tokens": r"max(?:imum)?[_ -]?(?:completion[_ -]?|output[_ -]?|new[_ -]?)?tokens",
    "temperature": r"temperature",
    "top_p": r"top[_ -]?p",
    "top_k": r"top[_ -]?k",
    "logprobs": r"(?:top[_ -]?)?log[_ -]?prob(?:s|abilit(?:y|ies))",
    "seed": r"(?:random[_ -]?)?seed",
    "stop": r"stop[_ -]?(?:sequences?|words?|strings?)",
    "stream": r"streaming|streamed|stream[ _-]mode",
    "tools": r"tool[_ -]?(?:use|calls?|calling|config(?!\.toolchoice)|specs?)|function[_ -](?:call(?:s|ing)|tools)",
}
"""Names that stand for a part of a request wherever they occur."""

_WORDS = {
    "stop": "stop",
    "stream": "stream",
    "tools": "tools?|functions?",
    "system": "system|developer",
    "name": "name",
    "strict": "strict",
    "reasoning_effort": "reasoning|effort|thinking",
}
"""Names that are ordinary words too: they count only where they are marked as a name."""

_MARK = r"['\"`‘’“”„«»「」『』\[\]()]"
_AS_NAME = (
    rf"(?:{_MARK}(?:\w+[.])*(?:{{word}}){_MARK}"
    r"|(?:parameter|field|property|argument|attribute|key|option|input|loc|name)s?\W{{1,3}}(?:{word})(?!\w)"
    r"|(?<!\w)(?:{word}) (?:parameter|field|property|argument|attribute|key|option)"
    r"|(?<!\w)(?:support|accept|allow|take)s? (?:the )?(?:{word})(?!\w)"
    r"|(?<!\w)(?:have|contain|include|send|pass)s? (?:the |an? )?(?:{word})(?! ?\w)"
    r"|(?:permitted|allowed|supported|supplied|passed)\W{{1,3}}(?:{word})(?= ?(?:$|[,.;)]))"
    r"|(?<!\w)(?:{word})(?= (?:is|are|was) (?:not|un)| (?:may|must) not | cannot | extra (?:inputs|fields) )"
    r"|use (?:{word})(?= with)|with (?:{word})(?=$|[,.;])"
    # The word for parameter or field, in languages that put no space, or another word, beside the name.
    r"|(?:参数|字段|引数|パラメータ|フィールド|매개변수|param[eè]tre|par[aá]metro|feld|champ|campo)\W{{0,3}}(?:{word})(?![a-z])"
    r"|(?<![a-z])(?:{word})\W{{0,2}}(?:参数|字段|引数|パラメータ|フィールド|매개변수)"
    r"|(?:^|[:,;.] ?|\n)(?:body\.)?(?:{word})(?=: ))"
)
_PLACES = frozenset(
    {
        *("body", "request", "input", "typed-dict", "inferenceconfig", "generationconfig", "generation_config"),
        *("options", "parameters", "params", "config", "additionalmodelrequestfields", "extra_body"),
    }
)
"""Steps of a path that name a container, not a part."""

_STRICTLY_A_PART = re.compile(
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra(?:neous)?|additional)"
    r"[\s_-]+(?:request[\s_-]+)?(?:keyword[\s_-]+)?(?:parameter|param|argument|field|property|properties|name|key|input)"
    r"|extra_forbidden|not permitted|cannot find field|deprecated|no longer|property\W.{1,40} is unsupported"
    r"|(?:does not|do not|doesn.t|don.t|cannot|can.t) (?:currently )?(?:support|accept|allow|take) (?:the )?"
    r"(?:\S+ ){0,2}(?:parameter|field|argument|option)|unsupported_parameter|unknown_parameter|\bunset\b",
    re.IGNORECASE,
)
_ONE_VALUE = re.compile(
    r"\bonly (?:the |a )?(?:values? (?:of )?)?(?:default|\(?\d+(?:\.\d+)?\)?(?! ?(?:and|to|or|-|–|,)))"
    r"|default \(?[\d.]+\)? value"
    r"|(?:set to|must be|should be|has to be|must equal|(?<!or )equal to|fixed (?:at|to)) (?:exactly )?(?:the )?"
    r"(?:default|1(?:\.0*)?(?![\d.]| ?(?:and|to|or|-|–|,)))",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"between|\brange\b|[<>]=?|≤|≥|(?:less|greater|smaller|larger|more|lower|higher|longer|shorter) (?:than|or equal)"
    r"|at (?:most|least)|maximum|minimum|\bmax\b|\bmin\b|\babove\b|\bbelow\b|exceed|one of"
    r"|too (?:large|small|high|low|long|short|many|big)"
    r"|\b(?:supported|allowed|valid|permitted|accepted) (?:values?|options?)|expected .{0,40}(?:got|but)|non-?negative"
    r"|positive|(?:must|should) be (?:an?|either|in)\b|valid (?:integer|number|float|string|boolean)|not of type"
    r"|范围|取值|介于|大于|小于|最大|最小|超过|不能超|範囲|以上|以下|범위|\bzwischen\b|höchstens|mindestens"
    r"|\bentre\b|\bcompris|\bcomprendido|\bsupérieur|\binférieur|mayor que|menor que",
    re.IGNORECASE,
)
_TURNED_DOWN = re.compile(
    r"unsupported|n[o']t (?:\w+ ){0,2}support|n’t support|unrecogni[sz]ed|unknown|unexpected|forbid|not (?:be )?allow"
    r"|disallow|not available|unavailable|n.t (?:\w+ )?accept|not\b.{0,40}accept|reject|cannot be|can.t be|may not"
    r"|must not|should not|(?:in|not )compatible|conflict|not implement|not enabled|disabled|remove|not appl"
    r"|mutually|both|only (?:\w+ ){0,3}(?:roles?|support|allow|with|when|if)|not (?:a )?(?:valid|known)|not work"
    r"|needs? to be|without|raise_exception|jinja|template|no such|invalid",
    re.IGNORECASE,
)
_TOGETHER = re.compile(
    r"\bboth\b|together|combin|simultaneous|same time|only one|\beither\b|mutually|compatible|conflict|alongside"
    r"|\bwhen\b|\bwhile\b|\bif\b|unless|during|in streaming|\bwith(?! (?:this|the|that|your|our|its)\b)",
    re.IGNORECASE,
)

_TURNS = (
    # OpenAI's models think by themselves unless they are told not to, and some then take no tools.
    (("default_effort",), re.compile(r"reasoning[_ .]?effort to \W?none\b", re.I)),
    (("tool_turns",), re.compile(r"without \W?tools\W|tool(?:s|config)\b.{0,20} must be (?:defined|provided)", re.I)),
    # What a service hung on its own calls is missing: another model made them, or a client has lost it.
    (("thought_signature",), re.compile(r"missing an? \W?thought[_ ]?signature", re.I)),
    (
        ("thoughts_of_calls",),
        re.compile(r"reasoning[_ ]content\b.{0,80}\b(?:missing|passed back|required)", re.I | re.S),
    ),
    # A template that knows no system role says this of a system turn too.
    (("alternation", "system"), re.compile(r"alternat(?:e\b|ing)|consecutive|same role", re.I)),
    (("user_after_tool",), re.compile(r"role\W{1,3}user\W{1,3} after role\W{1,3}tool", re.I)),
    (
        ("whole",),
        re.compile(
            r"only supports? stream|stream(?:ing)?\b.{0,20}\brequired|enable the stream|stream\W{0,2}(?:true|false)\b"
            r"|non-?stream|without stream",
            re.I,
        ),
    ),
    (
        ("prefill",),
        re.compile(
            r"prefill|final assistant|(?:end|finish)(?:s|ed)? with an? (?:user|tool)"
            r"|(?:last|final) (?:message|role|turn|entry)\b.{0,90}\b(?:user|assistant)"
            r"|add_generation_prompt|continue_final_message",
            re.I | re.S,
        ),
    ),
    (
        ("system",),
        re.compile(
            r"only .{0,12}user.{0,12}(?:assistant|model).{0,12}roles?|(?:message|input).{0,30}'user'.{0,80}'system'",
            re.I | re.S,
        ),
    ),
    (
        ("tool_call_id",),
        re.compile(r"(?:tool[_ ]?(?:call|use)[_ ]?id|call_id)\b.{0,120}(?:must|length|match|pattern)", re.I),
    ),
    (
        ("content_parts",),
        re.compile(r"sequence, expected a string|untagged enum \w*content|valid string|must be a string", re.I),
    ),
    (("null_content",), re.compile(r"content\b.{0,60}(?:\bnull\b|\bnone\b|nil\b|valid string|must be a string)", re.I)),
)
"""Complaints about the turns of a conversation, by what they speak of."""

_PATH = re.compile(r"(?<![\w.])(?:body\.)?(?:messages|tools|input)[.\[][\w.\[\]-]+|(?<=loc['\"]: )[\[(][^\])]*[\])]")
_CACHING = re.compile(r"prompt[\s_-]?cach(?!e[_-](?:key|retention|options))|cache[\s_-]?(?:points?|control)", re.I)
_OF_TURNS = frozenset(
    {
        *("whole", "alternation", "user_after_tool", "prefill", "null_content"),
        *("thought_signature", "thoughts_of_calls", "tool_turns", "default_effort", "content_parts"),
    }
)
_STATUS = frozenset({400, 403, 404, 405, 406, 415, 422, 500, 501})
_ACCESS = re.compile(
    r"\bkey\b|token(?!s)|credential|permission|permitted to|access|authori[sz]|denied|billing|credit|quota|\bplan\b"
    r"|subscri|verif|countr|region|signature",
    re.IGNORECASE,
)
"""What an error with status 403 is mostly about; some gateways say so too of a field that they don't let through."""
DROPPED_FIRST = (
    *("stream_options", "user", "prompt_cache_key", "name", "strict", "reasoning_content", "parallel_tool_calls"),
    *("seed", "top_k", "top_p", "logprobs", "temperature", "stream", "reasoning_effort", "max_tokens"),
    *("response_format", "tool_choice", "tools"),
)
"""Of two parts that don't go together, the one that stands first here is the lesser loss."""


def rejections(
    *, status: int | None, code: str, parameter: str, message: str, request: ModelRequest
) -> tuple[Rejection, ...]:
    """Return which parts of a request an error turns down, the likeliest first; empty if it is about something else.

    Args:
        status: HTTP status; None for an error that came inside a good reply.
        code: The service's own code and type.
        parameter: The path or name that the error says is at fault, e.g. `messages.0.role`; empty if it names none.
        message: The sentence.
        request: What was sent: only its own parts can be turned down.
    """
    sent = parts_of(request)
    if "cache_points" in sent and _CACHING.search(f"{parameter} {message}"):
        # Bedrock says so with status 403 too.
        words = f"{parameter} {message}".lower()
        fewer = [part for part, word in (("cache_ttl", "ttl"), ("tool_cache_points", "tools")) if word in words]
        return tuple(map(Rejection, (*(part for part in fewer if part in sent), "cache_points")))
    if status is not None and status not in _STATUS:
        return ()
    if status == 403 and _ACCESS.search(message):
        return ()
    text = f"{code} {message}"
    turns = tuple(Rejection(part) for parts, words in _TURNS if words.search(text) for part in parts if part in sent)
    if turns:
        return turns
    named = list(_named(parameter, message, sent))
    if named and not _is_about_the_value(named[0], text, request):
        first, *others = dict.fromkeys(named)
        other = next(iter(others), None)
        if other is not None and _TOGETHER.search(message):
            ranked = sorted((first, other), key=_rank)
            return (Rejection(ranked[0], beside=ranked[1]), *map(Rejection, (first, *others)))
        return (Rejection(first), *map(Rejection, others))
    return ()


def _rank(part: str) -> int:
    return DROPPED_FIRST.index(part) if part in DROPPED_FIRST else 0


def _named(parameter: str, message: str, sent: frozenset[str]) -> Iterator[str]:
    """The parts of the request that an error names: its path first, then those in the sentence, in their order."""
    # Validators put the path into the sentence, some of them as a list: ('body', 'messages', 0, 'name').
    for path in (parameter, *(match.group() for match in _PATH.finditer(message))):
        if (part := _of_path(path, sent)) is not None:
            yield part
    found = []
    taken: list[tuple[int, int]] = []
    patterns = [(part, pattern) for part, pattern in _NAMES.items()]
    patterns += [(part, _AS_NAME.format(word=word)) for part, word in _WORDS.items()]
    own = sent - _NAMES.keys() - _WORDS.keys() - _OF_TURNS
    patterns[:0] = [(part, _spelling(part)) for part in sorted(own, key=len, reverse=True)]
    for part, pattern in patterns:
        for match in re.finditer(rf"(?<![A-Za-z0-9_])(?:{pattern})(?![A-Za-z0-9])", message, re.IGNORECASE):
            if all(match.end() <= start or match.start() >= end for start, end in taken):
                taken.append(match.span())
                found.append((match.start(), part))
    yield from (part for _, part in sorted(found) if part in sent)


def _spelling(part: str) -> str:
    """A pattern for a field that is in no list: in snake or camel case; one plain word counts only as a name."""
    words = part.split("_")
    if len(words) == 1:
        return _AS_NAME.format(word=re.escape(part))
    spelled = "[_ -]?".join(map(re.escape, words))
    # Gemini calls both of its penalties by one word.
    return rf"{spelled}|(?<![A-Za-z_] )penalty" if words[-1] == "penalty" else spelled


def _of_path(path: str, sent: frozenset[str]) -> str | None:
    steps = [step for step in re.split(r"[^\w-]+", path) if step and not step.isdigit()]
    steps = [step for step in steps if step.lower() not in _PLACES]
    if not steps:
        return None
    if steps[0] in ("messages", "message", "input", "contents"):
        last = "tool_call_id" if steps[-1] == "id" and "tool_calls" in steps else steps[-1]
        part = {"role": "system", "reasoning": "reasoning_content", "refusal": "reasoning_content"}.get(last, last)
        return part if part in sent and part in ("system", "name", "reasoning_content", "tool_call_id") else None
    if steps[0] in ("tools", "toolConfig") and steps[-1] == "strict" and "strict" in sent:
        return "strict"
    for part, pattern in (*_NAMES.items(), *_WORDS.items()):
        if part in sent and re.fullmatch(pattern, steps[0], re.IGNORECASE):
            return part
    return next((part for part in sent if part.replace("_", "").lower() == steps[0].replace("_", "").lower()), None)


def _is_about_the_value(part: str, text: str, request: ModelRequest) -> bool:
    """Whether an error only turns down the value that a part had, so that another value would do."""
    if part in HINTS or part in ("name", "tool_call_id"):
        return False  # whatever is wrong with it, it can be left out or written in another way
    if part == "response_format" and request.options.format_is_optional:
        return False  # a wish: the service may have other formats, but not this one
    if _STRICTLY_A_PART.search(text) or _ONE_VALUE.search(text):
        return False
    if _VALUE.search(text):
        return True
    if _TURNED_DOWN.search(text) and not re.search(r"\binvalid\b", text, re.IGNORECASE):
        return False
    # The sentence says neither: a value that no service could take is the user's mistake.
    return not _is_plausible(part, request)


def _is_plausible(part: str, request: ModelRequest) -> bool:
    value = getattr(request.sampling, part, None)
    bounds = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "top_k": (0, 100_000), "max_tokens": (1, 1_000_000)}
    if part in bounds and value is not None:
        low, high = bounds[part]
        return bool(low <= value <= high)
    return part != "stop" and (part != "reasoning_effort" or value in ("low", "medium", "high"))


def parts_of(request: ModelRequest) -> frozenset[str]:
    """Return the neutral names of everything in a request that a service may turn down."""
    sampling, options = request.sampling, request.options
    parts = set(sampling.extra)
    for name in ("temperature", "top_p", "top_k", "max_tokens", "seed", "reasoning_effort"):
        if getattr(sampling, name) is not None:
            parts.add(name)
    if sampling.stop:
        parts.add("stop")
    if options.tools:
        parts |= {"tools"} if sampling.reasoning_effort == "none" else {"tools", "default_effort"}
        if any(isinstance(tool.get("function"), dict) and "strict" in tool["function"] for tool in options.tools):
            parts.add("strict")
        parts |= _parts_of_marks(options.tools)
    elif any(message.tool_calls for message in request.messages):
        parts.add("tool_turns")
    if options.tool_choice is not None:
        parts.add("tool_choice")
    if options.response_format is not None:
        parts.add("response_format")
    if options.top_logprobs is not None:
        parts.add("logprobs")
    parts |= {"stream", "stream_options"} if request.deltas else {"whole"}
    return frozenset(parts.union(_parts_of_turns(request.messages)))


def _parts_of_marks(tools: Iterable[Mapping[str, Any]]) -> set[str]:
    marks = [mark for tool in tools if (mark := tool_mark(tool)) is not None]
    ttl = {"cache_ttl"} if any(mark.get("ttl") for mark in marks) else set()
    return {"cache_points", "tool_cache_points", *ttl} if marks else set()


def _parts_of_turns(messages: tuple[Message, ...]) -> Iterator[str]:
    if messages and messages[-1].role == "assistant":
        yield "prefill"
    before = None
    for message in messages:
        if message.role == "system":
            yield "system"
        if message.role == before != "tool":
            yield "alternation"
        yield from _parts_of_turn(message)
        if message.role == "user" and before == "tool":
            yield "user_after_tool"
        before = message.role


def _parts_of_turn(message: Message) -> Iterator[str]:
    if not isinstance(message.content, str) and not message.images:
        yield "content_parts"
    if message.cache_points:
        yield from ("cache_points", "cache_ttl") if message.cache_ttl else ("cache_points",)
    if message.name is not None:
        yield "name"
    if message.state is not None or any(call.state is not None for call in message.tool_calls):
        yield "reasoning_content"
    if message.tool_calls:
        yield from ("tool_call_id", "null_content", "thought_signature", "thoughts_of_calls")
