"""Judges by batch jobs: answers at once, verdicts at half the price, and nothing twice."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa.errors import UsageError
from moa.evaluation._pipeline import aevaluate
from moa.evaluation._runner.cost_estimate import Plan, plan
from moa.evaluation._runner.preparing import prepare
from moa.providers import Endpoint
from tests.cli.moa_command import moa
from tests.support.batch_server import BatchServer
from tests.support.evaluations import PROMPTS, VERDICT, judged, models, rows, trio
from tests.support.half_price import RAPID, settings, settings_file
from tests.support.kills import killed_and_finished


async def evaluate(out: Path, configured: Settings, **options: Any) -> Any:
    given = judged(judge_model="lab/judge", judge_checks=False, seed=0, half_price=True, **options)
    return await aevaluate(
        PROMPTS, trio(), out=out, settings=configured, providers={"fake": models()}, concurrency=2, **given
    )


async def test_verdicts_are_a_batch_and_answers_are_not(tmp_path: Path) -> None:
    async with BatchServer() as server:
        server.answer = lambda body: (VERDICT, 200)
        result = await evaluate(tmp_path, settings(server, replace(RAPID, quiet_s=0.3)))

    assert result.ended == "complete"
    assert server.asked_at_once == 0
    assert len(server.batches) <= 2
    assert set(server.processed.values()) == {1}
    assert len(rows(tmp_path / "annotations" / "test.json")) == 6
    assert not (tmp_path / "verdicts.jobs").exists()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["protocol"]["judge"]["models"] == ["lab/judge"]


async def test_another_session_collects_the_verdicts_that_an_interrupted_one_has_asked_for(tmp_path: Path) -> None:
    async with BatchServer() as server:
        server.answer, server.polls = lambda body: (VERDICT, 200), 10**6
        configured = settings(server, replace(RAPID, quiet_s=0.3))
        running = asyncio.ensure_future(evaluate(tmp_path, configured))
        await server.until(lambda: bool(server.batches))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.polls = 1
        result = await evaluate(tmp_path, configured)

    assert result.ended == "complete"
    assert set(server.processed.values()) == {1}
    assert len(rows(tmp_path / "annotations" / "test.json")) == 6


async def test_a_judge_without_a_batch_api_is_refused_before_anything_is_bought(tmp_path: Path) -> None:
    async with BatchServer() as server:
        with pytest.raises(UsageError, match="batch: true"):
            await evaluate(tmp_path / "run", settings(server, None))

    assert not (tmp_path / "run").exists()


def outputs_of(folder: Path, pairs: int) -> tuple[str, ...]:
    for name in ("base", "mine"):
        found = [{"instruction": f"q{n}", "output": f"{name} {n}", "generator": name} for n in range(pairs)]
        (folder / f"{name}.json").write_text(json.dumps(found))
    return ("--outputs", "mine.json", "--reference", "base.json", "--out", "verdicts.json")


async def test_a_judge_of_files_is_asked_by_batch_jobs_that_survive_kills(tmp_path: Path) -> None:
    files = outputs_of(tmp_path, 30)
    async with BatchServer() as server:
        server.answer, server.polls = lambda body: (VERDICT, 200), 4
        settings_file(tmp_path, server)
        command = ("eval", "judge", *files, "--judge-model", "lab/judge", "--config", "moa.yaml", "--half-price")
        await killed_and_finished(*command, folder=tmp_path, server=server, chance=random.Random(2), kills=3)

    assert len(rows(tmp_path / "verdicts.json")) == 30
    # Both orders of each pair; one that was asked ahead of the job may have been under way at each kill.
    assert len(server.processed + server.processed_at_once) == 60
    assert set(server.processed.values()) == {1}
    assert [name for name in os.listdir(tmp_path) if name.startswith("verdicts")] == ["verdicts.json"]


async def stopped(folder: Path, server: BatchServer, *command: str) -> str:
    """Start a command, press Ctrl-C once it has a job at the service, and return what it says."""
    server.answer = lambda body: (VERDICT if body["model"] == "judge" else body["model"], 200)
    server.polls = 10**6
    settings_file(folder, server)
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", "from moa._cli.main import main; main()", *command, "--config", "moa.yaml"],
        cwd=folder,
        stderr=subprocess.PIPE,
    )
    asked = server.until(lambda: any(batch["asked"] for batch in server.batches.values()))
    await asyncio.wait_for(asked, 30)
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 130
    return errors.decode()


async def test_a_stopped_judge_of_files_says_how_its_jobs_are_shown_and_ended(tmp_path: Path) -> None:
    files = outputs_of(tmp_path, 3)
    async with BatchServer() as server:
        told = await stopped(tmp_path, server, "eval", "judge", *files, "--judge-model", "lab/judge", "--half-price")

    assert "the same command collects them" in told
    assert "`moa batch -o verdicts.json --status` shows them, and --cancel ends them" in told


async def test_a_stopped_run_says_how_its_jobs_are_shown_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (tmp_path / "mixture.yaml").write_text("layers: []\naggregator: {model: lab/small}")
    files = ("prompts.jsonl", "-m", "mixture.yaml", "--baseline", "lab/large", "--out", "run")
    async with BatchServer() as server:
        told = await stopped(tmp_path, server, "eval", "run", *files, "--judge-model", "lab/judge", "--half-price")
        monkeypatch.chdir(tmp_path)
        shown = await asyncio.to_thread(moa, "batch", "-o", "run/verdicts", "--status", "--config", "moa.yaml")

    assert "the same command with --out run continues" in told
    assert f"`moa batch -o {Path('run', 'verdicts')} --status` shows them, and --cancel ends them" in told
    assert (shown.code, "lab/judge" in shown.out + shown.err) == (0, True)


async def test_a_judge_of_files_without_a_batch_api_is_refused(tmp_path: Path) -> None:
    files = outputs_of(tmp_path, 3)
    (tmp_path / "moa.yaml").write_text("endpoints: {lab: {kind: openai, base_url: 'http://127.0.0.1:1/v1'}}")
    paths = [str(tmp_path / one) if one.endswith(".json") else one for one in files]
    common = ("--judge-model", "lab/judge", "--config", str(tmp_path / "moa.yaml"), "--half-price")
    ended = await asyncio.to_thread(moa, "eval", "judge", *paths, *common)

    assert (ended.code, "set `batch: true` for the endpoint" in ended.err) == (2, True)


async def test_a_plan_has_the_judge_at_the_price_of_its_jobs_or_of_its_tier(tmp_path: Path) -> None:
    async with BatchServer() as server:
        endpoint = settings(server).endpoints["lab"]
        lab = replace(endpoint, price_factor={"batch": Decimal("0.5"), "flex": Decimal("0.25")})
        configured = Settings(endpoints={"lab": lab, "fake": Endpoint(name="fake", kind="scripted")})
        given = judged(judge_model="lab/judge", judge_checks=False, seed=0, settings=configured)

        def planned(**options: Any) -> Plan:
            return plan(prepare(PROMPTS, trio(), providers={"fake": models()}, **given, **options))

        usual, jobs, flex = planned(), planned(half_price=True), planned(tier="flex")

    cost = [next(need for need in one.needs if need.name == "judging").priced_usd for one in (usual, jobs, flex)]
    assert cost[0] > 0
    assert [one / cost[0] for one in cost] == [1, Decimal("0.5"), Decimal("0.25")]
    assert "Batch jobs take minutes to a day, which is not counted." in jobs.assumptions
    assert jobs.minutes < usual.minutes
