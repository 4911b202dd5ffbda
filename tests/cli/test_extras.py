import subprocess
import sys
from pathlib import Path

import pytest

from moa.cli.extras import needs_extra
from moa.errors import MissingDependency


def test_a_missing_package_of_others_becomes_the_command_that_installs_it() -> None:
    words = r'moa eval needs .* pip install "mixture-of-agents\[eval\]"'
    with pytest.raises(MissingDependency, match=words), needs_extra("moa eval", "eval"):
        import no_such_package.inside  # noqa: F401


def test_a_missing_module_of_our_own_is_a_bug_and_stays_one() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs_extra("moa eval", "eval"):
        import moa.no_such_module  # noqa: F401


COMMANDS = (
    "run starter -m m.yaml --out o",
    "generate starter -m m.yaml --out o",
    "latency starter -m m.yaml --out o",
    "compare a b",
    "judge --outputs a --reference b --out c",
    "metrics a",
    "report a",
    "correlate a",
)

WITHOUT_NUMPY = """
import sys

sys.modules["numpy"] = None
from moa.cli.main import main

for command in sys.argv[1:]:
    try:
        main(["eval", *command.split()])
    except SystemExit as left:
        print(left.code)
"""


def test_every_eval_command_says_what_to_install_where_the_extra_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_NUMPY, *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)

    sentence = 'error: moa eval needs an optional package: pip install "mixture-of-agents[eval]"'
    assert done.stderr.splitlines() == [sentence] * len(COMMANDS)
    assert done.stdout.split() == ["2"] * len(COMMANDS)
