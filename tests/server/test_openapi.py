"""The OpenAPI description against the server that it describes."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from moa._config.settings import Settings
from moa._runtime.engine import Engine
from moa._server.app import create_app
from moa._server.options import ServerOptions
from moa.providers._scripted import ScriptedProvider
from tests.support.served import DUO, SOLO


def _app() -> Any:
    engine = Engine(settings=Settings(endpoints={}), providers={"lab": ScriptedProvider("Hello")})
    # Requests that are made up take any name of a model: one that everybody finds makes runs of them.
    return create_app(engine, ServerOptions(mixtures=(DUO, SOLO), hosts=(), cors_origins=()))


def _make_possible(body: dict[str, Any]) -> None:
    """Ask for what is there, and leave it some time: 504 is the right answer to a deadline of nothing."""
    if "model" in body:
        body["model"] = "moa/solo"
    for fields in (body, body.get("moa")):
        if isinstance(fields, dict):
            fields.pop("deadline_s", None)


schema = schemathesis.openapi.from_asgi("/openapi.json", _app())


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_made_up_requests_get_what_the_description_says(case: Any) -> None:
    if isinstance(case.body, dict):
        _make_possible(case.body)
    case.call_and_validate(
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            unsupported_method,
        ]
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/runs", "/v1/models"])
def test_every_door_is_described(path: str) -> None:
    assert path in schema.raw_schema["paths"]
