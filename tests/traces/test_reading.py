"""Traces that can't be used, each told in one clear sentence."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moa._config.settings import Settings
from moa._runtime.engine import Engine
from moa._traces.reading import read_trace
from moa.errors import TraceError
from tests.support.engines import mixture_of, scripted


@pytest.fixture
async def trace(tmp_path: Path) -> Path:
    provider = scripted({"a": "one", "agg": "done"})
    async with Engine(settings=Settings(endpoints={}), providers={"fake": provider}) as engine:
        await engine.arun(mixture_of(["a"]), "hi", trace=tmp_path / "t.jsonl")
    return tmp_path / "t.jsonl"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "this is not a trace"),
        (b"my notes\n", "this is not a trace"),
        (b"\xff\xfe\x00", "this is not a trace"),
        (b"[" * 100_000, "this is not a trace"),
        (b'{"moa_cache": 1}\n', "this is not a trace"),
        (b'{"type": "trace", "version": 99}\n', "version 99, this program reads 1"),
        (b'{"type": "trace", "version": 1}\n', "damaged"),
    ],
)
def test_a_foreign_file_is_one_clear_error(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(TraceError, match=says) as caught:
        read_trace(tmp_path / "x")

    assert str(tmp_path / "x") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(TraceError, match="can't be read"):
            read_trace(path)


async def test_a_trace_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    provider = scripted({"agg": "done"})
    async with Engine(settings=Settings(endpoints={}), providers={"fake": provider}) as engine:
        with pytest.raises(TraceError, match="can't be written"):
            await engine.arun(mixture_of(), "hi", trace=tmp_path)

    assert provider.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
async def test_a_run_outlives_a_trace_that_cannot_be_written_on(caplog: pytest.LogCaptureFixture) -> None:
    async with Engine(settings=Settings(endpoints={}), providers={"fake": scripted({"agg": "done"})}) as engine:
        answer = await engine.arun(mixture_of(), "hi", trace="/dev/full")

    assert answer.text == "done"
    assert "breaks off" in caplog.text


def test_a_changed_trace_is_told(trace: Path) -> None:
    trace.write_bytes(trace.read_bytes().replace(b'"one"', b'"ONE"', 1))

    with pytest.raises(TraceError, match="was changed after it was written"):
        read_trace(trace)


def test_a_line_behind_the_end_is_told(trace: Path) -> None:
    with trace.open("a") as file:
        file.write('{"type": "event", "at_s": 1, "event": {}}\n')

    with pytest.raises(TraceError, match="a line follows the end"):
        read_trace(trace)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_line_with_any_value_replaced_is_a_clear_error_or_still_a_trace(trace: Path, data: st.DataObject) -> None:
    lines = trace.read_bytes().splitlines(keepends=True)[:-1]
    at = data.draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[at])
    name = data.draw(st.sampled_from(sorted(value)))
    value[name] = data.draw(st.sampled_from([None, 7, "text", [], {}, [1], {"a": None}, float("nan")]))
    damaged = trace.with_name("damaged.jsonl")
    damaged.write_bytes(b"".join([*lines[:at], json.dumps(value).encode() + b"\n", *lines[at + 1 :]]))

    with suppress(TraceError):
        read_trace(damaged)
