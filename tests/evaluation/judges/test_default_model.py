"""Who judges where nobody was named: a living model, of a maker on neither side, without another vendor's key."""

import pytest
from genai_prices import Usage, calc_price

from moa._config.settings import load_settings
from moa._mixture.loading import load
from moa.errors import UsageError
from moa.evaluation._judges.default_model import JUDGE_MODELS, default_judge_model
from moa.evaluation._judges.self_preference import conflicts, family
from moa.providers._successors import successor

KEYS = {"XDG_CACHE_HOME": "/nowhere"}
OPUS = "bedrock/us.anthropic.claude-opus-5-5"


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere/at-all")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_every_judge_is_priced_is_of_a_known_maker_and_has_no_successor() -> None:
    for service, models in JUDGE_MODELS.items():
        for model in models:
            assert calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=service).total_price > 0
            assert family(model) is not None
            assert successor(model) is None


@pytest.mark.parametrize(
    ("models", "judge"),
    [
        ((*load("bedrock-current").references, OPUS), "bedrock/us.moonshotai.kimi-k3"),
        ((OPUS, "bedrock/us.moonshotai.kimi-k3"), "bedrock/us.zai.glm-5.3"),
        (("bedrock/eu.anthropic.claude-haiku-5-5",), "bedrock/global.moonshotai.kimi-k3"),
        (load("together-current").references, "together/moonshotai/Kimi-K3"),
        (("groq/openai/gpt-oss-20b",), "groq/qwen/qwen3.8-27b"),
        (("local/smollm2-135m", OPUS), "bedrock/us.moonshotai.kimi-k3"),
    ],
)
def test_the_judge_is_where_the_models_are_and_of_none_of_their_makers(models: tuple[str, ...], judge: str) -> None:
    found = default_judge_model({"all": models}, load_settings(environ=KEYS))

    assert found == judge
    assert conflicts((found,), {"all": models}) == ()


def test_given_outputs_are_judged_where_there_are_credentials() -> None:
    settings = load_settings(environ={**KEYS, "TOGETHER_API_KEY": "k"})

    assert default_judge_model({"a": ("gpt4_1106_preview",)}, settings) == "together/moonshotai/Kimi-K3"


def test_a_bedrock_endpoint_of_another_name_and_region_has_its_judge_there(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    file = tmp_path_factory.mktemp("settings") / "moa.yaml"
    file.write_text("endpoints: {paris: {kind: bedrock, region: eu-west-3}}")
    settings = load_settings(file, environ=KEYS)

    assert settings.endpoints["paris"].price_provider == "aws"
    found = default_judge_model({"a": ("paris/mistral.mistral-large-3-675b-instruct",)}, settings)
    assert found == "paris/global.moonshotai.kimi-k3"


@pytest.mark.parametrize("models", [("openai/gpt-6-sol", "openai/gpt-6-luna"), ("ollama/llama3.2",)])
def test_where_none_is_known_the_user_is_asked_for_one(models: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="Name one by --judge-model"):
        default_judge_model({"all": models}, load_settings(environ=KEYS))
