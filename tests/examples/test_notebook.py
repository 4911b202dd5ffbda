"""The stored notebook; whether it runs is looked at by `scripts/run_notebook.py`."""

import importlib
import json
import re
import tempfile
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]
PATH = ROOT / "notebooks" / "mixture-of-agents.ipynb"
TEXT = PATH.read_text(encoding="utf-8")
NOTEBOOK = json.loads(TEXT)
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_one_by_jupyters_schema() -> None:
    nbformat.validate(nbformat.from_dict(NOTEBOOK))


def test_the_notebook_was_stored_after_a_run_from_top_to_bottom_without_errors() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert not [output for cell in CODE for output in cell["outputs"] if output["output_type"] == "error"]


def test_mixtures_answers_and_evaluations_show_themselves_in_it() -> None:
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for cell in CODE for output in cell["outputs"])

    assert [shown.count(f'<div class="moa-{kind}">') for kind in ("mixture", "answer", "evaluation")] == [2, 2, 1]
    assert "<script" not in shown


def test_the_notebook_holds_no_path_of_a_machine_and_no_times_of_a_run() -> None:
    assert not re.search(r"(?<![\w.])/(home|root|tmp|Users|private|usr|var|mnt)/", TEXT)
    assert str(ROOT) not in TEXT
    assert tempfile.gettempdir() not in TEXT
    assert all(cell["metadata"] == {} for cell in NOTEBOOK["cells"])


def _prose() -> str:
    return "".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")


def _printed() -> str:
    return "".join("".join(output.get("text", "")) for cell in CODE for output in cell["outputs"])


def test_the_notebook_says_what_its_stored_run_can_not_show_and_which_python_it_needs() -> None:
    assert "show how it works, not the quality" in _prose()
    assert "made up by rules" in _prose()
    assert "Python 3.11 or newer" in _prose()


def test_the_cells_use_public_names_only() -> None:
    code = "\n".join("".join(cell["source"]) for cell in CODE)
    imports = re.findall(r"^(?:from (moa[\w.]*) )?import (.+)$", code, re.M)

    assert imports
    for module, names in imports:
        if module:
            assert set(names.split(", ")) <= set(importlib.import_module(module).__all__), module
    assert not re.search(r"\bmoa\.(?:\w+\.)*_|\._[a-z]", code)


def test_the_stored_run_has_the_plan_of_the_real_one_and_no_verdict_on_a_handful_of_prompts() -> None:
    printed = _printed()

    assert re.search(r"total .* \$\d", printed)
    assert "40 prompts, about" in printed
    assert "judge: pairwise@bedrock/us.moonshotai.kimi-k3" in printed
    assert re.search(r"equal is 50%; (\d\d+) prompts", printed)
