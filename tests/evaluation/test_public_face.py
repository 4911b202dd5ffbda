"""The face of `moa.evaluation`: its names, and what it says where its extra isn't installed."""

import subprocess
import sys

import pytest

import moa.evaluation

# Run before anything is imported: finders that find everything but NumPy, as where the extra isn't installed.
WITHOUT_NUMPY = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == "numpy" else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""

COMMANDS = [
    "run starter --out runs/a --judge-model openai/gpt-4o",
    "generate starter --out runs/a",
    "latency starter --out runs/a",
    "compare runs/a runs/b",
    "judge --outputs a.json --reference b.json --judge pairwise --out c.json",
    "metrics a.json",
    "report runs/a",
    "correlate ratings.csv",
]


def without_numpy(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_NUMPY + code], capture_output=True, text=True)


def test_any_import_of_it_names_the_extra_where_that_is_missing() -> None:
    ended = without_numpy("from moa.evaluation._statistics.sample_means import MARGIN")

    assert ended.stderr.splitlines()[-1] == (
        'moa.errors.MissingDependency: moa eval needs an optional package: pip install "mixture-of-agents[eval]"'
    )


@pytest.mark.slow
def test_every_command_of_it_is_one_sentence_where_the_extra_is_missing() -> None:
    code = f"""
import contextlib, io
from moa._cli.main import main

for command in {COMMANDS}:
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            main(["eval", *command.split()])
    except SystemExit as ended:
        print(ended.code, told.getvalue().strip())
"""
    ended = without_numpy(code)

    sentence = '2 error: moa eval needs an optional package: pip install "mixture-of-agents[eval]"'
    assert (ended.stdout.splitlines(), ended.stderr) == ([sentence] * len(COMMANDS), "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = moa.evaluation.nonsense
