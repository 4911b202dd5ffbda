"""Models that are gone, or will be, and what their makers serve in their place (as of November 2026).

Sources: the makers' deprecation pages; that a successor is priced is checked against the installed price table.
"""

import re

_SUCCESSORS = (
    (r"claude-(?:3(?:-\d)?-haiku|haiku-4)", "claude-haiku-5-5"),
    (r"claude-(?:3(?:-\d)?-sonnet|sonnet-4)", "claude-sonnet-5-5"),
    (r"claude-(?:3-opus|opus-4)|claude-(?:v1|v2|2|instant)", "claude-opus-5-5"),
    (r"gpt-(?:4o-mini|4\.1-(?:mini|nano)|3\.5|5-nano|5\.\d-nano)|o[134]-mini", "gpt-6-luna"),
    (r"gpt-5(?:\.\d)?(?:-codex)?-mini", "gpt-6.1-terra"),
    (r"gpt-(?:4|5)(?![\d-]*(?:mini|nano))|chatgpt-4o|^o[13](?:-pro|-preview)?(?:-\d{4}-\d\d-\d\d)?$", "gpt-6.1-sol"),
    (r"nova-(?:lite|micro)-v1", "nova-2-lite-v1:0"),
    (r"mixtral-8x(?:7|22)b|mistral-(?:7b|large-24|small-24)", "mistral-large-3-675b-instruct"),
)


_ON_BEDROCK = re.compile(
    r"(?P<region>(?:us|us-gov|eu|apac|jp|au|ca|sa|me|af|global)\.)?(?P<maker>anthropic|openai|amazon|mistral)\."
)


def successor(model: str) -> str | None:
    """Return the id of the model that is served in place of an older one, as its endpoint would name it, or None.

    Args:
        model: The older one's id at its service; on Bedrock with the region of its inference profile and its maker.
    """
    name = next((name for pattern, name in _SUCCESSORS if re.search(pattern, model.lower())), None)
    if name is None or name in model:
        return None
    found = _ON_BEDROCK.match(model)
    if found is None:
        return name
    region, maker = found["region"] or "", found["maker"]
    # On Bedrock, the newer models of the other makers come by an inference profile.
    return f"{'' if maker == 'mistral' else region or 'us.'}{maker}.{name}"
