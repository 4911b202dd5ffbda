"""Presets, files, mappings and overrides."""

import copy
import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml

from moa._mixture.loading import json_schema, load, preset_names, single
from moa._mixture.model_reference import split_reference
from moa._mixture.prompts import render_synthesis
from moa._mixture.schema import Agent, Mixture
from moa._pricing.lookup import find_price
from moa._usage import TokenUsage
from moa.errors import MixtureError, TemplateError, UnknownMixture
from moa.providers._endpoint import Endpoint

MAPPING = {"layers": [{"proposers": [{"model": "lab/a"}, {"model": "lab/b"}]}], "aggregator": {"model": "lab/c"}}
HAIKU = "bedrock/anthropic.claude-3-haiku-20240307-v1:0"
PAPER = [
    "together/microsoft/WizardLM-2-8x22B",
    "together/Qwen/Qwen1.5-110B-Chat",
    "together/Qwen/Qwen1.5-72B-Chat",
    "together/meta-llama/Llama-3-70b-chat-hf",
    "together/mistralai/Mixtral-8x22B-Instruct-v0.1",
    "together/databricks/dbrx-instruct",
]


def settings(agent: Agent) -> tuple[str, float | None, float | None, int | None, int | None]:
    return agent.model, agent.temperature, agent.top_p, agent.top_k, agent.max_tokens


def test_the_presets_are_those_that_are_documented() -> None:
    assert preset_names() == (
        "bedrock-current",
        "bedrock-haiku",
        "bedrock-haiku-3-layer",
        "local",
        "self-moa",
        "together-current",
        "together-moa",
        "together-moa-lite",
    )


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_under_its_own_name_and_fits_the_schema(name: str) -> None:
    mixture = load(name)

    assert mixture.name == name
    assert mixture.description
    assert load(mixture.as_dict()) == mixture
    jsonschema.validate(mixture.as_dict(), json_schema())


def test_bedrock_haiku_is_the_missions() -> None:
    mixture = load("bedrock-haiku")

    assert [settings(agent) for agent in mixture.layers[0].proposers] == [
        (HAIKU, 0.5, 1.0, 250, 512),
        ("bedrock/mistral.mixtral-8x7b-instruct-v0:1", 0.7, 1.0, None, 512),
        ("bedrock/us.meta.llama3-2-3b-instruct-v1:0", 0.5, 0.9, None, 512),
    ]
    assert settings(mixture.aggregator) == (HAIKU, 0.0, 1.0, 250, 512)
    assert (len(mixture.layers), mixture.prompt, mixture.aggregation) == (1, "default", "synthesis")


def test_bedrock_haiku_3_layer_has_the_same_proposers_twice() -> None:
    two, three = load("bedrock-haiku"), load("bedrock-haiku-3-layer")

    assert three.layers == two.layers * 2
    assert three.aggregator == two.aggregator


def test_together_moa_is_the_papers() -> None:
    mixture, lite = load("together-moa"), load("together-moa-lite")

    for layer in mixture.layers:
        assert [settings(agent) for agent in layer.proposers] == [(model, 0.7, None, None, 2048) for model in PAPER]
    assert settings(mixture.aggregator) == ("together/Qwen/Qwen1.5-110B-Chat", 0.7, None, None, 2048)
    assert (len(mixture.layers), len(lite.layers)) == (2, 1)
    assert lite.layers[0] == mixture.layers[0]
    assert lite.aggregator.model == "together/Qwen/Qwen1.5-72B-Chat"


def test_self_moa_samples_its_aggregators_model_six_times() -> None:
    mixture = load("self-moa")

    (proposer,) = mixture.layers[0].proposers
    assert (proposer.model, proposer.samples) == (mixture.aggregator.model, 6)


def test_local_fits_into_a_window_of_2048_tokens() -> None:
    mixture = load("local")

    (proposer,) = mixture.layers[0].proposers
    assert (proposer.model, proposer.samples) == ("local/smollm2-135m", 3)
    assert mixture.aggregator.model == proposer.model
    assert proposer.max_tokens is not None
    assert mixture.aggregator.max_tokens is not None
    frame_characters = len(render_synthesis(mixture, [""] * 3).text)
    assert 3 * proposer.max_tokens + mixture.aggregator.max_tokens + frame_characters / 3 < 2048 - 512


