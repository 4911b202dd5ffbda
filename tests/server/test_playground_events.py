"""A run as the playground is told of it."""

import json
from typing import Any

import pytest

from moa._engine.stream import RunStream
from moa._server.http.errors import error_response
from moa._server.playground import EventStreamEncoder
from moa.errors import LayerFailed, ServiceFailed
from tests.support.engines import engine_of, mixture_of, scripted


def sent(piece: bytes) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(piece.removeprefix(b"data: "))
    return told


async def told_by(run: RunStream, script: EventStreamEncoder) -> tuple[list[bytes], LayerFailed]:
    """What is told of a run whose layer fails, and its failure."""
    told = []
    try:
        async for event in run:
            told.append(script.event(event))
    except LayerFailed as failed:
        return told, failed
    raise AssertionError("the run did not fail")


@pytest.mark.parametrize("show_details", [True, False])
async def test_a_failed_run_is_told_with_its_books_and_with_services_words_only_where_that_is_safe(
    show_details: bool,
) -> None:
    broken = ServiceFailed("10.0.0.7 answered 500", model="fake/a")
    async with (
        engine_of(scripted({"a": [broken], "agg": "never"})) as engine,
        engine.astream(mixture_of(["a"]), "Hello") as run,
    ):
        script = EventStreamEncoder(run, show_details=show_details)
        told, failed = await told_by(run, script)
        last = sent(script.failure(error_response(failed, show_details=show_details)))

    assert (last["type"], last["error"]["code"]) == ("error", "service_failed")
    assert [call["model"] for call in last["ledger"]["calls"]] == ["fake/a"]
    assert (b"10.0.0.7" in b"".join(told) + json.dumps(last).encode()) is show_details
