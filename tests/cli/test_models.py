"""`moa models`, `moa doctor --ask` and the warnings of models that end, against services on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from moa._cli.handlers.serve import warn_of_lifecycles
from moa._server.launcher import ServeSettings
from tests.cli.moa_command import moa

LONG = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ROWS = [{"id": "gpt-6-luna", "context_window": 400_000}, {"id": "gpt-4o", "shutdown_date": "2020-01-15"}]
NEXT = "a page/with+signs="
BEDROCK = [
    {"modelId": "moonshotai.kimi-k3", "modelLifecycle": {"status": "ACTIVE"}},
    {"modelId": LONG.removeprefix("us."), "modelLifecycle": {"status": "LEGACY"}},
]


async def _models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": ROWS})


async def _chat(request: web.Request, asked: list[Any]) -> web.Response:
    asked.append(await request.json())
    if asked[-1]["model"] == "gpt-4o":
        return web.json_response({"error": {"message": "The model gpt-4o has been shut down."}}, status=404)
    choice = {"index": 0, "message": {"role": "assistant", "content": "OK."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


async def _foundation_models(request: web.Request) -> web.Response:
    return web.json_response({"modelSummaries": BEDROCK})


async def _profiles(request: web.Request) -> web.Response:
    """Two pages, as `ListInferenceProfiles` of botocore's model has them."""
    if "nextToken" not in request.query:
        profiles = [{"inferenceProfileId": "us.moonshotai.kimi-k3"}]
        return web.json_response({"inferenceProfileSummaries": profiles, "nextToken": NEXT})
    assert request.query["nextToken"] == NEXT
    return web.json_response({"inferenceProfileSummaries": [{"inferenceProfileId": LONG}]})


@contextmanager
def _service(asked: list[Any]) -> Iterator[str]:
    """A service in a thread of its own: the command brings its own event loop."""
    address: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/v1/models", _models)
        app.router.add_post("/v1/chat/completions", partial(_chat, asked=asked))
        app.router.add_get("/foundation-models", _foundation_models)
        app.router.add_get("/inference-profiles", _profiles)
        runner, stop = web.AppRunner(app), asyncio.Event()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address.set_result((f"http://127.0.0.1:{runner.addresses[0][1]}", asyncio.get_running_loop(), stop))
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    url, loop, stop = address.result(timeout=30)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the service was asked; the working folder has the settings of its endpoints, and a mixture."""
    found: list[Any] = []
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with _service(found) as url:
        endpoints = {
            "lab": {"kind": "openai", "base_url": f"{url}/v1", "price_provider": "openai"},
            "paris": {"kind": "bedrock", "endpoint_url": url, "region": "eu-west-3"},
        }
        (tmp_path / "given.yaml").write_text(json.dumps({"endpoints": endpoints}))
        monkeypatch.setenv("MOA_CONFIG", "given.yaml")
        for name, model in (("good", "gpt-6-luna"), ("gone", "gpt-4o")):
            document = {"name": name, "layers": [], "aggregator": {"model": f"lab/{model}"}}
            (tmp_path / f"{name}.yaml").write_text(json.dumps(document))
        yield found


@pytest.mark.usefixtures("asked")
def test_models_lists_prices_windows_and_lifecycles_with_every_id_on_one_line() -> None:
    lab, paris = moa("models", "lab"), moa("models", "paris")
    rows = [line.split() for line in lab.out.splitlines()]

    assert ["lab/gpt-6-luna", "400,000"] in [[row[0], row[-1]] for row in rows]
    assert ["retired", "since", "2020-01-15"] in rows
    assert any(line.startswith(f"paris/{LONG} ") for line in paris.out.splitlines())


@pytest.mark.usefixtures("asked")
def test_models_prices_a_bedrock_endpoint_of_another_name_like_bedrock() -> None:
    rows = {row["model"]: row for row in json.loads(moa("models", "paris", "--json").out)["models"]}

    assert rows["paris/us.moonshotai.kimi-k3"]["input_usd"] > 0
    assert rows[f"paris/{LONG}"]["status"] == "legacy"


@pytest.mark.usefixtures("asked")
def test_models_of_an_unknown_endpoint_or_of_one_without_a_list_fail() -> None:
    assert moa("models", "nowhere").code == 2
    assert moa("models", "groq").code == 1


def test_doctor_asks_each_model_once_after_it_has_said_what_that_costs_at_most(asked: list[Any]) -> None:
    ended = moa("doctor", "-m", "good.yaml", "--ask")
    told = " ".join(ended.err.split())

    assert ended.code == 0, ended.err
    assert "asking 1 model, once each: at most 64 output tokens and 30 s each, at most $0.00" in told
    assert [(one["model"], len(one["messages"])) for one in asked] == [("gpt-6-luna", 1)]
    assert "cost: $0.0" in told


def test_doctor_exits_with_1_and_the_successor_where_a_model_is_gone(asked: list[Any]) -> None:
    ended = moa("doctor", "-m", "gone.yaml", "--ask")
    told = " ".join((ended.out + ended.err).split())

    assert ended.code == 1
    assert "lab/gpt-4o: retired since 2020-01-15" in told
    assert "a later model is gpt-6.1-sol" in told
    assert len(asked) == 1


@pytest.mark.usefixtures("asked")
def test_serve_warns_of_a_model_that_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    serving = ServeSettings(mixtures=("good.yaml", "gone.yaml"), config=Path("given.yaml"))

    with caplog.at_level("WARNING", logger="moa.server.start"):
        warn_of_lifecycles(serving)

    assert [record.getMessage() for record in caplog.records] == [
        "model lifecycle: lab/gpt-4o: retired since 2020-01-15"
    ]


@pytest.mark.usefixtures("asked")
def test_an_endpoint_that_could_not_be_asked_is_asked_again_once_its_key_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoints = json.loads((tmp_path / "given.yaml").read_text())["endpoints"]
    lab = endpoints["lab"] | {"api_key_env": "LAB_KEY"}
    (tmp_path / "given.yaml").write_text(json.dumps({"endpoints": {"lab": lab}}))
    monkeypatch.delenv("LAB_KEY", raising=False)
    without = moa("models", "lab")
    monkeypatch.setenv("LAB_KEY", "k")

    assert (without.code, "LAB_KEY is not set" in without.err) == (1, True)
    assert moa("models", "lab").code == 0
