"""Handler of `moa chat`: reads turns and commands, runs the mixture, stores the conversation."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moa._cli.console import (
    AnswerWriter,
    draw,
    err_symbols,
    say,
    show_cancelled,
    show_error,
    show_totals,
)
from moa._cli.exit_codes import COMPLETE, exit_code
from moa._cli.mixture_option import mixture_of, resolve_mixture
from moa._cli.options import ChatOptions
from moa._cli.session import Cancelled, RunSession
from moa._ledger import Ledger
from moa._messages import Message
from moa._mixture.schema import Mixture
from moa._render.errors import failure_ledger
from moa._render.mixtures import summary
from moa._render.proposals import ProposalsView
from moa._render.totals import ledger_line
from moa._results import Answer
from moa._validation.file_errors import os_reason
from moa.errors import MoaError, UsageError

PROMPT = "> "


@dataclass(slots=True, kw_only=True)
class ChatSession:
    """A conversation and its settings.

    Attributes:
        mixture: What answers the next turn.
        given: The command's options.
        system: System message, None for none.
        turns: The conversation so far, without the system message.
        answers: Every answer of the session, also those whose turns were cleared.
        ledgers: What every run of the session used, also those that failed or were cancelled.
        failure: The first of the session, None while there is none.
    """

    mixture: Mixture
    given: ChatOptions
    system: str | None = None
    turns: list[Message] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    failure: MoaError | None = None

    @property
    def ledger(self) -> Ledger:
        """What the whole session used."""
        return Ledger(calls=tuple(call for ledger in self.ledgers for call in ledger.calls))

    def as_dict(self) -> dict[str, Any]:
        """The conversation and its answers, JSON-ready."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return {
            "mixture": self.mixture.as_dict(),
            "messages": [*system, *({"role": turn.role, "content": turn.text} for turn in self.turns)],
            "answers": [answer.as_dict() for answer in self.answers],
        }


def chat_loop(given: ChatOptions) -> int:
    """Chat until the user quits, and return the exit code.

    An interactive user has seen each failure. For piped input, the exit code is that of the first failure.

    Raises:
        ConfigError: The configuration can't be used.
        UsageError: Standard input is not text.
    """
    chat, interactive = ChatSession(given=given, mixture=mixture_of(given), system=given["system"]), sys.stdin.isatty()
    if interactive:
        _enable_line_editing()
        say(f"{chat.mixture.name}: {summary(chat.mixture)}")
        say("/help lists the commands, Ctrl-C stops an answer, Ctrl-D quits.", style="dim")
    with RunSession(given["config"]) as runs:
        while (line := _read_line(interactive)) is not None:
            if line.strip() and not _take(line.strip(), chat, runs):
                break
    if chat.ledgers:
        say(ledger_line(chat.ledger, err_symbols()), style="dim")
    return COMPLETE if interactive or chat.failure is None else exit_code(type(chat.failure))


def _enable_line_editing() -> None:
    try:
        import readline  # noqa: F401  (importing it gives `input` its history and editing)
    except ImportError:  # not on every platform; chatting works without
        return


def _read_line(interactive: bool) -> str | None:
    """The next line, an empty one after Ctrl-C, None at the end."""
    try:
        return input(PROMPT if interactive else "")
    except EOFError:
        if interactive:
            print()
        return None
    except KeyboardInterrupt:
        print()
        return ""
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not {error.encoding} text") from error


def _take(line: str, chat: ChatSession, runs: RunSession) -> bool:
    """Handle a line; return whether the conversation continues."""
    if not line.startswith("/"):
        _answer(line, chat, runs)
        return True
    name, _, argument = line.partition(" ")
    if name in ("/quit", "/exit"):
        return False
    command = COMMANDS.get(name)
    try:
        if command is None:
            raise UsageError(f"{name} is not a command: /help lists them")
        command.act(chat, argument.strip())
    except MoaError as error:
        _note_failure(error, chat)
    return True


def _note_failure(error: MoaError, chat: ChatSession) -> None:
    chat.failure = chat.failure or error
    show_error(error)


def _answer(line: str, chat: ChatSession, runs: RunSession) -> None:
    turns = [*chat.turns, Message(role="user", content=line)]
    try:
        answer = runs.run(
            chat.mixture,
            turns,
            writer=AnswerWriter(sys.stdout),
            system=chat.system,
            deadline_s=chat.given["deadline"],
            budget_usd=chat.given["budget"],
            seed=chat.given["seed"],
        )
    except Cancelled as stop:
        chat.ledgers.append(stop.ledger)
        show_cancelled(stop.ledger)
    except MoaError as error:
        chat.ledgers.append(failure_ledger(error))
        _note_failure(error, chat)
    else:
        chat.turns = [*turns, Message(role="assistant", content=answer.text)]
        chat.answers.append(answer)
        chat.ledgers.append(answer.ledger)
        show_totals(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the chat: its argument, its help, its function."""

    takes: str = ""
    help: str
    act: Callable[[ChatSession, str], None]


def _help(chat: ChatSession, argument: str) -> None:
    for name, command in COMMANDS.items():
        say(f"{f'{name} {command.takes}':<16} {command.help}")
    say(f"{'/quit':<16} quit (also Ctrl-D)")


def _switch_mixture(chat: ChatSession, argument: str) -> None:
    if argument:
        chat.mixture = resolve_mixture(argument, None)
    say(f"{chat.mixture.name}: {summary(chat.mixture)}")


def _switch_model(chat: ChatSession, argument: str) -> None:
    if not argument:
        raise UsageError("/model needs a model: /model ollama/llama3.2")
    chat.mixture = resolve_mixture(None, argument)
    say(summary(chat.mixture))


def _proposals(chat: ChatSession, argument: str) -> None:
    if not chat.answers:
        raise UsageError("there is no answer yet")
    draw(ProposalsView(chat.answers[-1]))


def _cost(chat: ChatSession, argument: str) -> None:
    say(ledger_line(chat.ledger, err_symbols()))


def _system(chat: ChatSession, argument: str) -> None:
    if argument:
        chat.system = argument
    say(f"system message: {chat.system}" if chat.system else "no system message")


def _save(chat: ChatSession, argument: str) -> None:
    if not argument:
        raise UsageError("/save needs a file: /save talk.json")
    path = Path(argument).expanduser()
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            json.dump(chat.as_dict(), file, ensure_ascii=False, indent=2)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already: give another name") from error
    except OSError as error:
        raise UsageError(f"{path} can't be written: {os_reason(error)}") from error
    say(f"saved to {path}")


def _clear(chat: ChatSession, argument: str) -> None:
    chat.turns = []
    say("the conversation is cleared")


COMMANDS = {
    "/help": Command(help="list the commands", act=_help),
    "/mixture": Command(takes="[NAME]", help="show the mixture, or switch to another one", act=_switch_mixture),
    "/model": Command(takes="REF", help="switch to a single model, endpoint/model-id", act=_switch_model),
    "/proposals": Command(help="show the proposals of the last answer", act=_proposals),
    "/cost": Command(help="show the usage and cost of the conversation", act=_cost),
    "/system": Command(takes="[TEXT]", help="show or set the system message", act=_system),
    "/save": Command(takes="FILE", help="save the conversation and its answers as JSON", act=_save),
    "/clear": Command(help="clear the conversation", act=_clear),
}
