"""Output of `moa doctor`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from moa._cli.console import out_symbols, say
from moa._policies.profile_store import Lesson
from moa._render.sanitize import safe
from moa._render.symbols import Symbols
from moa._runtime.health import Health, State

_STYLES: dict[State, str] = {
    "ready": "green",
    "no key": "dim",
    "no region": "dim",
    "not running": "dim",
    "missing": "yellow",
    "unreachable": "yellow",
    "unusable": "red",
}


def health_table(healths: Sequence[Health]) -> Table:
    """Return a table of endpoints: their states, and the commands that fix them."""
    signs = out_symbols()
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for health in healths:
        style = _STYLES[health.state]
        detail = Text(safe(health.detail))
        if health.fix:
            detail.append(": ").append(safe(health.fix), style="bold")
        name = Text.assemble((f" {_sign(health.state, signs)} ", style), safe(health.name))
        table.add_row(name, Text(health.state, style=style), detail)
    return table


def lesson_lines(lessons: Sequence[Lesson]) -> tuple[str, ...]:
    """Return what services refuse, a line each: the model, what is left out, since when, in which words."""
    lines = ["", "Left out of requests, as the service refuses it (--forget tries again):"]
    for lesson in lessons:
        since = datetime.fromtimestamp(lesson.learnt_at, UTC).date().isoformat()
        reference = f"{lesson.endpoint.partition(' ')[0]}/{lesson.model}"
        lines.append(f"  {reference}: {lesson.rejection}, since {since}: {lesson.message:.160}")
    return tuple(map(safe, lines))


def _sign(state: State, signs: Symbols) -> str:
    match state:
        case "ready":
            return signs.done
        case "no key" | "no region" | "not running":
            return signs.waiting
    return signs.failed


def say_verdict(source: Path | None, mixture: str, problems: Sequence[str]) -> None:
    """Print where the settings come from, and whether the mixture can run."""
    say(f"settings: {source or 'built in (there is no moa.yaml)'}", style="dim")
    if not problems:
        say(f"The mixture {mixture} can run.", style="green")
        return
    say((f"The mixture {mixture} can't run:", *(f"  {problem}" for problem in problems)), style="red")
