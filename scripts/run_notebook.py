"""Run the notebook from top to bottom with the embedded model; a failing cell fails the command.

`uv run --group notebook python scripts/run_notebook.py` looks whether it runs; `--write` stores it with its outputs.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "mixture-of-agents.ipynb"
CELL_TIMEOUT_S = 170


def main() -> int:
    """Return the exit code: 0 if every cell ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="store the notebook with the outputs of this run")
    arguments = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    started = time.perf_counter()
    try:
        execute(notebook)
    except CellExecutionError as error:
        sys.stderr.write(f"{NOTEBOOK.name}: a cell failed\n{error}\n")
        return 1
    sys.stdout.write(f"{NOTEBOOK.name}: ran in {time.perf_counter() - started:.0f} s\n")
    if arguments.write:
        nbformat.write(cleaned(notebook), NOTEBOOK)
    return 0


def execute(notebook: NotebookNode) -> None:
    """Run a notebook in a folder that is thrown away, its outputs put into it.

    Raises:
        CellExecutionError: A cell failed.
    """
    os.environ.update(_without_aws())
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()


def _without_aws() -> dict[str, str]:
    """What hides AWS from the kernel: this run is free, wherever it happens."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    nowhere = {name: os.devnull for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    return {**nowhere, "AWS_EC2_METADATA_DISABLED": "true"}


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without what is this run's alone, or nobody reads: times, releases, texts beside pictures."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Return a cell's outputs, pieces of one stream put together, without the plain text of what has a picture."""
    found: list[NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
            continue
        if len(output.get("data", ())) > 1:
            output.data.pop("text/plain", None)
        if "metadata" in output:
            output.metadata = {}
        found.append(output)
    return found


if __name__ == "__main__":
    sys.exit(main())
