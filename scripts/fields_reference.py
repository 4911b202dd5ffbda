"""Writes docs/reference/api-fields.md from the server's tables of known fields; a test checks that it is current."""

import json
from collections.abc import Iterator
from pathlib import Path

from moa._server.api.apis import APIS, Api
from moa._server.api.known_fields import DROPPED, SDK_VERSIONS, Refusal

TARGET = Path(__file__).parent.parent / "docs" / "reference" / "api-fields.md"

_HEAD = """\
# Fields of the client APIs

<!-- Written by `python scripts/fields_reference.py` from the code itself: change it there. -->

What `moa serve` does with every field that clients of the three APIs send. A field that can't change the answer here is
taken. What means something to the aggregator's service is passed on to it. What would change the answer is honoured, or
refused with what to do about it. What isn't in these tables no client of the API knows: it is refused as a mistake,
with the nearest known field.

The tables are complete for the request types of the official SDKs {versions}; `scripts/check_clients.py` lists what
newer versions add.
"""


def reference() -> str:
    """Return the whole page."""
    versions = " and ".join(f"`{package}` {version}" for package, version in SDK_VERSIONS.items())
    return "\n".join([_HEAD.format(versions=versions), *(line for api in APIS for line in _table(api))])


def _table(api: Api) -> Iterator[str]:
    yield f"## {api.name}\n"
    yield "| object | honoured | passed on | taken, without effect |\n|---|---|---|---|"
    dropped, refused = [], dict[str, list[str]]()
    for kind, rule in api.fields.items():
        if rule is DROPPED:
            dropped.append(kind)
        elif isinstance(rule, Refusal):
            refused.setdefault(rule.why, []).append(f"`{kind}`")
        else:
            cells = (_names(sorted(names)) for names in (rule.honoured, rule.passed_on, rule.harmless))
            yield f"| {kind} | {' | '.join(cells)} |"
            for name, refusal in sorted(rule.refused.items()):
                shown = f"`{name}`" if kind == "request" else f"`{name}` of `{kind}`"
                refused.setdefault(refusal.why, []).append(shown + _except(refusal))
    yield f"\nTaken and shown to no model: {_names(dropped)}.\n"
    yield "| refused | what to do |\n|---|---|"
    for why, what in refused.items():
        yield f"| {', '.join(what)} | {why} |"
    yield ""


def _except(refusal: Refusal) -> str:
    return (
        f" (but not {' or '.join(f'`{json.dumps(value)}`' for value in refusal.harmless)})" if refusal.harmless else ""
    )


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