@pytest.mark.parametrize(("name", "meant"), [("bedrock-haiko", "'bedrock-haiku'"), ("nope", "Presets are")])
def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(name: str, meant: str) -> None:
    with pytest.raises(UnknownMixture, match=meant) as caught:
        load(name)

    assert all(preset in str(caught.value) for preset in preset_names())


def test_a_model_reference_stands_for_that_model_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("lab/some-model:7b") == single("lab/some-model:7b")

    # A file of that name is a file, and what ends in .yaml is none that is a model's.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "mine.yaml").write_text("layers: []\naggregator: {model: lab/other}\n")
    assert load("lab/mine.yaml").aggregator.model == "lab/other"
    with pytest.raises(UnknownMixture, match="no such file"):
        load("lab/absent.yaml")


def test_a_single_model_without_an_endpoint_is_refused_without_a_word_of_aggregators() -> None:
    with pytest.raises(MixtureError, match="'gpt-4o-mini': it names no endpoint") as caught:
        single("gpt-4o-mini")

    assert "aggregator" not in str(caught.value)


def test_a_missing_file_is_unknown_by_its_path(tmp_path: Path) -> None:
    for source in (tmp_path / "none", str(tmp_path / "none.yaml")):
        with pytest.raises(UnknownMixture, match="no such file"):
            load(source)


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "~nobody-of-this-name/x"])
def test_a_text_that_can_be_no_files_name_is_unknown(source: str) -> None:
    with pytest.raises(UnknownMixture, match="no preset and no file"):
        load(source)


def test_yaml_given_as_text_is_answered_with_what_to_do() -> None:
    with pytest.raises(UnknownMixture, match="as a mapping or as a file"):
        load(yaml.safe_dump(MAPPING))


def test_a_folder_is_no_mixture(tmp_path: Path) -> None:
    with pytest.raises(MixtureError, match="can't be read"):
        load(tmp_path)


def test_a_file_gives_its_name_to_a_mixture_without_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(MAPPING))
    plain = tmp_path / "plain"
    plain.write_text(yaml.safe_dump({"name": "called", **MAPPING}))

    assert load(file).name == load(str(file)).name == "mine"
    assert load(str(plain)).name == "called"


def test_a_files_fault_names_the_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("layers: []\naggregator:\n  modle: lab/a\n")

    with pytest.raises(MixtureError, match="did you mean 'model'") as caught:
        load(file)

    assert (caught.value.path, caught.value.line, caught.value.key) == (file, 3, "aggregator.modle")


def test_a_mapping_is_never_changed() -> None:
    before = copy.deepcopy(MAPPING)

    mixture = load(MAPPING, overrides=["layers.0.proposers.0.temperature=1", "wait.min_proposals=2"])

    assert before == MAPPING
    assert mixture.layers[0].proposers[0].temperature == 1.0
    assert mixture.wait is not None
    assert mixture.wait.min_proposals == 2


def test_a_mixture_is_taken_as_it_is_or_overridden() -> None:
    mixture = load(MAPPING)

    assert load(mixture) is mixture
    assert load(mixture, overrides=["name=other"]) == mixture.model_copy(update={"name": "other"})


def test_a_preset_can_be_overridden() -> None:
    mixture = load("bedrock-haiku", overrides=["layers.0.proposers.1.temperature=0.9", "aggregator.role="])

    assert mixture.layers[0].proposers[1].temperature == 0.9
    assert mixture.aggregator.role is None
    assert load("bedrock-haiku").layers[0].proposers[1].temperature == 0.7


@pytest.mark.parametrize(
    ("override", "key", "says"),
    [
        ("aggregator.temperature", None, "is not key=value"),
        ("=3", None, "is not key=value"),
        ("aggregator.temprature=1", "aggregator.temprature", "did you mean 'temperature'"),
        ("aggregator.temperature=hot", "aggregator.temperature", r"a number, got 'hot' \(set by an override\)"),
        ("layers.1.proposers.0.temperature=1", "layers.1", "item from 0 to 0, got '1'"),
        ("layers.first=1", "layers.first", "item from 0 to 0, got 'first'"),
        ("aggregator.model.x=1", "aggregator.model.x", "has no keys"),
        ("aggregator=[", None, "not valid YAML"),
    ],
)
def test_a_wrong_override_is_refused_by_its_own_key(override: str, key: str | None, says: str) -> None:
    with pytest.raises(MixtureError, match=says) as caught:
        load(MAPPING, overrides=[override])

    assert caught.value.key == key


