"""Options that several commands share: each is declared once, and a command takes them in groups."""

import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_args, get_type_hints

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


class MixtureOptions(TypedDict):
    """What answers a prompt, and how."""

    mixture: MixtureOption
    model: ModelOption
    system: SystemOption
    overrides: SetOption
    seed: SeedOption
    tier: TierOption
    config: ConfigOption


class ChatOptions(MixtureOptions):
    """What each run of a conversation takes; `moa ask` has but one."""

    deadline: DeadlineOption
    budget: BudgetOption


_FIRST = ("mixture", "outputs", "baseline", "measure", "judge", "judge_model", "out")
"""What help lists first: what is most often given."""


def with_shared_options(command: Callable[..., None], **defaults: Any) -> Callable[..., None]:
    """Return a command whose `**given: Unpack[…]` is spelt out, so that Typer sees each option.

    Args:
        command: The command.
        **defaults: What options are by default that are neither off nor unset.
    """
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    (group,) = get_args(signature.parameters["given"].annotation)
    options = get_type_hints(group, include_extras=True)
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=options[name],
            default=defaults.get(name, False if get_args(options[name])[0] is bool else None),
        )
        for name in sorted(options, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    ]

    @wraps(command)
    def expanded(**values: Any) -> None:
        command(**values)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
    expanded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in parameters}
    return expanded
