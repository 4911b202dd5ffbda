"""Planted verdicts through `moa eval run` say what the same verdicts say as arrays, which `bench.verdict` measures."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.planted import World, plant

from moa._cli.main import main
from moa.evaluation._metrics.evidence import weigh
from moa.evaluation._metrics.verdicts import Verdicts
from tests.support.judge_server import JudgeServer, written

pytestmark = pytest.mark.slow

PROMPTS = 110


class PlantedJudge:
    """A judge whose verdicts are planted, by prompt and order; it prefers an answer to its words in disorder."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        if "third from the sun" in text or "system " not in text:
            first = re.search(r"<Response_A>\n(\w+ \w+)", text)
            known = first is not None and first.group(1) in ("Counted from", "baseline begins")
            return written(body, json.dumps({"verdict": "A" if known else "B"}))
        number = int(text.split("prompt number ")[1].split()[0])
        baseline_first = text.index("baseline begins") < text.index("system ")
        orders = self._verdicts.baseline_first if baseline_first else self._verdicts.system_first
        won = orders[number]
        verdict = "tie" if won == 0.5 else "B" if (won == 1.0) == baseline_first else "A"
        return written(body, json.dumps({"reason": "planted", "verdict": verdict}))


def _text(side: str, length: float) -> str:
    begun = f"{side} begins with some words that are all different from each other and goes on "
    return begun + "w" * max(0, int(length) - len(begun))


@pytest.mark.parametrize("world", [World(truth=4.0), World(truth=-3.0, position=0.4, taste="ratio", doublings=0.3)])
def test_the_command_says_what_the_statistics_say_of_the_same_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.chdir(tmp_path)
    verdicts = plant(replace(world, prompts=PROMPTS), np.random.default_rng(4))
    prompts = [f"prompt number {n} ?" for n in range(PROMPTS)]
    lengths = {"system": verdicts.length, "baseline": verdicts.opponent_length}
    for side, counts in lengths.items():
        rows = [
            {"instruction": prompt, "output": _text(side, count), "generator": side}
            for prompt, count in zip(prompts, counts, strict=True)
        ]
        Path(f"{side}.json").write_text(json.dumps(rows))
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))

    with JudgeServer(PlantedJudge(verdicts)) as server:
        Path("moa.yaml").write_text(f"endpoints:\n  judges: {{kind: openai, base_url: '{server.base_url}'}}\n")
        judge = ("--judge", "pairwise", "--judge-model", "judges/planted")
        with pytest.raises(SystemExit) as ended:
            main(["eval", "run", "prompts.jsonl", "--outputs", "system=system.json", "--baseline", "baseline.json",
                  *judge, "--config", "moa.yaml", "--out", "run"])  # fmt: skip

    told = json.loads(Path("run/summary.json").read_text())["evidence"]
    longer = {side: np.array([float(len(_text(side, n))) for n in counts]) for side, counts in lengths.items()}
    expected = weigh(
        [
            Verdicts(
                won=verdicts.won,
                length=longer["system"],
                opponent_length=longer["baseline"],
                baseline_first=verdicts.baseline_first,
                system_first=verdicts.system_first,
                same=verdicts.same,
            )
        ],
        "equal_length",
    )
    assert ended.value.code in (None, 0)
    assert expected is not None
    assert expected.consistency is not None
    assert told["prompts"] == PROMPTS
    assert told["kept_sides"]["share"] == pytest.approx(expected.consistency.share)
    assert told["kept_sides"]["flips"] == pytest.approx(expected.consistency.flips)
    for name, found in (("raw", expected.raw), ("controlled", expected.controlled)):
        assert told[name]["finding"] == found.finding
        assert told[name]["points"] == pytest.approx(found.gap.value, abs=1e-6)
        assert told[name]["interval"] == pytest.approx([found.gap.interval.low, found.gap.interval.high], abs=1e-6)
    assert told["length"]["ratio"] == pytest.approx(expected.length.ratio)
