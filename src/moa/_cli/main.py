"""The command `moa`: the outermost error handler, also for Ctrl-C while the command line is still loading."""

import errno
import sys
from collections.abc import Sequence

from moa._cli.stdio import give_up_output, prepare

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an expected error becomes one clear message and an exit code.

    Args:
        arguments: Instead of those of the process.
    """
    try:
        prepare()
        _run(arguments)
    except KeyboardInterrupt:
        from moa._cli.exit_codes import INTERRUPTED

        sys.exit(INTERRUPTED)


def _run(arguments: Sequence[str] | None) -> None:
    # Imported here, inside of the handler: loading typer can take half a second.
    from moa._cli.app import app
    from moa._cli.exit_codes import FAILED, exit_code
    from moa.errors import MoaError
    from moa.providers._descriptors import raise_descriptor_limit

    raise_descriptor_limit()
    try:
        app(_with_command(sys.argv[1:] if arguments is None else arguments), prog_name="moa")
    except MoaError as error:
        # Imported here, as only errors need it: it loads rich.
        from moa._cli.console import show_error

        show_error(error)
        sys.exit(exit_code(type(error)))
    except OSError as error:
        # Errors of files are reported where files are opened; what remains is an unwritable standard output.
        if error.errno not in _NO_ROOM:
            raise
        give_up_output()
        print(f"error: standard output can't be written: {error.strerror}", file=sys.stderr)
        sys.exit(FAILED)


def _with_command(arguments: Sequence[str]) -> list[str]:
    """The arguments with `ask` before a question that stands alone: no command has a name of several words."""
    first = arguments[0] if arguments else ""
    # Options of the command itself take no values: after any other one, words are a question too.
    is_question = len(first.split()) > 1 or (first.startswith("-") and any(len(word.split()) > 1 for word in arguments))
    return ["ask", *arguments] if is_question else [*arguments]
