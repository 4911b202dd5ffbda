"""Model references: `endpoint/model-id`."""

import re

ENDPOINT_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
"""What an endpoint may be called."""

REFERENCE = rf"^{ENDPOINT_NAME}/\S(.*\S)?$"
"""A whole reference; the model's id may hold further `/` and `:`."""

_REFERENCE = re.compile(REFERENCE)


def check_reference(text: str) -> str:
    """Return the reference as it is.

    Raises:
        ValueError: It has no endpoint or no model id.
    """
    if not _REFERENCE.match(text):
        raise ValueError(
            f"expected endpoint/model-id, e.g. openai/gpt-6-luna or local/smollm2-135m, got {text!r}"
            + ("" if "/" in text else ": it names no endpoint")
        )
    return text


def is_reference(text: str) -> bool:
    """Return whether a text names an endpoint and a model's id, known or not."""
    return bool(_REFERENCE.match(text))


def split_reference(reference: str) -> tuple[str, str]:
    """Return the endpoint's name and the model's id (everything after the first `/`).

    Raises:
        ValueError: It has no endpoint or no model id.
    """
    endpoint, _, model = check_reference(reference).partition("/")
    return endpoint, model
