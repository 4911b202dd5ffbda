import pytest

from moa.evaluation._judges.self_preference import conflicts, family


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "Anthropic's Claude"),
        ("openai/gpt-4o", "OpenAI's GPT"),
        ("openai/o3-mini", "OpenAI's GPT"),
        ("gpt4_1106_preview", "OpenAI's GPT"),
        ("bedrock/us.meta.llama3-2-3b-instruct-v1:0", "Meta's Llama"),
        ("groq/llama-3.3-70b-versatile", "Meta's Llama"),
        ("together/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo", "Meta's Llama"),
        ("groq/openai/gpt-oss-120b", "OpenAI's GPT"),
        ("openrouter/x-ai/grok-4", "xAI's Grok"),
        ("ollama/mixtral:8x7b", "Mistral's"),
        ("bedrock/us.amazon.nova-pro-v1:0", "Amazon's"),
        ("lab/supernova-8b", None),
        ("local/smollm2-135m", None),
        ("openai/my-own-thing", None),
    ],
)
def test_a_family_is_read_from_the_models_name_and_not_from_its_endpoint(model: str, owner: str | None) -> None:
    assert family(model) == owner


def test_a_judge_that_is_a_member_or_of_the_same_family_is_warned_of() -> None:
    sides = {"mix": ("bedrock/anthropic.claude-3-haiku", "lab/mistral-7b"), "base": ("claude-3-5-sonnet",)}

    member = conflicts(("bedrock/anthropic.claude-3-haiku",), sides)
    stranger = conflicts(("openai/gpt-4o",), sides)

    assert "is a part of mix" in member[0]
    assert "same family (Anthropic's Claude) as claude-3-5-sonnet in base" in member[1]
    assert stranger == ()


def test_outputs_whose_generator_names_the_model_are_named_once() -> None:
    (warning,) = conflicts(("openai/gpt-4o",), {"gpt4_1106_preview": ("gpt4_1106_preview",)})

    assert "as gpt4_1106_preview: its verdicts" in warning
