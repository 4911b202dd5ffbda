"""Writes docs/cli.md from the commands themselves; a test checks that the file is current."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from moa._cli.app import app

TARGET = Path(__file__).parent.parent / "docs" / "cli.md"

_HEAD = """\
# Command line

<!-- Written by `python scripts/cli_reference.py` from the commands themselves: change them there. -->
"""


def reference() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_sections("moa", get_command(app))])


def _sections(name: str, command: Any) -> Iterator[str]:
    yield f"## `{name}`\n"
    yield f"{_text(command.help or '')}\n"
    yield from _parameters(command)
    for child, subcommand in getattr(command, "commands", {}).items():
        yield from _sections(f"{name} {child}", subcommand)


def _text(help_text: str) -> str:
    """The help as Markdown: indented examples become code."""
    paragraphs = help_text.split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith("    ") else " ".join(paragraph.split()) for paragraph in paragraphs
    )


def _parameters(command: Any) -> Iterator[str]:
    shown = [parameter for parameter in command.params if parameter.name not in _COMPLETION]
    if shown:
        yield "| option | what it does |\n|---|---|"
        yield from (f"| {_name(parameter)} | {_cell(parameter.help or '')} |" for parameter in shown)
        yield ""


_COMPLETION = ("install_completion", "show_completion")


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_cell(parameter.metavar)}`"
    value = "" if parameter.is_flag else parameter.metavar or parameter.display_type_rich(None).strip("<>")
    return f"`{' '.join([', '.join(parameter.opts), _cell(value)]).strip()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
