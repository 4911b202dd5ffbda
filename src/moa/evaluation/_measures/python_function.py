"""`python`: a function of the user's own scores the output."""

import asyncio
import hashlib
import importlib.util
import inspect
from pathlib import Path
from typing import Any

from moa._runtime.engine import Engine
from moa.errors import UsageError
from moa.evaluation._measures.base import Case, Measure, Score, failed

TIME_S = 60.0
"""Seconds for one output."""


def python_function(argument: str) -> Measure:
    """Return the measure that is a function: `python:FILE.py:FUNCTION`. The file is run.

    The function is called with the arguments that it names: `output`, `prompt`, `reference`, `row`. It gives a number
    from 0 to 1, a truth value, or a pair of that and a note; it may be a coroutine function, others run in a thread.
    What it raises becomes the score's failure. Another text of the file is another measure.

    Only the person who starts the evaluation can give it; no run directory names code to run.

    Raises:
        UsageError: The file can't be read or run, or has no such function, or that takes arguments nobody has.
    """
    where = f"--measure python:{argument}"
    file, mark, name = argument.rpartition(":")
    path = Path(file).expanduser()
    if not mark or not path.is_file():
        raise UsageError(f"{where}: give a file and a function, e.g. python:score.py:accuracy")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{where}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        raise UsageError(f"{where}: running {path} failed: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{where}: {path} has no function {name}")
    arguments = tuple(inspect.signature(function).parameters)
    unknown = [one for one in arguments if one not in ("output", "prompt", "reference", "row")]
    if unknown:
        raise UsageError(f"{where}: {name} takes {unknown[0]}; known are output, prompt, reference and row")

    async def score(engine: Engine, case: Case) -> Score:
        known = {"output": case.output, "prompt": case.prompt, "reference": case.row.get("reference"), "row": case.row}
        given = {one: known[one] for one in arguments}
        try:
            async with asyncio.timeout(TIME_S):
                if inspect.iscoroutinefunction(function):
                    return _score(await function(**given))
                return _score(await asyncio.to_thread(function, **given))
        except TimeoutError:
            return failed(f"the function took longer than {TIME_S:g} s")
        except Exception as error:  # the user's own code: whatever it raises is a row of the report, and not the end
            return failed(f"the function raised {type(error).__name__}: {error}")

    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return Measure(name=f"python:{path.name}:{name}@{digest}", score=score, needs=())


def _score(found: Any) -> Score:
    value, note = found if isinstance(found, tuple) and len(found) == 2 else (found, "")
    if not (isinstance(value, bool | int | float) and 0 <= value <= 1):
        return failed(f"the function gave {value!r:.100} and not a number from 0 to 1")
    return Score(value=float(value), note=str(note))