def test_one_model_alone_is_a_mixture_without_layers() -> None:
    mixture = single("openai/gpt-4o-mini", temperature=0.3)

    assert (mixture.layers, mixture.name) == ((), "openai/gpt-4o-mini")
    assert mixture.aggregator == Agent(model="openai/gpt-4o-mini", temperature=0.3)
    with pytest.raises(MixtureError, match="names no endpoint"):
        single("gpt-4o-mini")


def write(folder: Path, template: str, prompt: str = "mine.j2") -> Path:
    (folder / "mine.j2").write_text(template)
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**MAPPING, "prompt": prompt}))
    return file


def test_a_template_is_read_beside_the_mixtures_file(tmp_path: Path) -> None:
    mixture = load(write(tmp_path, "These: {{ proposals | join(' / ') }}"))

    assert render_synthesis(mixture, ["a", "b"]).text == "These: a / b"
    assert load(mixture, overrides=["prompt=numbered"]).template is None
    (tmp_path / "mine.j2").unlink()
    assert load(mixture.as_dict()) == mixture


@pytest.mark.parametrize(
    ("template", "line"),
    [("first\n{% for %}", 2), ("no proposals", None), ("\n\n{{ proposals[7] }}", 3)],
)
def test_a_templates_fault_names_its_file_and_line(tmp_path: Path, template: str, line: int | None) -> None:
    file = write(tmp_path, template)

    with pytest.raises(TemplateError) as caught:
        load(file)

    assert (caught.value.path, caught.value.line) == (tmp_path / "mine.j2", line)


def test_a_template_is_rendered_for_the_rosters_size_when_it_is_loaded() -> None:
    agents = [{"model": "lab/a", "samples": 5}]
    template = "{% for p in proposals[:4] %}{{ p }}{% endfor %}"

    with pytest.raises(TemplateError, match="leaves out number 5"):
        load({**MAPPING, "layers": [{"proposers": agents}], "prompt": "inline", "template": template})


def test_a_prompt_that_is_no_file_is_refused_where_it_stands(tmp_path: Path) -> None:
    file = write(tmp_path, "", prompt="nubmered")

    with pytest.raises(MixtureError, match="did you mean 'numbered'") as caught:
        load(file)

    assert (caught.value.path, caught.value.key) == (file, "prompt")


def test_a_template_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    (tmp_path / "mine.j2").write_bytes(b"\xff")

    with pytest.raises(TemplateError, match="UTF-8"):
        load(file)


@pytest.mark.slow
def test_the_json_schema_is_json_and_refuses_what_the_check_refuses() -> None:
    schema = json.loads(json.dumps(json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(MAPPING, schema)
    wrong = [
        {**MAPPING, "nmae": "x"},
        {**MAPPING, "layers": [{"proposers": []}]},
        {**MAPPING, "aggregator": {"model": "no-endpoint"}},
        {**MAPPING, "aggregator": {"model": "a/b", "temperature": -1}},
        {**MAPPING, "aggregator": {"model": "a/b", "price": {"input": 1}}},
    ]
    for mapping in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(mapping, schema)
        with pytest.raises(MixtureError):
            load(mapping)


def test_mixtures_are_frozen() -> None:
    mixture = load("local")

    with pytest.raises(ValueError, match="frozen"):
        mixture.name = "other"  # type: ignore[misc]
    assert isinstance(mixture, Mixture)


SERVED = ["bedrock-haiku", "bedrock-haiku-3-layer", "bedrock-current", "together-current", "self-moa"]


@pytest.mark.parametrize("name", SERVED)
def test_every_model_of_a_preset_that_is_still_served_has_a_price(name: str) -> None:
    services = {"bedrock": "aws", "together": "together"}
    usage = TokenUsage(input_tokens=1, output_tokens=1)

    for reference in load(name).references:
        endpoint, model = split_reference(reference)
        assert find_price(Endpoint(name=endpoint, kind="", price_provider=services[endpoint]), model)(usage), reference


@pytest.mark.parametrize("special", ["fifo", "/dev/zero"])
def test_a_prompt_that_is_no_regular_file_is_refused_at_once(tmp_path: Path, special: str) -> None:
    if special == "fifo":
        special = str(tmp_path / "fifo")
        os.mkfifo(special)

    with pytest.raises(MixtureError, match="not a regular file"):
        load({**MAPPING, "prompt": special})
