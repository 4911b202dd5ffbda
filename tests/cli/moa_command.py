"""Running the command: in this process where that is enough, as a process of its own where it matters."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moa._cli.main import main

SCRIPTED = """
endpoints:
  demo:
    kind: scripted
    options:
      replies:
        one: First proposal.
        two: Second proposal.
        writer: ["The ", "answer."]
        rude: ["\\e[2Jwiped", " [red]text"]
"""

PAIR = """
name: pair
layers:
  - proposers: [{model: demo/one}, {model: demo/two}]
aggregator: {model: demo/writer}
"""

LAME = PAIR.replace("demo/two", "demo/absent")
LOST = PAIR.replace("demo/two", "demo/absent").replace("demo/one", "demo/absent")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of the command ended."""

    code: int
    out: str
    err: str


def moa(*arguments: str, stdin: str = "") -> Ended:
    """Run the command in this process, in pipes, and return how it ended."""
    with CliRunner().isolation(input=stdin) as (out, err, _):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        assert isinstance(left.value.code, int)
        return Ended(left.value.code, out.getvalue().decode(), err.getvalue().decode())


async def start_moa(*arguments: str, cwd: Path) -> asyncio.subprocess.Process:
    """Start the command as a process of its own, with pipes."""
    pipe = asyncio.subprocess.PIPE
    # A shell that starts tests in the background lets them ignore Ctrl-C, and so their children: this one minds it.
    command = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command += "from moa._cli.main import main; main()"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MOA_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, *arguments, cwd=cwd, env=variables, stdin=pipe, stdout=pipe, stderr=pipe
    )
