"""What `moa eval search` does once its command line is understood."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from moa._cli.console import print_sentences, say
from moa._cli.eval_options import SearchOptions
from moa._cli.exit_codes import COMPLETE, INTERRUPTED, STOPPED
from moa._cli.handlers.eval import check_models, read_options, until_interrupted
from moa._cli.handlers.eval_output import show_judge
from moa.errors import UsageError
from moa.evaluation._search.conclusion import conclude
from moa.evaluation._search.planning import plan_search
from moa.evaluation._search.report import as_dict, write_search
from moa.evaluation._search.search import prepare_search, run_search


def find(prompts: str, models: Sequence[str], given: SearchOptions, **wanted: Any) -> int:
    """Plan a search or carry it out, show what came of it, and return the exit code.

    Args:
        prompts: What to search on.
        models: References of the models to mix.
        given: The options that a search shares with an evaluation.
        **wanted: As for `prepare_search`.

    Raises:
        MoaError: It can't be done.
    """
    out, plan_only, as_json = given["out"], given["plan"], given["as_json"]
    search = prepare_search(prompts, models, read_options(given), **wanted)
    if not given["judge_model"]:
        show_judge(search.spec)
    if plan_only:
        plan = plan_search(search)
        print_sentences(*plan.sentences) if not as_json else print(json.dumps(asdict(plan), indent=2))
        return COMPLETE
    if out is None:
        raise UsageError("give the folder for the results: --out runs/NAME")
    say(plan_search(search).sentences[0])
    asyncio.run(check_models(set(search.spec.models), search.spec.settings))
    found = until_interrupted(partial(run_search, search, out), out)
    if found is None:
        return INTERRUPTED
    conclusion = conclude(found)
    write_search(found, conclusion, out)
    print_sentences(*conclusion.sentences) if not as_json else print(json.dumps(as_dict(found, conclusion), indent=2))
    say(f"report: {out / 'search.html'}")
    if (out / "winner.yaml").exists():
        say(f"serve it: moa serve -m {out / 'winner.yaml'}")
    return STOPPED if found.ended == "budget" else COMPLETE
