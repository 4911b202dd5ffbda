"""The mixture's values and their checks, through the shared checker."""

from pathlib import Path
from typing import Any

import pytest

from moa._messages import Sampling
from moa._mixture.model_reference import split_reference
from moa._mixture.roster import roster
from moa._mixture.schema import Agent, Layer, Mixture
from moa._validation.strict_yaml import check, from_mapping, from_text
from moa.errors import MixtureError

MINIMAL = """\
name: example
layers:
  - proposers:
      - model: lab/one
        temperature: 0.5
      - model: lab/two
aggregator:
  model: lab/one
"""


def checked(text: str) -> Mixture:
    return check(Mixture, from_text(text, MixtureError, path=Path("m.yaml")))


def refused(text: str) -> MixtureError:
    with pytest.raises(MixtureError) as caught:
        checked(text)
    assert caught.value.path == Path("m.yaml")
    return caught.value


def test_a_mixture_has_the_documented_defaults() -> None:
    mixture = checked(MINIMAL)

    agent = mixture.layers[0].proposers[1]
    assert (agent.samples, agent.timeout_s, agent.idle_timeout_s, agent.fallback) == (1, 120.0, 60.0, ())
    assert (mixture.aggregation, mixture.prompt, mixture.on_aggregator_failure) == ("synthesis", "default", "error")
    assert (mixture.wait, mixture.deadline_s, mixture.template) == (None, None, None)


def test_a_mixture_of_every_key_comes_back_from_its_own_mapping() -> None:
    mixture = checked(
        """\
name: all
description: every key
layers:
  - proposers:
      - {model: "bedrock/us.x:0", name: first, role: Be brief., temperature: 0, top_p: 1, top_k: 250, max_tokens: 9,
         stop: ["\\n"], seed: 3, reasoning_effort: low, samples: 2, timeout_s: 5, idle_timeout_s: 1.5,
         fallback: [lab/x/y], price: {input: 0.25, output: 1, cached_input: 0.1, cache_write: 2}, extra: {a: {b: [1]}}}
    wait: {min_proposals: 2, grace_s: 0}
aggregator: {model: local//tmp/a model.gguf}
aggregation: selection
prompt: numbered
wait: {min_proposals: 2}
on_aggregator_failure: best_proposal
deadline_s: 60
"""
    )

    again = check(Mixture, from_mapping(mixture.as_dict(), MixtureError))

    assert again == mixture
    assert again.layers[0].proposers[0].price == mixture.layers[0].proposers[0].price is not None


def test_an_agents_sampling_holds_its_parameters() -> None:
    agent = Agent(model="a/b", temperature=0.5, top_p=0.9, top_k=5, max_tokens=7, stop=("x",), extra={"min_p": 0.1})

    assert agent.sampling == Sampling(
        temperature=0.5, top_p=0.9, top_k=5, max_tokens=7, stop=("x",), extra={"min_p": 0.1}
    )


def test_a_mixture_lists_each_model_once_with_fallbacks() -> None:
    mixture = checked(MINIMAL + "  fallback: [lab/three, lab/two]\n")

    assert mixture.references == ("lab/one", "lab/two", "lab/three")


@pytest.mark.parametrize(
    ("change", "line", "key", "says"),
    [
        (("temperature: 0.5", "temprature: 0.5"), 5, "layers.0.proposers.0.temprature", "did you mean 'temperature'?"),
        (("temperature: 0.5", "temperature: hot"), 5, "layers.0.proposers.0.temperature", "a number, got 'hot'"),
        (("temperature: 0.5", 'temperature: "0.5"'), 5, "layers.0.proposers.0.temperature", "a number, got '0.5'"),
        (("temperature: 0.5", "temperature: yes"), 5, "layers.0.proposers.0.temperature", "a number, got true"),
        (("temperature: 0.5", "temperature: -0.1"), 5, "layers.0.proposers.0.temperature", "at least 0, got -0.1"),
        (("temperature: 0.5", "temperature: 2.1"), 5, "layers.0.proposers.0.temperature", "at most 2, got 2.1"),
        (("temperature: 0.5", "temperature: .nan"), 5, "layers.0.proposers.0.temperature", "finite number, got nan"),
        (("temperature: 0.5", "timeout_s: .inf"), 5, "layers.0.proposers.0.timeout_s", "finite number, got inf"),
        (("temperature: 0.5", "timeout_s: 0"), 5, "layers.0.proposers.0.timeout_s", "greater than 0, got 0"),
        (("temperature: 0.5", "max_tokens: 1.5"), 5, "layers.0.proposers.0.max_tokens", "whole number, got 1.5"),
        (("temperature: 0.5", "samples:"), 5, "layers.0.proposers.0.samples", "whole number, got nothing"),
        (("temperature: 0.5", "role: {a: b}"), 5, "layers.0.proposers.0.role", "text, got a mapping"),
        (("temperature: 0.5", "role: 2026"), 5, "layers.0.proposers.0.role", "text, got 2026"),
        (("temperature: 0.5", "hedge: {after: 1}"), 5, "layers.0.proposers.0.hedge.after", "did you mean 'after_s'"),
        (("temperature: 0.5", "max_tokens: 0"), 5, "layers.0.proposers.0.max_tokens", "at least 1, got 0"),
        (("temperature: 0.5", "samples: -1"), 5, "layers.0.proposers.0.samples", "at least 1, got -1"),
        (("temperature: 0.5", "stop: end"), 5, "layers.0.proposers.0.stop", "a list, got 'end'"),
        (("temperature: 0.5", "fallback: [two]"), 5, "layers.0.proposers.0.fallback.0", "names no endpoint"),
        (("temperature: 0.5", "extra: {stream: true}"), 5, "layers.0.proposers.0.extra", "stream can't be set"),
        (("temperature: 0.5", "extra: {x: .inf}"), 5, "layers.0.proposers.0.extra", "expected JSON values"),
        (("temperature: 0.5", "price: {input: 1}"), 5, "layers.0.proposers.0.price.output", "missing"),
        (
            ("temperature: 0.5", "price: {input: 1, output: -2}"),
            5,
            "layers.0.proposers.0.price.output",
            "at least 0, got -2",
        ),
        (
            ("temperature: 0.5", "price: {input: 1, outptu: 2}"),
            5,
            "layers.0.proposers.0.price.outptu",
            "did you mean 'output'?",
        ),
        (("model: lab/two", "model: two"), 6, "layers.0.proposers.1.model", "names no endpoint"),
        (("model: lab/two", "model: lab/"), 6, "layers.0.proposers.1.model", "expected endpoint/model-id"),
        (("model: lab/two", "name: two"), 6, "layers.0.proposers.1.model", "missing"),
        (("aggregator:", "agregator:"), 7, "agregator", "did you mean 'aggregator'?"),
        (("name: example", "name: on"), 1, "name", "expected text, got true"),
        (("name: example", "aggregation: synthesys"), 1, "aggregation", "did you mean 'synthesis'?"),
        (("name: example", "wait: {min_proposals: 3}"), 1, "wait.min_proposals", "at most 2"),
        (("name: example", "deadline_s: -1"), 1, "deadline_s", "greater than 0"),
        (("name: example", "template: x"), 1, "template", "needs a prompt that names its file"),
        (("aggregator:", "aggregator:\n  samples: 2"), 8, "aggregator.samples", "answers once"),
        (("name: example", "layers: []"), 2, "layers", "duplicate key, first in line 1"),
    ],
)
def test_a_fault_names_file_line_key_and_what_was_expected(
    change: tuple[str, str], line: int, key: str, says: str
) -> None:
    error = refused(MINIMAL.replace(*change))

    assert (error.line, error.key) == (line, key)
    assert says in str(error)
    assert str(error).startswith(f"m.yaml:{line}: {key}: ")


