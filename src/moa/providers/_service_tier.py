"""The service tier that a call was served in, as the services' replies name it."""

_USUAL = frozenset({"", "default", "standard", "auto", "standard_only", "on_demand"})
"""The services' names for their usual tier. Sources: the API references of OpenAI, Anthropic, Groq and AWS."""


def dearer_tier(tier: object) -> str | None:
    """Return a tier that may cost more than the usual one, for the worst case of a call; None for any other."""
    return "priority" if tier == "priority" else None


def tier_of(value: object) -> str | None:
    """Return the tier that a reply names, in the service's word; None for the usual one, or if it names none."""
    name = value.get("type") if isinstance(value, dict) else value
    if not isinstance(name, str) or name.lower() in _USUAL:
        return None
    return name.lower()
