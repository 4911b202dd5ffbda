"""Models that are gone, or will be, and what their makers serve in their place (as of November 2026).

Sources: the makers' deprecation pages; that a successor is priced is checked against the installed price table.
"""

import re

_SUCCESSORS = (
    (r"claude-(?:3(?:-\d)?-haiku|haiku-4)", "claude-haiku-5-5"),
    (r"claude-(?:3(?:-\d)?-sonnet|sonnet-4)", "claude-sonnet-5-5"),
    (r"claude-(?:3-opus|opus-4|v1|v2|2|instant)", "claude-opus-5-5"),
    (r"gpt-(?:4o-mini|4\.1-(?:mini|nano)|3\.5|5(?:\.\d)?-nano|5\.6-luna)|o[134]-mini", "gpt-6-luna"),
    (r"gpt-5(?:\.\d)?(?:-codex)?-mini|gpt-5\.6-terra", "gpt-6.1-terra"),
    (r"gpt-(?:4o?|5)|chatgpt-4o|o[13]", "gpt-6.1-sol"),
    (r"nova-(?:lite|micro)-v1", "nova-2-lite-v1:0"),
    (r"mixtral-8x(?:7|22)b|mistral-7b|mistral-(?:large|small)-24\d\d", "mistral-large-3-675b-instruct"),
    (r"llama3-2-\d+b", "llama4-scout-17b-instruct-v1:0"),
)
"""How the name of an older model begins, its maker left out, and the name of the newer one."""

_REST = (
    r"(?:[-.:@](?:\d+[a-z]?|v\d[\d.]*|audio|batch|beta|chat|codex|flex|free|instruct|latest|max|preview|pro|realtime|"
    r"search|sol|thinking|transcribe|tts|turbo|vision))*"
)
"""What else the makers' own names have. A name with any other word is a model that somebody has made of theirs."""

_MODEL = re.compile(
    r"(?:(?P<owner>anthropic|openai)/)?"
    r"(?:(?P<region>(?:us|us-gov|eu|apac|jp|au|ca|sa|me|af|global)\.)?(?P<maker>anthropic|openai|amazon|mistral|meta)\.)?"
    r"(?P<name>[^/]+)"
)

_ONLY_ON_BEDROCK = ("nova", "mistral", "llama")
"""Of these makers, other services call the newer models otherwise."""


def successor(model: str) -> str | None:
    """Return the id of the model that is served in place of an older one, as its endpoint would name it, or None.

    A model of another owner, or with a name of its own, has none: a fork is retired by the service that hosts it.

    Args:
        model: The older one's id at its service; on Bedrock with the region of its inference profile and its maker, at
            services for many makers with its owner.
    """
    found = _MODEL.fullmatch(model.lower())
    if found is None:
        return None
    older = found["name"]
    name = next((name for begin, name in _SUCCESSORS if re.fullmatch(f"(?:{begin}){_REST}", older)), None)
    if name is None:
        return None
    region, maker = found["region"] or "", found["maker"]
    if maker is None:
        is_elsewhere = name.startswith(_ONLY_ON_BEDROCK)
        return None if is_elsewhere else f"{found['owner']}/{name}" if found["owner"] else name
    # On Bedrock, the newer models of the other makers come by an inference profile.
    return f"{'' if maker == 'mistral' else region or 'us.'}{maker}.{name}"
