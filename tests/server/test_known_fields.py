"""The tables of known fields against the official SDKs' own types, and the rule that they follow."""

from importlib.metadata import version
from typing import Any

import pytest
from scripts.check_clients import sdk_requests, unknown

from moa._server.api.known_fields import CHAT, MESSAGES, RESPONSES, SDK_VERSIONS, Known, Table
from moa._server.api.request_model import split_request
from moa._server.http.errors import RequestError

REQUESTS = [(api, root) for api, (_, roots) in sdk_requests().items() for root in roots]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


@pytest.mark.parametrize(("api", "root"), REQUESTS, ids=lambda value: getattr(value, "__name__", value))
def test_the_tables_know_every_field_and_type_of_the_sdks_requests(api: str, root: type) -> None:
    for package, named in SDK_VERSIONS.items():
        if _numbers(version(package)) > _numbers(named):
            pytest.skip(f"{package} {version(package)} is newer than {named}, which the tables name")
    table, _ = sdk_requests()[api]

    assert unknown(table, root) == []


@pytest.mark.parametrize(
    ("api", "kind", "field"),
    [
        ("Chat Completions", "request", "prompt_cache_options"),
        ("Chat Completions", "part:text", "prompt_cache_breakpoint"),
        ("Responses", "tool:function", "async"),
        ("Responses", "item:function_call", "caller"),
        ("Messages", "block:tool_result", "toolset_name"),
        ("Messages", "thinking", "display"),
    ],
)
def test_a_field_that_is_missing_from_a_table_is_found(api: str, kind: str, field: str) -> None:
    table, roots = sdk_requests()[api]
    known = table[kind]
    assert isinstance(known, Known)
    without = Known(" ".join(known.names - {field}), nested=known.nested)

    found = {name for root in roots for name in unknown({**table, kind: without}, root)}

    assert any(name.startswith(kind) and name.endswith(f".{field}") for name in found)


@pytest.mark.parametrize("table", [CHAT, RESPONSES, MESSAGES])
def test_every_field_has_one_treatment_and_every_nested_kind_is_there(table: Table) -> None:
    for name, known in table.items():
        if isinstance(known, Known):
            sets = (known.honoured, known.passed_on, known.harmless, frozenset(known.refused))
            assert sum(map(len, sets)) == len(known.names), name
            assert known.nested.keys() <= known.honoured, name
            for kind in known.nested.values():
                assert any(other == kind or other.startswith(f"{kind}:") for other in table), (name, kind)


@pytest.mark.parametrize(
    ("table", "body", "param", "says"),
    [
        (CHAT, {"temperture": 1}, "temperture", "did you mean 'temperature'?"),
        (CHAT, {"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages.0.colour", "no client"),
        (CHAT, {"tools": [{"type": "mcp"}]}, "tools.0", "runs at its vendor's servers"),
        (MESSAGES, {"tools": [{"type": "bash_2031", "name": "bash"}]}, "tools.0", "'bash_2031' is not supported"),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": {}, "colour": 1}]}, "tools.0.colour", "no client"),
        (RESPONSES, {"input": [{"type": "computer_call"}]}, "input.0", "own models know it"),
        (RESPONSES, {"input": [{"type": "hologram"}]}, "input.0", "'hologram' is not supported"),
        (
            RESPONSES,
            {"tools": [{"type": "web_search", "external_web_access": True}]},
            "tools.0.external_web_access",
            "Codex",
        ),
        # Left out, it is true at OpenAI: the answer would be another one without the search.
        (RESPONSES, {"tools": [{"type": "web_search"}]}, "tools.0.external_web_access", "runs at OpenAI"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_place_and_what_to_do(
    table: Table, body: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(RequestError) as caught:
        split_request(table, body)

    assert caught.value.param == param
    assert says in caught.value.message


def test_what_is_harmless_is_left_out_at_every_depth_and_what_is_for_the_service_is_passed_on() -> None:
    body = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hi", "annotations": [{"a": 1}]},
                    {"type": "thinking"},
                ],
                "provider_specific_fields": {"a": 1},
            }
        ],
        "tools": [],
        "min_p": 0.1,
        "user": None,
        "metadata": {"a": "b"},
        # Advice on speed and cost, of editors and of OpenRouter's clients: no answer is another one for it.
        "prediction": {"type": "content", "content": "what is there"},
        "cache_control": {"type": "ephemeral"},
    }

    honoured, passed_on = split_request(CHAT, body)

    assert honoured == {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "tools": []}
    assert passed_on == {"min_p": 0.1}
