"""What a model's server is known to reject, and how a request is written so that it doesn't."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from moa.providers._openai_compatible.error_body import ErrorBody

RENAMES = {"max_tokens": "max_completion_tokens"}
"""Another name of a parameter: OpenAI's reasoning models know only the second, most other servers only the first."""

DROPPABLE = frozenset({"stream_options", "seed", "temperature", "top_p", "top_k", "logprobs", "top_logprobs"})
"""What a request can do without. Tools, stop texts and the response format are not here: without them the reply would
be another one than what was asked for."""

_REJECTED_STATUS = frozenset({400, 422, 501})
_REJECTING = re.compile(
    r"unsupported|n[o']t (?:\w+ )?support|unrecogni[sz]ed|unknown|unexpected|not permitted|extra_forbidden|extra inputs"
    r"|not allowed|cannot find field|not a valid (?:field|param)|not available|deprecated",
    re.IGNORECASE,
)
_PARAMETER = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(DROPPABLE.union(*RENAMES.items())))})(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How requests for one model are written: parameters to leave out, and others to call by another name."""

    dropped: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request's fields in this dialect."""
        kept = {name: value for name, value in body.items() if name not in self.dropped}
        return {self.renamed.get(name, name): value for name, value in kept.items()}

    def without(self, parameter: str) -> Self | None:
        """Return the dialect that also avoids a rejected parameter, None if there is no way (left) to avoid it."""
        if parameter in RENAMES and parameter not in self.renamed:
            return replace(self, renamed={**self.renamed, parameter: RENAMES[parameter]})
        if parameter in DROPPABLE - self.dropped:
            together = {"logprobs", "top_logprobs"} if parameter == "logprobs" else {parameter}
            return replace(self, dropped=self.dropped | together)
        return None


def rejected_parameter(status: int, complaint: ErrorBody, sent: Collection[str]) -> str | None:
    """Return the parameter that a server's error turns down, None if it is about something else.

    Args:
        status: HTTP status of the error.
        complaint: What the error says.
        sent: Names of the fields that we put into the request; those that the user added are never taken away.
    """
    if status not in _REJECTED_STATUS or not _REJECTING.search(f"{complaint.code} {complaint.message}"):
        return None
    # Some servers go on to list the parameters that they do take, so only the first one that is named counts.
    named = complaint.parameter if _PARAMETER.fullmatch(complaint.parameter) else None
    if named is None and (found := _PARAMETER.search(complaint.message)):
        named = found.group()
    return named if named in sent else None
