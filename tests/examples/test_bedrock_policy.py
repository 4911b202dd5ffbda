"""The policy allows what the commands need, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from moa._mixture.loading import load, preset_names

ROOT = Path(__file__).parents[2]
POLICY = json.loads((ROOT / "examples" / "bedrock-policy.json").read_text(encoding="utf-8"))
STATEMENTS: dict[str, Any] = {one["Sid"]: one for one in POLICY["Statement"]}
OF_THE_RECIPE = {"us.anthropic.claude-opus-5-5", "us.moonshotai.kimi-k3"}
CODE = (
    "batch/_storage.py",
    "providers/_bedrock/batch_jobs.py",
    "providers/_bedrock/encode.py",
    "providers/_model_lists.py",
)

IAM_NAMES = {
    "bedrock:Converse": "bedrock:InvokeModel",
    "bedrock:ConverseStream": "bedrock:InvokeModelWithResponseStream",
    "s3:ListObjectsV2": "s3:ListBucket",
}
"""Actions that are called otherwise than the operation (AWS's Service Authorization Reference)."""


def _operations(source: str, service: str) -> Iterator[str]:
    """Names of the operations of botocore's model that some code calls: by a client's method, or by its path."""
    model = botocore.session.get_session().get_service_model(service)
    words, quoted = set(re.findall(r"[.\"](\w+)[(\"]", source)), set(re.findall(r"\"([\w/-]+)\"", source))
    for name in model.operation_names:
        http = model.operation_model(name).http
        is_by_path = service == "bedrock-runtime" or (service == "bedrock" and http["method"] == "GET")
        path = http["requestUri"].removeprefix("/model/{modelId}/")
        if xform_name(name) in words or (is_by_path and path in quoted):
            yield name


@pytest.fixture(scope="module")
def needed() -> set[str]:
    """The IAM actions of all operations that are called."""
    source = "\n".join((ROOT / "src/moa" / name).read_text(encoding="utf-8") for name in CODE)
    called = {f"{service}:{name}" for service in ("bedrock", "s3") for name in _operations(source, service)}
    called |= {f"bedrock:{name}" for name in _operations(source, "bedrock-runtime")}
    return {IAM_NAMES.get(name, name) for name in called}


def test_the_policy_allows_every_operation_that_the_code_calls_and_no_other(needed: set[str]) -> None:
    allowed = {action for one in STATEMENTS.values() for action in one["Action"]}

    # A batch job is given a role, which is no operation of its own.
    assert allowed - {"iam:PassRole"} == needed
    assert {one["Effect"] for one in STATEMENTS.values()} == {"Allow"}


def test_the_role_is_passed_to_bedrock_only() -> None:
    passed = STATEMENTS["GiveBatchJobsTheirRole"]

    assert passed["Condition"] == {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}}
    assert all(":role/" in resource for resource in passed["Resource"])


def test_the_policy_names_the_models_of_the_living_bedrock_presets_and_of_the_recipe() -> None:
    living = [mixture for mixture in map(load, preset_names()) if "no longer served" not in (mixture.description or "")]
    references = {reference for mixture in living for reference in mixture.references}
    models = {one.removeprefix("bedrock/") for one in references if one.startswith("bedrock/")} | OF_THE_RECIPE
    profiles = {model for model in models if model.startswith("us.")}

    assert _allowed("inference-profile") == profiles
    assert _allowed("foundation-model") == (models - profiles) | {model.removeprefix("us.") for model in profiles}


def _allowed(kind: str) -> set[str]:
    resources = [resource for one in STATEMENTS.values() for resource in one["Resource"]]
    return {resource.partition(f":{kind}/")[2] for resource in resources if f":{kind}/" in resource}


def test_models_behind_a_profile_are_allowed_through_that_profile_only() -> None:
    # Both are needed, the models in every region of the geography: MattJColes/lgtmaybe #73,
    # aws-samples/well-architected-iac-analyzer #181
    behind = {
        resource.partition("/")[2]
        for one in STATEMENTS.values()
        if "bedrock:InferenceProfileArn" in one.get("Condition", {}).get("StringLike", {})
        for resource in one["Resource"]
    }

    assert behind == {profile.removeprefix("us.") for profile in _allowed("inference-profile")}
    regions = {one.split(":")[3] for one in STATEMENTS["AskModelsBehindTheseProfilesOnly"]["Resource"]}
    assert regions == {"us-*"}
