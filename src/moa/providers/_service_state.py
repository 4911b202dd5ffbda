"""Whom the state belongs to that a service hangs on its messages and tool calls."""

import re
from functools import lru_cache

from moa._messages import ServiceState

__all__ = ["ServiceState", "owner_of"]

_REGION = re.compile(r"^(?:global|regional|apac|us-gov|[a-z]{2})\.(?=[a-z0-9-]+\.)")


@lru_cache(maxsize=1024)
def owner_of(reference: str) -> str:
    """Return the endpoint and the family of a model: state goes to no other.

    The family is the first word of the model's name: `deepseek/deepseek-chat` and `deepseek/deepseek-reasoner` share
    what they write, `openrouter/google/gemini-2.5-pro` and `openrouter/anthropic/claude-opus-4` don't.
    """
    endpoint, _, model = reference.partition("/")
    name = _REGION.sub("", model.lower().rpartition("/")[2])
    family = re.match(r"[a-z]*(?:\.[a-z]+)?", name)
    return f"{endpoint}/{family.group() if family else ''}"
