"""A run directory read back: every system with its outputs, books and annotations, and how it was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moa._mixture.loading import load
from moa.errors import EvaluationDataError
from moa.evaluation._analysis.summary import Collected, Evaluated
from moa.evaluation._data.annotations import read_annotations
from moa.evaluation._data.datasets import ALPACA_EVAL
from moa.evaluation._data.outputs import read_outputs
from moa.evaluation._data.reference_data import BASELINE
from moa.evaluation._judges.self_preference import conflicts
from moa.evaluation._runner.preparing import BASELINE_FILE
from moa.evaluation._runner.records import Record
from moa.evaluation._runner.run_directory import RunDirectory
from moa.evaluation._statistics.non_inferiority import MARGIN


def collect(folder: RunDirectory) -> Collected:
    """Return what an evaluation has left in its folder so far.

    Args:
        folder: Its run directory.

    Raises:
        EvaluationDataError: It is no run directory, nothing has been answered yet, or a file can't be read.
    """
    manifest = folder.manifest()
    protocol, session = manifest["protocol"], (manifest.get("sessions") or [{}])[-1]
    told = protocol["systems"]
    judge = protocol.get("judge") or {}
    third = judge.get("reference")
    systems = tuple(_system(folder, one) for one in (*told, *([third] if third else ())))
    if not systems[0].outputs:
        raise EvaluationDataError("nothing has been answered yet: run the evaluation first", path=folder.path)
    return Collected(
        systems=systems,
        opponent=judge.get("against"),
        judge=judge.get("name"),
        comparable=bool(judge.get("comparable")),
        warnings=(
            *conflicts(judge.get("models", ()), {one["name"]: _models(one) for one in told}),
            *_head_to_head(protocol["prompts"]["source"], judge),
        ),
        how=_how(protocol, session),
        settlement=folder.settlement(),
        planned=int(protocol["prompts"]["count"]),
    )


def _head_to_head(prompts: str, judge: Mapping[str, Any]) -> tuple[str, ...]:
    against = judge.get("against")
    if prompts != ALPACA_EVAL or against in (None, BASELINE) or judge.get("reference"):
        return ()
    return (
        f"Judged head-to-head against {against}: AlpacaEval's difficulties were measured against {BASELINE} and do not "
        f"fit. With that system's outputs ({BASELINE_FILE} in --data-dir, or --reference FILE) both sides are judged "
        "against it and compared prompt by prompt.",
    )


def margin_of(folder: RunDirectory) -> float:
    """Return the margin of the last session, in percentage points."""
    sessions = folder.manifest().get("sessions") or [{}]
    return float(sessions[-1].get("margin", MARGIN))


def data_dir_of(folder: RunDirectory) -> Path | None:
    """Return where the last session had AlpacaEval's files, if not from the hub and if they are still there."""
    sessions = folder.manifest().get("sessions") or [{}]
    told = sessions[-1].get("data_dir")
    return Path(told) if told and Path(told).is_dir() else None


def _system(folder: RunDirectory, told: Mapping[str, Any]) -> Evaluated:
    name, records = told["name"], folder.records(told["name"])
    path = folder.annotations(name)
    rows = _rows(path)
    return Evaluated(
        name=name,
        role=told["role"],
        records=records,
        outputs=_outputs(folder.outputs(name), records),
        is_precomputed=told.get("outputs") is not None,
        rows=rows,
        annotations=read_annotations(path) if rows else (),
    )


def _outputs(path: Path, records: Mapping[int, Record]) -> dict[int, Any]:
    """The outputs by index: the file has one for each record, in the order of the prompts."""
    if not records or not path.exists():
        return {}
    outputs = read_outputs(path)
    if len(outputs) != len(records):
        raise EvaluationDataError(f"has {len(outputs)} outputs for {len(records)} records: resume the run", path=path)
    return dict(zip(sorted(records), outputs, strict=True))


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    if not path.exists():
        return ()
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationDataError(f"can't be read: {error}", path=path) from error
    return rows if isinstance(rows, list) else ()


def _models(told: Mapping[str, Any]) -> tuple[str, ...]:
    """References of a system's models; of a file all that is known is its name."""
    return (told["name"],) if told.get("mixture") is None else tuple(load(told["mixture"]).references)


def _how(protocol: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    prompts, judge = protocol["prompts"], protocol.get("judge")
    told: dict[str, Any] = {
        "Prompts": f"{prompts['count']} of {prompts['source']}, SHA-256 {prompts['sha256'][:16]}…",
        "Judge": "none"
        if judge is None
        else f"{judge['name']} asking {', '.join(judge['models'])}, against {judge['against']}",
        "Seed": str(protocol["seed"]),
        "Load": f"{session.get('concurrency')} at once; all systems interleaved in random order",
    }
    topics = {
        "Begun": "started",
        "Python": "python",
        "Platform": "platform",
        "Versions": "versions",
        "Endpoints": "endpoints",
        "Prices": "prices",
    }
    told |= {topic: session[key] for topic, key in topics.items() if session.get(key)}
    return told | {"Systems": [{key: one[key] for key in ("name", "role", "mixture")} for one in protocol["systems"]]}
