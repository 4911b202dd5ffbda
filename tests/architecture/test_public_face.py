"""The package's face: what it exports, what it loads, who may print."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import pytest

import moa
import moa.evaluation
import moa.events
import moa.providers
from moa.providers._call_context import CallContext

SOURCE = Path(moa.__file__).parent


PUBLIC = [
    import_module(name) for name in ("moa", "moa.events", "moa.errors", "moa.providers", "moa.batch", "moa.evaluation")
]
PLUMBING = {CallContext}
"""Reachable from what is public, and nothing that a user has to name."""


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_the_list_of_a_public_modules_names_is_sorted_and_every_name_is_there(module: ModuleType) -> None:
    assert module.__all__ == sorted(module.__all__)
    assert set(module.__all__) <= set(dir(module))
    assert all(hasattr(module, name) for name in module.__all__)


def test_every_class_and_function_of_a_public_module_is_on_its_list() -> None:
    for module in PUBLIC:
        own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
        assert {name for name in own if not name.startswith("_")} - set(module.__all__) <= {"load_ipython_extension"}


def _types_in(hint: object) -> Iterator[type]:
    """Our own classes that a type hint names."""
    if isinstance(hint, type) and hint.__module__.startswith("moa."):
        yield hint
    for argument in get_args(hint):
        yield from _types_in(argument)


def _signature_types(function: Callable[..., object]) -> Iterator[type]:
    for hint in get_type_hints(function).values():
        yield from _types_in(hint)


def test_what_an_engine_takes_and_yields_can_be_imported_from_a_public_module() -> None:
    public = {value for module in PUBLIC for name in module.__all__ if isinstance(value := getattr(module, name), type)}
    functions = [getattr(module, name) for module in (moa, moa.providers) for name in module.__all__]
    waiting = [kind for function in functions if isfunction(function) for kind in _signature_types(function)]
    for method in (moa.Engine.__init__, moa.Engine.arun, moa.Engine.astream, moa.providers.Provider.stream):
        waiting += _signature_types(method)
    waiting += _types_in(moa.events.Event)
    seen: set[type] = set()
    while waiting:
        kind = waiting.pop()
        if kind not in seen and kind not in PLUMBING:
            seen.add(kind)
            waiting += [inner for hint in get_type_hints(kind).values() for inner in _types_in(hint)]

    assert len(seen) > 40
    assert {f"{kind.__module__}.{kind.__name__}" for kind in seen - public} == set()


def test_every_public_name_is_documented_under_a_public_module() -> None:
    page = (SOURCE.parent.parent / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    documented = re.findall(r"^::: (\S+)", page, re.MULTILINE)
    shown = {id(_find(path)) for path in documented}
    if "moa.errors" in documented:
        shown |= {id(getattr(moa.errors, name)) for name in moa.errors.__all__}

    assert {path for path in documented if "._" in path} == set()
    missing = [
        f"{module.__name__}.{name}"
        for module in PUBLIC
        for name in module.__all__
        if id(getattr(module, name)) not in shown
    ]
    assert missing == []


def _find(path: str) -> object:
    module, _, name = path.rpartition(".")
    return import_module(path) if path in sys.modules else getattr(import_module(module), name)


def test_importing_the_package_loads_nothing_but_the_package() -> None:
    heavy = "{'aiohttp', 'pydantic', 'yaml', 'jinja2', 'rich', 'typer', 'genai_prices', 'botocore', 'asyncio', 'numpy'}"
    code = f"import moa, sys; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(moa, "nonsense")


def _calls(path: Path, wanted: set[str]) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Attribute) and ast.unparse(getattr(node, "func", node)) in wanted
    ]


def _outside_of(*folders: str) -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in folders]


def test_only_the_command_line_prints_or_exits() -> None:
    found = [
        at for path in _outside_of("_cli") for at in _calls(path, {"print", "sys.exit", "exit", "sys.stdout.write"})
    ]

    assert found == []


def test_only_config_reads_the_environment() -> None:
    found = [at for path in _outside_of("_config") for at in _calls(path, {"os.environ", "os.getenv"})]

    assert found == []
