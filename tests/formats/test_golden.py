"""Files that earlier versions wrote: they stay readable, and what a program reads of a run keeps its shape.

The files in `golden/` are never written again. A new version of a format gets files of its own beside them.
"""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from moa._messages import ImagePart, Message, ReplyOptions, Sampling, message_dict
from moa._policies.cache.import_export import read_entries, write_entries
from moa._policies.cache.key import cache_key, request_digest
from moa._policies.cache.settings import CacheSettings
from moa._policies.cache.store import Store
from moa._render.errors import failure_dict
from moa._traces.event_json import event_dict
from moa._traces.page import trace_page
from moa._traces.reading import read_trace
from moa._traces.trace import Trace
from moa.errors import AuthenticationFailed
from moa.providers import _reply_serialization
from moa.providers._base import ModelRequest
from moa.providers._endpoint import Endpoint
from tests.formats.runs import CONVERSATION, GIVEN, MIXTURE, record

GOLDEN = Path(__file__).parent / "golden"
TRACES = ("answer", "error", "cancelled", "crashed")


def _lines(name: str) -> list[dict[str, Any]]:
    # Not `splitlines`: of a run that crashed, the last line is not whole.
    return [json.loads(line) for line in (GOLDEN / name).read_text().split("\n")[:-1]]


def _trace(ending: str) -> tuple[Trace, list[dict[str, Any]]]:
    return read_trace(GOLDEN / f"trace-{ending}.jsonl"), _lines(f"trace-{ending}.jsonl")


def _holds(now: Any, then: Any) -> bool:
    """Whether everything that was written is there with its value; newer keys may stand beside it."""
    match then:
        case dict():
            return all(name in now and _holds(now[name], value) for name, value in then.items())
        case list():
            return len(now) == len(then) and all(map(_holds, now, then))
    return bool(now == then)


@pytest.mark.parametrize("ending", TRACES)
def test_what_ran_is_read_from_an_old_trace(ending: str) -> None:
    trace, lines = _trace(ending)

    assert lines[0]["mixture"].items() <= trace.mixture.as_dict().items()
    assert trace.mixture.layers == MIXTURE.layers
    assert trace.package == "0.1.0"
    assert trace.recorded_at.year == 2026
    assert trace.unseeded == frozenset()
    assert [message_dict(message) for message in trace.conversation] == lines[0]["messages"]
    assert trace.conversation[:-1] == CONVERSATION[:-1]
    assert trace.conversation[-1].images == tuple(GIVEN["images"])
    options = trace.options
    assert (options.reply, options.sampling) == (GIVEN["options"], GIVEN["sampling"])
    assert (options.seed, options.deadline_s, options.budget_usd) == (7, 60.0, GIVEN["budget_usd"])
    assert (options.proposal_deltas, options.answer_deltas) == (True, True)
    (price,) = trace.endpoints["fake"].prices.values()
    assert (str(price.input), str(price.output), price.cached_input) == ("0.1", "0.2", None)


@pytest.mark.parametrize("ending", TRACES)
def test_every_reply_and_event_of_an_old_trace_is_read_as_it_was_written(ending: str) -> None:
    trace, lines = _trace(ending)

    replies = [(line["at_s"], line["event"]) for line in lines if line["type"] == "reply"]
    read = [
        (at_s, _reply_serialization.event_dict(event)) for call in trace.calls for at_s, event in call.reply
    ]  # by call, not by time

    assert sorted(read, key=repr) == sorted(replies, key=repr)
    assert list(trace.events) == [(line["at_s"], line["event"]) for line in lines if line["type"] == "event"]
    ends = {line["call"]: line for line in lines if line["type"] == "call_ended"}
    for call in trace.calls:
        assert call.outcome == (ends[call.id]["outcome"] if call.id in ends else None)
        written = ends[call.id]["attempts"] if call.id in ends else []
        assert _holds([attempt.as_dict() for attempt in call.attempts], written)
    if ending in ("answer", "error"):
        failed = next(call for call in trace.calls if call.model == "fake/b")
        assert isinstance(failed.error, AuthenticationFailed)
        assert (failed.error.status, failed.error.model) == (401, "fake/b")