def test_an_unknown_key_is_reported_before_faults_that_may_follow_from_it() -> None:
    error = refused(MINIMAL.replace("temperature: 0.5", "temperature: hot\n        modle: x"))

    assert error.key == "layers.0.proposers.0.modle"
    assert "(and 1 more to correct)" in str(error)


def test_a_layer_without_proposers_is_refused() -> None:
    error = refused("layers: [{proposers: []}]\naggregator: {model: a/b}\n")

    assert (error.line, error.key) == (1, "layers.0.proposers")


def test_two_proposers_of_one_name_are_refused() -> None:
    error = refused(MINIMAL.replace("temperature: 0.5", "name: x").replace("lab/two", "lab/two\n        name: x"))

    assert (error.line, error.key) == (7, "layers.0.proposers.1.name")


def test_min_proposals_counts_samples() -> None:
    text = MINIMAL.replace("temperature: 0.5", "samples: 2")

    assert checked(text + "wait: {min_proposals: 3}\n").wait is not None
    assert refused(text + "wait: {min_proposals: 4}\n").key == "wait.min_proposals"


def test_a_layers_own_wait_is_checked_in_place_of_the_mixtures() -> None:
    text = MINIMAL.replace("aggregator:", "    wait: {min_proposals: %d}\nwait: {min_proposals: 9}\naggregator:")

    assert checked(text % 2).layers[0].wait is not None
    assert refused(text % 3).key == "layers.0.wait.min_proposals"


def test_no_layers_is_a_mixture_but_a_missing_key_is_not() -> None:
    assert checked("layers: []\naggregator: {model: a/b}\n").layers == ()
    assert refused("aggregator: {model: a/b}\n").key == "layers"


def test_a_budget_is_a_positive_amount_and_degrading_has_three_steps() -> None:
    assert "a number" in str(refused("layers: []\naggregator: {model: a/b}\nbudget_usd: much\n"))
    assert refused("layers: []\naggregator: {model: a/b}\ndegrade: [everything]\n").key == "degrade.0"


@pytest.mark.parametrize("value", [{1}, object(), {"x": {1}}])
def test_extra_takes_only_what_json_has(value: Any) -> None:
    with pytest.raises(MixtureError, match=r"aggregator\.extra"):
        check(
            Mixture, from_mapping({"layers": [], "aggregator": {"model": "a/b", "extra": {"x": value}}}, MixtureError)
        )


def test_a_reference_keeps_everything_after_its_first_slash() -> None:
    assert split_reference("bedrock/us.meta.llama3-2-3b-instruct-v1:0") == (
        "bedrock",
        "us.meta.llama3-2-3b-instruct-v1:0",
    )
    assert split_reference("local//models/a.gguf") == ("local", "/models/a.gguf")
    assert split_reference("together/Qwen/Qwen1.5-72B-Chat") == ("together", "Qwen/Qwen1.5-72B-Chat")


def test_a_roster_numbers_samples_and_repeated_models() -> None:
    layer = Layer(
        proposers=(
            Agent(model="lab/m", samples=2),
            Agent(model="other/m"),
            Agent(model="lab/n", name="m#2", samples=2),
        )
    )

    members = roster(layer)

    assert [member.name for member in members] == ["m", "m#3", "m#4", "m#2", "m#2#2"]
    assert [member.sample for member in members] == [0, 1, 0, 0, 1]
    assert [member.index for member in members] == [0, 1, 2, 3, 4]
    assert len(members) == layer.size
