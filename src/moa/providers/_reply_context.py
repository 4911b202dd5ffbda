"""What is known of a reply beside its bytes."""

from dataclasses import dataclass

from moa.providers._base import ModelRequest
from moa.providers._redaction import NO_SECRETS, Secrets


@dataclass(frozen=True, slots=True)
class ReplyContext:
    """Whose reply it is, and to what.

    Attributes:
        reference: The model's, for errors.
        request: What was asked, for errors that name a part of it; None if unknown.
        request_id: The service's id of the request, if its headers had one.
        secrets: What errors that quote the service must not show.
    """

    reference: str
    request: ModelRequest | None = None
    request_id: str | None = None
    secrets: Secrets = NO_SECRETS
