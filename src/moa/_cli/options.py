"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MIXTURE = "local"

MixtureOption = Annotated[
    str | None,
    typer.Option(
        "--mixture",
        "-m",
        metavar="NAME|FILE|MODEL",
        help=f"Preset, mixture file or model; default: that of moa.yaml, else {DEFAULT_MIXTURE}.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="ENDPOINT/MODEL", help="Ask a single model instead of a mixture."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a value of the mixture: layers.0.proposers.1.temperature=0.9."
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="System message.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="Seed, for models that support one.")
]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", min=0.001, metavar="SECONDS", help="Time limit of a run.")
]
BudgetOption = Annotated[
    float | None, typer.Option("--budget", min=0.000001, metavar="USD", help="Budget of a run, in US dollars.")
]


class TierName(StrEnum):
    """Service tiers."""

    flex = "flex"
    standard = "standard"
    priority = "priority"


TierOption = Annotated[
    TierName | None,
    typer.Option(
        "--tier", help="Service tier of all calls: flex is cheaper and slower, priority faster and more expensive."
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file; default: moa.yaml.")
]
