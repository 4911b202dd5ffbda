"""What Converse leaves to the maker of a model: whether it takes a system prompt, and fields that only it knows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Fields = dict[str, Any]
"""A part of Converse's request body, to be merged into the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How the models of one maker differ from the common interface.

    Attributes:
        takes_system: Whether the model takes a system prompt.
        top_k: The fields for a number of candidate tokens; None if there are none.
        effort: The fields for a reasoning effort; None if there are none.
        reports_stop_sequence: Whether the model's own reply says which stop text ended it.
    """

    takes_system: bool = True
    top_k: Callable[[int], Fields] | None = None
    effort: Callable[[str], Fields] | None = None
    reports_stop_sequence: bool = False


def family_of(model: str) -> Family:
    """Return the family of a model id, an inference profile's id or an ARN; unknown ones have nothing of their own."""
    return next((family for part, family in _FAMILIES if part in model), _UNKNOWN)


def _own(fields: Fields) -> Fields:
    return {"additionalModelRequestFields": fields}


def _plain_top_k(top_k: int) -> Fields:
    return _own({"top_k": top_k})


def _nova_top_k(top_k: int) -> Fields:
    return _own({"inferenceConfig": {"topK": top_k}})


def _cohere_top_k(top_k: int) -> Fields:
    return _own({"k": top_k})


def _claude_effort(effort: str) -> Fields:
    return {"outputConfig": {"effort": effort}}


def _nova_effort(effort: str) -> Fields:
    if effort == "none":
        return _own({"reasoningConfig": {"type": "disabled"}})
    return _own({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}})


def _gpt_oss_effort(effort: str) -> Fields:
    return _own({"reasoning_effort": effort})


def _gpt_effort(effort: str) -> Fields:
    return _own({"reasoning": {"effort": effort}})


_UNKNOWN = Family()

# The first part that a model id contains decides. Sources: the user guide's table of models and Converse features
# (system prompts), its inference parameters by model (top_k), the service model and the makers' pages (effort).
_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("anthropic.", Family(top_k=_plain_top_k, effort=_claude_effort, reports_stop_sequence=True)),
    ("amazon.nova-2-", Family(top_k=_nova_top_k, effort=_nova_effort)),
    ("amazon.nova-", Family(top_k=_nova_top_k)),
    ("amazon.titan-t", Family(takes_system=False)),
    ("mistral.mistral-7b-instruct", Family(takes_system=False, top_k=_plain_top_k)),
    ("mistral.mixtral-8x7b-instruct", Family(takes_system=False, top_k=_plain_top_k)),
    ("mistral.", Family(top_k=_plain_top_k)),
    ("cohere.command-text", Family(takes_system=False, top_k=_cohere_top_k)),
    ("cohere.command-light-text", Family(takes_system=False, top_k=_cohere_top_k)),
    ("cohere.", Family(top_k=_cohere_top_k)),
    ("ai21.j2-", Family(takes_system=False)),
    ("openai.gpt-oss-", Family(effort=_gpt_oss_effort)),
    ("openai.", Family(effort=_gpt_effort)),
)
