"""Handler of `moa ask`."""

import sys
from collections.abc import Sequence

from moa._cli.commands.ask import AskOptions
from moa._cli.console import AnswerWriter, print_json, show_cancelled, show_totals, write_answer
from moa._cli.exit_codes import COMPLETE, DEGRADED, INTERRUPTED
from moa._cli.image_files import image_from_file
from moa._cli.mixture_option import mixture_of
from moa._cli.prompt_input import read_prompt
from moa._cli.session import Cancelled, RunSession
from moa._ledger import ErrorInfo
from moa._render.errors import failure_dict, unfinished_dict
from moa._results import Answer
from moa.errors import MoaError


def run_ask(words: Sequence[str], given: AskOptions) -> int:
    """Ask, show, and return the exit code.

    Raises:
        MoaError: There is no answer; under `--json` the object that says so is printed already.
    """
    as_json, stream = given["as_json"], not given["no_stream"]
    try:
        answer = _answer(words, given, stream=stream and not as_json)
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
    return DEGRADED if given["strict"] and answer.status == "degraded" else COMPLETE


def _answer(words: Sequence[str], given: AskOptions, *, stream: bool) -> Answer:
    mixture = mixture_of(given)
    images = tuple(image_from_file(path) for path in given["image"] or ())
    prompt = read_prompt(words, sys.stdin)
    with RunSession(given["config"]) as runs:
        return runs.run(
            mixture,
            prompt,
            writer=AnswerWriter(sys.stdout) if stream else None,
            system=given["system"],
            images=images,
            seed=given["seed"],
            deadline_s=given["deadline"],
            trace=given["trace"],
            budget_usd=given["budget"],
        )
