"""Options that several commands share, and what they mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer

from moa.errors import UsageError

DEFAULT_MIXTURE = "local"

MixtureOption = Annotated[
    str | None,
    typer.Option("--mixture", "-m", metavar="NAME|FILE", help=f"Preset or mixture file; default: {DEFAULT_MIXTURE}."),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="ENDPOINT/MODEL", help="Ask one model alone, without a mixture."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of the mixture: layers.0.proposers.1.temperature=0.9."
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System message.")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="Makes the run repeatable where models can.")]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", min=0.001, metavar="SECONDS", help="Time for a whole run.")
]
BudgetOption = Annotated[
    float | None, typer.Option("--budget", min=0.000001, metavar="USD", help="US dollars for a whole run.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Endpoints and settings; default: moa.yaml.")
]


def read_prompt(words: Sequence[str], stdin: TextIO) -> str:
    """Return the prompt that words and standard input make; a word `-` stands for all of standard input.

    Neighbouring words are joined by spaces, standard input is set apart by blank lines. Without any word the prompt is
    standard input. Standard input is read only if it is asked for, so that a loop or a daemon around us keeps its own.

    Raises:
        UsageError: Nothing was given and standard input is a terminal, it is no text, or the prompt is blank.
    """
    if not words and stdin.isatty():
        raise UsageError('give a prompt: moa ask "What are 3 fun things to do in San Francisco?"')
    parts: list[str] = []
    joined: list[str] = []
    for word in words or ("-",):
        if word == "-":
            parts += [" ".join(joined), _read(stdin).strip("\n")]
            joined = []
        else:
            joined.append(word)
    prompt = "\n\n".join(part for part in (*parts, " ".join(joined)) if part.strip())
    if not prompt:
        raise UsageError("the prompt is empty: write one")
    if not _is_text(prompt):
        raise UsageError("the prompt is not UTF-8 text")
    return prompt


def _is_text(text: str) -> bool:
    """Whether a text holds no bytes that Python could not read: it lets them through in the command line's words."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(stdin: TextIO) -> str:
    try:
        return stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not {error.encoding} text") from error
