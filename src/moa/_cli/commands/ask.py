"""`moa ask`: one prompt, one answer."""

from pathlib import Path
from typing import Annotated, Unpack

import typer

from moa._cli.options import ChatOptions, with_shared_options


class AskOptions(ChatOptions):
    """What `moa ask` takes besides the prompt."""

    image: Annotated[
        list[Path] | None, typer.Option("--image", metavar="FILE", help="PNG, JPEG, GIF or WebP; repeatable.")
    ]
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: answer, proposals, calls, latency and cost.")
    ]
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer once it is complete.")]
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if the answer is degraded.")]
    trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE", help="Record the run in a file; see `moa trace`.")
    ]


@with_shared_options
def ask(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="The prompt; - or none at all reads standard input."),
    ] = None,
    **given: Unpack[AskOptions],
) -> None:
    """Ask a mixture of models and print its answer.

    The answer goes to standard output, everything else to standard error. Examples:

        moa ask "What are 3 fun things to do in San Francisco?"

        git diff | moa ask "Review this change:" -

        moa ask --model ollama/llama3.2 --image chart.png "What does it show?"

    Exit codes: 0 an answer, 1 failed, 2 usage or mixture file, 3 degraded with --strict, 130 cancelled by Ctrl-C.
    """
    # Imported here: they load aiohttp and pydantic, which `moa --help` must not wait for.
    from moa._cli.handlers.ask import run_ask

    raise typer.Exit(run_ask(prompt or (), given))
