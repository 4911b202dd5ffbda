"""The official package judges the same outputs with the same judge: every verdict must be the same."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from moa.api import Engine
from moa.config.settings import Settings
from moa.evaluation.judges.base import Pair, judge_all
from moa.evaluation.judges.loading import load_judge
from moa.evaluation.outputs import Output, read_outputs
from moa.providers.endpoint import Endpoint
from tests.evaluation.conftest import SHARED
from tests.support.judge_server import JudgeServer

PYTHON = os.environ.get("MOA_OFFICIAL_ALPACA_EVAL", "")
"""A Python that can import `alpaca_eval`: it has 49 dependencies, so it is no part of the development environment."""

pytestmark = pytest.mark.skipif(
    not PYTHON, reason="MOA_OFFICIAL_ALPACA_EVAL names no Python that has alpaca_eval with its dependencies"
)


def _real() -> tuple[list[Output], list[Output]]:
    if not SHARED.is_dir():
        pytest.skip("AlpacaEval's reference data (CC BY-NC) is not beside the repository: ../shared/alpaca_eval")
    names = ("gpt4_1106_preview_outputs.json.gz", "aws_moa_outputs.json.gz")
    baseline, system = (read_outputs(SHARED / name) for name in names)
    return list(baseline), list(system)


def _official(server: JudgeServer, folder: Path, sides: tuple[list[Output], list[Output]]) -> dict[str, float | None]:
    paths = (folder / "baseline.json", folder / "system.json")
    for path, outputs in zip(paths, sides, strict=True):
        path.write_text(json.dumps([output.as_dict() for output in outputs]))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OPENAI_API_BASE": server.base_url,
        "OPENAI_API_KEYS": "none",
        "OPENAI_API_KEY": "none",
        "OPENAI_MAX_CONCURRENCY": "4",
    }
    script = Path(__file__).with_name("official.py")
    done = subprocess.run(
        [PYTHON, str(script), *map(str, paths)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts: dict[str, float | None] = json.loads(done.stdout)
    return verdicts


async def test_every_verdict_is_the_official_packages_on_the_same_outputs_and_judge(tmp_path: Path) -> None:
    baseline, system = _real()
    system[3] = Output(instruction=system[3].instruction, output=baseline[3].output, generator="same")
    pairs = [
        Pair(
            instruction=ours.instruction,
            output_1=theirs.output,
            output_2=ours.output,
            generator_1=theirs.generator,
            generator_2=ours.generator,
            index=index,
        )
        for index, (theirs, ours) in enumerate(zip(baseline, system, strict=True))
    ]
    with JudgeServer() as server:
        expected = _official(server, tmp_path, (baseline, system))
        asked_by_them = len(server.asked)
        endpoint = Endpoint(name="openai", kind="openai", base_url=server.base_url)
        async with Engine(settings=Settings(endpoints={"openai": endpoint})) as engine:
            verdicts = await judge_all(load_judge("alpaca_eval_gpt4_turbo"), pairs, engine, concurrency=16)
        ours = server.asked[asked_by_them:]
    got = {pair.instruction: verdict.preference for pair, verdict in zip(pairs, verdicts, strict=True)}

    assert len(expected) == 805
    assert {key: value for key, value in got.items() if value != expected[key]} == {}
    assert got[system[3].instruction] == 1.5
    assert sum(value is None for value in expected.values()) > 5
    missing = sum(verdict.failure is not None for verdict in verdicts)
    assert len(ours) == asked_by_them + missing, "only verdicts that were missing are asked for again"
