"""Every model that is shown to users is served today, as far as the installed price table and the makers tell."""

import json
import re
from collections.abc import Iterator

import pytest
from genai_prices import Usage, calc_price

from moa._config.builtin_endpoints import BUILT_IN
from moa._mixture.loading import load, preset_names
from moa.providers._successors import successor
from tests.docs.blocks import PAGES, ROOT

PUBLISHED = "As published, no longer served"
HOSTED = {name: one.price_provider for name, one in BUILT_IN.items() if one.price_provider}
_REFERENCE = re.compile(rf"(?<![\w./-])(?P<endpoint>{'|'.join(HOSTED)})/(?P<model>[A-Za-z0-9][\w.:/-]*\w)")
_WORD = re.compile(r"(?<![\w/.-])[a-z0-9][\w.:-]{3,}\w")
_PLACEHOLDERS = ("owner/model",)
_ABOUT_THE_PAST = ("docs/original-run.md",)


def _texts() -> Iterator[tuple[str, str]]:
    examples = [path for path in (ROOT / "examples").rglob("*") if path.is_file()]
    for path in (*PAGES, *examples, ROOT / "src/moa/_cli/starter.yaml"):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.relative_to(ROOT).as_posix(), "\n".join("".join(cell["source"]) for cell in cells)
    for name in preset_names():
        if PUBLISHED not in (load(name).description or ""):
            yield f"the preset {name}", " ".join(load(name).references)


TEXTS = dict(_texts())


def _dead(text: str) -> list[str]:
    """The references in a text whose model is not priced, or has a successor."""
    found = []
    for match in _REFERENCE.finditer(text):
        model = match["model"]
        if model in _PLACEHOLDERS:
            continue
        try:
            calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=HOSTED[match["endpoint"]])
        except LookupError:
            found.append(f"{match[0]}: no price")
        if (later := successor(model)) is not None:
            found.append(f"{match[0]}: now {later}")
    return found


@pytest.mark.parametrize("source", TEXTS)
def test_every_model_that_is_named_is_priced_and_has_no_successor(source: str) -> None:
    assert _dead(TEXTS[source]) == []
    if source not in _ABOUT_THE_PAST:
        assert [word for word in _WORD.findall(TEXTS[source]) if successor(word)] == []


def test_a_model_that_is_gone_or_unknown_is_found_out() -> None:
    text = "openai/gpt-4o, bedrock/us.meta.llama3-2-3b-instruct-v1:0, openai/gpt-77-imaginary and openai/gpt-6-luna"

    assert _dead(text) == [
        "openai/gpt-4o: now gpt-6.1-sol",
        "bedrock/us.meta.llama3-2-3b-instruct-v1:0: now us.meta.llama4-scout-17b-instruct-v1:0",
        "openai/gpt-77-imaginary: no price",
    ]


def test_presets_with_a_model_that_is_gone_say_so_in_their_description() -> None:
    published = {name for name in preset_names() if (load(name).description or "").startswith(PUBLISHED)}

    assert published == {"bedrock-haiku", "bedrock-haiku-3-layer", "together-moa", "together-moa-lite"}
