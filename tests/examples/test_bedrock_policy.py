"""The policy allows what the presets need, and nothing else."""

import json
from pathlib import Path

from moa._mixture.loading import load, preset_names

POLICY = json.loads((Path(__file__).parents[2] / "examples" / "bedrock-policy.json").read_text(encoding="utf-8"))


def _allowed(kind: str) -> set[str]:
    resources = [resource for one in POLICY["Statement"] for resource in one["Resource"]]
    return {resource.partition(f":{kind}/")[2] for resource in resources if f":{kind}/" in resource}


def test_the_policy_allows_the_two_actions_that_ask_a_model_and_no_other() -> None:
    assert {action for one in POLICY["Statement"] for action in one["Action"]} == {
        "bedrock:InvokeModel",
        "bedrock:InvokeModelWithResponseStream",
    }
    assert {one["Effect"] for one in POLICY["Statement"]} == {"Allow"}


def test_the_policy_names_the_models_of_the_bedrock_presets_and_no_others() -> None:
    references = {reference for name in preset_names() for reference in load(name).references}
    models = {reference.removeprefix("bedrock/") for reference in references if reference.startswith("bedrock/")}
    profiles = {model for model in models if model.startswith("us.")}

    assert _allowed("inference-profile") == profiles
    assert _allowed("foundation-model") == (models - profiles) | {model.removeprefix("us.") for model in profiles}


def test_models_behind_a_profile_are_allowed_through_that_profile_only() -> None:
    behind = {
        resource.partition("/")[2]
        for one in POLICY["Statement"]
        if "bedrock:InferenceProfileArn" in one.get("Condition", {}).get("StringLike", {})
        for resource in one["Resource"]
    }

    assert behind == {profile.removeprefix("us.") for profile in _allowed("inference-profile")}
