"""How values come to show themselves in a notebook."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import moa


class _Formatter:
    """What IPython's formatter does with types that are known by name."""

    def __init__(self) -> None:
        self.shown_by: dict[tuple[str, str], Callable[[Any], str]] = {}

    def for_type_by_name(self, module: str, name: str, function: Callable[[Any], str]) -> None:
        self.shown_by[module, name] = function


class _Shell:
    def __init__(self) -> None:
        self.html = _Formatter()
        self.formatters = {"text/html": self.html}

    @property
    def display_formatter(self) -> "_Shell":
        return self


def test_a_notebook_shows_a_mixture_as_its_picture() -> None:
    shell = _Shell()

    moa.load_ipython_extension(shell)

    html = shell.html.shown_by["moa._mixture.schema", "Mixture"](moa.load("local"))
    assert 'class="moa-mixture"' in html


def test_every_type_that_is_registered_exists_where_it_is_said_to_be() -> None:
    shell = _Shell()

    moa.load_ipython_extension(shell)

    assert len(shell.html.shown_by) == 7
    for home, name in shell.html.shown_by:
        assert getattr(import_module(home), name).__module__ == home


def test_importing_the_package_in_a_notebook_registers_and_outside_of_one_does_not() -> None:
    code = """
import sys, types
told = []
shell = types.SimpleNamespace(display_formatter=types.SimpleNamespace(formatters={"text/html": types.SimpleNamespace(
    for_type_by_name=lambda module, name, function: told.append(name))}))
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: %s)
import moa
print("Answer" in told, "jinja2" in sys.modules)
"""

    def told(shell: str) -> str:
        return subprocess.run([sys.executable, "-c", code % shell], capture_output=True, text=True, check=True).stdout

    assert told("shell") == "True False\n"
    assert told("None") == "False False\n"
