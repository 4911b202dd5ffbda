"""List the fields and types of the official SDKs' requests that the server's tables don't know.

Run it after an upgrade of `openai` or `anthropic`: what newer versions added has to be sorted into
`src/moa/_server/api/known_fields.py` as honoured, passed on, harmless or refused.

    $ python scripts/check_clients.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any, Literal, NotRequired, Required, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from moa._server.api.known_fields import CHAT, DROPPED, MESSAGES, RESPONSES, SDK_VERSIONS, Known, Table, rule_for


def sdk_requests() -> dict[str, tuple[Table, list[type]]]:
    """Return the tables with the SDKs' types of requests."""
    from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams as BetaCount
    from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessages
    from anthropic.types.message_count_tokens_params import MessageCountTokensParams as Count
    from anthropic.types.message_create_params import MessageCreateParamsBase as Messages
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
    from openai.types.responses.response_create_params import ResponseCreateParamsBase as Responses

    return {
        "Chat Completions": (CHAT, [Chat]),
        "Responses": (RESPONSES, [Responses]),
        "Messages": (MESSAGES, [Messages, BetaMessages, Count, BetaCount]),
    }


def unknown(table: Table, root: type) -> list[str]:
    """Return what a type of requests has that a table doesn't know: `KIND.FIELD` or `KIND:TYPE`, sorted."""
    return sorted(set(_unknown(table, "request", root, set())))


def _unknown(table: Table, kind: str, shape: type, seen: set[tuple[str, type]]) -> Iterator[str]:
    if (kind, shape) in seen:
        return
    seen.add((kind, shape))
    hints = get_type_hints(shape)
    discriminator = "role" if kind == "message" else "type"
    for value in _literals(hints.get(discriminator)) or (None,):
        name = kind if value is None else f"{kind}:{value}"
        known = rule_for(table, kind, {discriminator: value})
        if known is None:
            yield name
        elif isinstance(known, Known) and known is not DROPPED:
            yield from (f"{name}.{field}" for field in hints if field not in known.names)
            for field, nested in known.nested.items():
                for inner in _shapes(hints.get(field)):
                    yield from _unknown(table, nested, inner, seen)


def _literals(hint: Any) -> tuple[str, ...]:
    while get_origin(hint) in (Required, NotRequired, Annotated):
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(value for part in get_args(hint) for value in _literals(part))


def _shapes(hint: Any) -> Iterator[type]:
    """The dictionaries that a type may hold, at any depth of unions and lists."""
    if is_typeddict(hint):
        yield hint
    else:
        for part in get_args(hint):
            yield from _shapes(part)


def main() -> int:
    """Print what is unknown; return 1 if anything is."""
    for package, known in SDK_VERSIONS.items():
        print(f"{package} {version(package)} (the tables name {known})")
    found = [
        f"{api}: {name}"
        for api, (table, roots) in sdk_requests().items()
        for root in roots
        for name in unknown(table, root)
    ]
    print("\n".join(dict.fromkeys(found)) or "the tables know everything")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
