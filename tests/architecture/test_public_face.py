"""The package's face: what it exports, what it loads, who may print."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import moa

SOURCE = Path(moa.__file__).parent


def test_every_public_name_is_there_and_the_list_is_sorted() -> None:
    assert moa.__all__ == sorted(moa.__all__)
    assert set(moa.__all__) == set(moa._HOMES)
    for name in moa.__all__:
        assert getattr(moa, name) is getattr(import_module(f"moa.{moa._HOMES[name]}"), name)


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