@pytest.mark.parametrize("ending", TRACES[:-1])
def test_the_ledger_of_an_old_trace_is_read_as_it_was_written(ending: str) -> None:
    trace, lines = _trace(ending)

    assert trace.outcome is not None
    assert trace.outcome.kind == ending
    assert trace.outcome.result == lines[-1]["result"]
    assert _holds([call.as_dict() for call in trace.ledger.calls], lines[-1]["result"]["calls"])


@pytest.mark.parametrize("ending", TRACES)
def test_an_old_trace_is_shown_as_a_page(ending: str) -> None:
    assert "Are you sure?" in trace_page(_trace(ending)[0])


def test_an_old_file_of_cache_entries_is_imported_and_exported_as_it_was(tmp_path: Path) -> None:
    store = Store(CacheSettings(path=tmp_path / "calls.sqlite"))

    assert read_entries(store, GOLDEN / "cache-export.jsonl") == (5, 5)
    write_entries(store, tmp_path / "again.jsonl")
    store.close()

    assert (tmp_path / "again.jsonl").read_text() == (GOLDEN / "cache-export.jsonl").read_text()


def test_an_old_cache_is_read(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "calls.sqlite", isolation_level=None)
    db.executescript((GOLDEN / "cache-2.sql").read_text())
    db.close()
    store = Store(CacheSettings(path=tmp_path / "calls.sqlite", mode="read"))

    write_entries(store, tmp_path / "held.jsonl")
    store.close()

    assert (tmp_path / "held.jsonl").read_text() == (GOLDEN / "cache-export.jsonl").read_text()


def test_a_call_is_found_under_the_key_it_always_had() -> None:
    endpoint = Endpoint(name="lab", kind="openai", base_url="http://127.0.0.1:9/v1", options={"takes_seed": False})
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content=(ImagePart(data=b"\x89PNG", media_type="image/png", detail="low"),)),
    )
    sampling = Sampling(temperature=1, stop=("END",), seed=7, extra={"min_p": 0.1})
    options = ReplyOptions(tools=({"type": "function"},), tool_choice="auto", top_logprobs=1)
    request = ModelRequest(reference="lab/small", model="small", messages=messages, sampling=sampling, options=options)

    assert cache_key(endpoint, request) == "5b9908db569b722089f920716af6ba36fc7b14aad2f95f921c0996a1ca14f928"
    assert request_digest(request) == "9886ddd5a1c513acc2dbad950707578d4a317a976a046c8e56688bfaae53093b"


def _paths(value: Any, at: str = "") -> set[str]:
    """Every key, with the type of what stands there."""
    match value:
        case dict():
            return {path for name, inner in value.items() for path in _paths(inner, f"{at}.{name}")}
        case list():
            return {path for inner in value for path in _paths(inner, f"{at}[]")} or {f"{at}[]"}
        case int() | float():
            return {f"{at}: number"}
    return {f"{at}: {type(value).__name__}"}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]]]:
    path = tmp_path_factory.mktemp("golden") / "t.jsonl"
    events, _ = record("answer", path)
    return json.loads(json.dumps([event_dict(event) for event in events])), [
        json.loads(line) for line in path.read_text().splitlines()
    ]


def test_events_have_the_shape_that_programs_read(answered: tuple[Any, list[dict[str, Any]]]) -> None:
    for kind in {event["type"] for event in _lines("events.jsonl")}:
        then = {path for event in _lines("events.jsonl") if event["type"] == kind for path in _paths(event)}
        now = {path for event in answered[0] if event["type"] == kind for path in _paths(event)}
        assert then <= now, kind


def test_lines_of_a_trace_have_the_shape_that_programs_read(answered: tuple[Any, list[dict[str, Any]]]) -> None:
    for kind in {line["type"] for line in _lines("trace-answer.jsonl")} - {"event"}:
        then = {path for line in _lines("trace-answer.jsonl") if line["type"] == kind for path in _paths(line)}
        now = {path for line in answered[1] if line["type"] == kind for path in _paths(line)}
        assert then <= now, kind


def test_a_failed_run_has_the_shape_that_programs_read(tmp_path: Path) -> None:
    _, error = record("error", tmp_path / "t.jsonl")

    assert error is not None
    assert _paths(json.loads((GOLDEN / "failure.json").read_text())) <= _paths(failure_dict(error))
