"""A finished evaluation of many systems: how long its plan, its report and one more system take, and in what memory.

Scripted models answer with 300 to 3,000 characters; a judge compares every output with the baseline's in one order, and
a measure scores it. Each step is a process of its own. `plan` and `report` are what `moa eval run --plan` and
`moa eval report` do; `one more` answers, judges and scores a further system. Imports are not counted as seconds.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.report import Row, Table, options, publish
from moa._config.settings import Settings
from moa._mixture.loading import single
from moa.evaluation._pipeline import evaluate
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.cost_estimate import plan_rest
from moa.evaluation._runner.preparing import prepare
from moa.providers._base import ModelRequest
from moa.providers._scripted import ScriptedProvider

WORDS = (
    "the",
    "answer",
    "of",
    "a",
    "model",
    "has",
    "so",
    "many",
    "words",
    "that",
    "are",
    "never",
    "equal",
    "to",
    "any",
)


def _reply(request: ModelRequest) -> str:
    rng = random.Random(f"{request.model}/{request.messages[-1].text}")
    if request.model == "judge":
        return json.dumps({"reason": " ".join(rng.choices(WORDS, k=30)), "verdict": rng.choice("AB")})
    return " ".join(rng.choices(WORDS, k=rng.randint(60, 600)))


def _service() -> ScriptedProvider:
    """A service that keeps no requests, as they would be most of what a fill holds."""

    def reply(request: ModelRequest) -> str:
        service.requests.clear()
        return _reply(request)

    service = ScriptedProvider(reply)
    return service


def _evaluation(systems: int, prompts: int) -> Mapping[str, Any]:
    """The arguments of an evaluation of so many systems, the baseline counted."""
    return {
        "prompts": [{"prompt": f"Prompt {number}: what is this about?"} for number in range(prompts)],
        "mixture": [
            single(f"lab/m{number}").model_copy(update={"name": f"m{number}"}) for number in range(systems - 1)
        ],
        "baseline": "lab/big",
        "judge": "pairwise",
        "judge_model": "lab/judge",
        "judge_orders": "one",
        "judge_checks": False,
        "measures": ["regex:equal"],
        "settings": Settings(endpoints={}),
        "providers": {"lab": _service()},
    }


STEPS: Mapping[str, Callable[[Path, int, int], object]] = {
    "fill": lambda run, systems, prompts: evaluate(out=run, **_evaluation(systems, prompts)),
    "plan": lambda run, systems, prompts: plan_rest(prepare(**_evaluation(systems, prompts)), run),
    "report": lambda run, systems, prompts: write_report(run),
    "one more": lambda run, systems, prompts: evaluate(out=run, **_evaluation(systems + 1, prompts)),
}


def _step(name: str, run: Path, systems: int, prompts: int) -> dict[str, float]:
    """Return what a step takes in a process of its own."""
    command = (sys.executable, "-m", "bench.evaluation", "--step", name, str(run), str(systems), str(prompts))
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(name: str, run: Path, systems: int, prompts: int) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    STEPS[name](run, systems, prompts)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"wall s": wall_s, "CPU s": cpu_s, "peak MB": peak_mb}))


def steps(systems: int, prompts: int) -> list[Row]:
    """Return what each step takes."""
    with tempfile.TemporaryDirectory() as folder:
        taken = {name: _step(name, Path(folder) / "run", systems, prompts) for name in STEPS}
    return [{"step": name, "systems": systems, "prompts": prompts, **found} for name, found in taken.items()]


def main() -> None:
    """Measure and publish."""
    parser = options("evaluation", __doc__)
    parser.add_argument("--systems", type=int, default=20)
    parser.add_argument("--prompts", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--step", nargs=4, metavar=("NAME", "RUN", "SYSTEMS", "PROMPTS"), help="only this, as JSON")
    chosen = parser.parse_args()
    if chosen.step:
        name, run, systems, prompts = chosen.step
        _measured(name, Path(run), int(systems), int(prompts))
        return
    if chosen.quick:
        chosen.systems, chosen.prompts = 3, [20]
    rows = [row for prompts in chosen.prompts for row in steps(chosen.systems, prompts)]
    publish("evaluation", chosen.json, [Table(title="steps of an evaluation", rows=rows)])


if __name__ == "__main__":
    main()
