"""`moa chat`: a conversation with a mixture."""

from typing import Unpack

import typer

from moa._cli.options import ChatOptions, with_shared_options


@with_shared_options
def chat(**given: Unpack[ChatOptions]) -> None:
    """Chat with a mixture of models.

    Every line is a turn; /help lists the commands. Ctrl-C stops an answer, Ctrl-D quits. Turns can also be piped
    in, one per line; the exit code is then that of the first failure, if any.
    """
    # Imported here: they load aiohttp and pydantic, which `moa --help` must not wait for.
    from moa._cli.handlers.chat import chat_loop

    raise typer.Exit(chat_loop(given))
