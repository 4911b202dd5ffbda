"""Running mixtures without holding an engine, as scripts and notebooks do: each test is a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SETTINGS = """
endpoints:
  demo:
    kind: scripted
    options: {replies: {a: "a proposal", agg: ["the ", "answer"], slow: [{pause: 600}, "late"]}}
"""
MIXTURE = '{"name": "m", "layers": [{"proposers": [{"model": "demo/a"}]}], "aggregator": {"model": "demo/agg"}}'


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "moa.yaml"
    path.write_text(SETTINGS)
    return path


def _run(script: str, settings: Path) -> str:
    """What a script prints; a warning, such as a connection that was left open, makes it fail."""
    code = f"import asyncio\nimport moa\nmixture = {MIXTURE}\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "MOA_CONFIG": str(settings)},
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def test_synchronous_code_runs_a_mixture(settings: Path) -> None:
    assert (
        _run("print(moa.run(mixture, 'hi').text, moa.run(mixture, 'ho').status)", settings) == "the answer complete\n"
    )


def test_synchronous_code_runs_a_mixture_inside_of_a_running_loop_too(settings: Path) -> None:
    script = """
        async def cell():
            return moa.run(mixture, "hi").text
        print(asyncio.run(cell()))
    """
    assert _run(script, settings) == "the answer\n"


def test_every_event_loop_gets_an_engine_that_is_closed_with_it(settings: Path) -> None:
    script = """
        from moa._runtime import default_engine as defaults
        async def ask():
            assert await defaults.default_engine() is await defaults.default_engine()
            return (await moa.arun(mixture, "hi")).text
        print(asyncio.run(ask()), asyncio.run(ask()), len(defaults._engines))
    """
    assert _run(script, settings) == "the answer the answer 0\n"


def test_a_stream_of_the_default_engine_ends_with_the_answer(settings: Path) -> None:
    script = """
        async def watch():
            async with moa.astream(mixture, "hi") as events:
                told = [event async for event in events]
            return told[-1].answer.text
        print(asyncio.run(watch()))
    """
    assert _run(script, settings) == "the answer\n"


def test_synchronous_code_iterates_over_the_events_of_a_run(settings: Path) -> None:
    script = """
        with moa.stream(mixture, "hi") as events:
            seen = list(events)
            print(type(seen[0]).__name__, seen[-1].answer.text, len(events.ledger.calls), list(events))
    """
    assert _run(script, settings) == "RunStarted the answer 2 []\n"


def test_leaving_a_synchronous_stream_cancels_the_run(settings: Path) -> None:
    script = """
        mixture["layers"][0]["proposers"][0]["model"] = "demo/slow"
        with moa.stream(mixture, "hi") as events:
            while type(next(events)).__name__ != "CallStarted":
                pass
        print([attempt.status for attempt in events.ledger.attempts])
    """
    assert _run(script, settings) == "['cancelled']\n"


def test_a_synchronous_stream_raises_what_its_run_raises(settings: Path) -> None:
    script = """
        unstarted = moa.stream(mixture, "hi")
        print(unstarted.ledger.calls)
        try:
            next(unstarted)
        except RuntimeError as error:
            print(error)
        try:
            moa.stream(mixture | {"aggregator": {"model": "nowhere/x"}}, "hi").__enter__()
        except moa.MoaError as error:
            print(error.code)
        try:
            with moa.stream(mixture | {"aggregator": {"model": "demo/none"}}, "hi") as events:
                list(events)
        except moa.MoaError as error:
            print(error.code)
    """
    says = "()\nenter the stream first: `with moa.stream(...) as events`\nunknown_endpoint\naggregation_failed\n"
    assert _run(script, settings) == says


def test_a_synchronous_run_inside_of_a_synchronous_run_is_refused_rather_than_waiting_for_itself(
    settings: Path,
) -> None:
    script = """
        from moa._runtime.default_engine import in_background
        async def inside():
            return moa.run(mixture, "hi")
        try:
            in_background(inside())
        except moa.MoaError as error:
            print(error)
    """
    assert "use `await moa.arun(...)`" in _run(script, settings)


def test_an_error_reaches_synchronous_code_as_it_is(settings: Path) -> None:
    script = """
        try:
            moa.run(mixture | {"aggregator": {"model": "nowhere/x"}}, "hi")
        except moa.MoaError as error:
            print(error.code)
    """
    assert _run(script, settings) == "unknown_endpoint\n"
