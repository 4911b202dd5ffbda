"""Handler of `moa ask`."""

import sys
from dataclasses import dataclass
from pathlib import Path

from moa._cli.console import AnswerWriter, print_json, show_cancelled, show_totals, write_answer
from moa._cli.exit_codes import COMPLETE, DEGRADED, INTERRUPTED
from moa._cli.image_files import image_from_file
from moa._cli.mixture_option import resolve_mixture
from moa._cli.prompt_input import read_prompt
from moa._cli.session import Cancelled, RunSession
from moa._ledger import ErrorInfo
from moa._mixture.schema import Tier
from moa._render.errors import failure_dict, unfinished_dict
from moa._results import Answer
from moa.errors import MoaError


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """The options of `moa ask`."""

    words: tuple[str, ...]
    mixture: str | None
    model: str | None
    system: str | None
    images: tuple[Path, ...]
    overrides: tuple[str, ...]
    deadline_s: float | None
    budget_usd: float | None
    seed: int | None
    trace: Path | None
    tier: Tier | None
    config: Path | None


def run_ask(options: AskOptions, *, as_json: bool, stream: bool, strict: bool) -> int:
    """Ask, show, and return the exit code.

    Raises:
        MoaError: There is no answer; under `as_json` the object that says so is printed already.
    """
    try:
        answer = _answer(options, stream=stream and not as_json)
    except MoaError as error:
        if as_json:
            print_json(failure_dict(error))
        raise
    except Cancelled as stop:
        if as_json:
            print_json(unfinished_dict(ErrorInfo(code="cancelled", message="cancelled by Ctrl-C"), stop.ledger))
        show_cancelled(stop.ledger)
        return INTERRUPTED
    if as_json:
        print_json(answer.as_dict())
    elif not stream:
        write_answer(answer.text)
    show_totals(answer)
    return DEGRADED if strict and answer.status == "degraded" else COMPLETE


def _answer(options: AskOptions, *, stream: bool) -> Answer:
    mixture = resolve_mixture(
        options.mixture, options.model, options.overrides, config=options.config, tier=options.tier
    )
    images = tuple(image_from_file(path) for path in options.images)
    prompt = read_prompt(options.words, sys.stdin)
    with RunSession(options.config) as runs:
        return runs.run(
            mixture,
            prompt,
            writer=AnswerWriter(sys.stdout) if stream else None,
            system=options.system,
            images=images,
            seed=options.seed,
            deadline_s=options.deadline_s,
            trace=options.trace,
            budget_usd=options.budget_usd,
        )
