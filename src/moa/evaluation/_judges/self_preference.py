"""Judges that are party: members of what they judge, or of the same family."""

import re
from collections.abc import Mapping, Sequence

_FAMILIES = {
    "Anthropic's Claude": r"claude|anthropic",
    "OpenAI's GPT": r"\bgpt|gpt-?\d|chatgpt|davinci|codex|\bo\d(-|$)|openai",
    "Meta's Llama": r"llama",
    "Mistral's": r"mistral|mixtral|ministral|codestral|pixtral|magistral",
    "Google's": r"gemini|gemma|\bpalm(?!yra)",
    "Alibaba's Qwen": r"qwen|qwq",
    "DeepSeek's": r"deepseek",
    "Amazon's": r"\bnova-|\btitan",
    "Cohere's": r"\bcommand\b|cohere|\baya\b",
    "Microsoft's": r"\bphi-?\d|wizardlm",
    "xAI's Grok": r"\bgrok",
    "Moonshot's Kimi": r"\bkimi|moonshot",
    "Zhipu's GLM": r"\bglm-",
    "AI21's": r"jamba|ai21",
    "IBM's Granite": r"granite",
    "MiniMax's": r"minimax",
    "NVIDIA's Nemotron": r"nemotron",
    "Writer's Palmyra": r"palmyra",
}
"""By what a model's name contains; derived models count as their origin (vicuna and its like are not known)."""


def family(model: str) -> str | None:
    """Return whose model this is, by its name; None if the name doesn't tell.

    Args:
        model: A reference, a model's id, or the name of a generator on the leaderboard.
    """
    # The endpoint says who runs a model, not whose it is.
    name = model.partition("/")[2] or model
    found = [owner for owner, pattern in _FAMILIES.items() if re.search(pattern, name.lower())]
    return found[0] if found else None


def conflicts(judges: Sequence[str], sides: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a warning for every judge that is party.

    Args:
        judges: References of the judge's models.
        sides: For each system by name, references of all its models, or its generator's name.

    Returns:
        Sentences; empty if nobody is party. Models are known to prefer their own writing.

    Source:
        Panickssery, Bowman & Feng 2024, arXiv 2404.13076: judges favour what they wrote themselves.
    """
    return tuple(
        sentence
        for judge in judges
        for system, models in sides.items()
        if (sentence := _conflict(judge, system, models)) is not None
    )


def _conflict(judge: str, system: str, models: Sequence[str]) -> str | None:
    if judge in models or judge.partition("/")[2] in models:
        return f"the judge {judge} is a part of {system}: judges favour what they wrote themselves"
    owner = family(judge)
    related = [model for model in models if owner is not None and family(model) == owner]
    if not related:
        return None
    whose = system if related[0] == system else f"{related[0]} in {system}"
    return f"the judge {judge} is of the same family ({owner}) as {whose}: its verdicts may favour it"
