"""AlpacaEval's own judges, out of the prompt templates and settings that its package ships."""

import random
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import yaml

from moa._config.builtin_endpoints import BUILT_IN
from moa._messages import Message, ReplyOptions
from moa._mixture.loading import single
from moa._results import Answer
from moa._validation.suggestions import did_you_mean
from moa.errors import EvaluationDataError
from moa.evaluation._data.alpaca_eval_package import package_folder
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.model_judge import JudgePrompt, counted_once, model_judge
from moa.evaluation._judges.parsers import parser_of, written

OFFICIAL = "weighted_alpaca_eval_gpt4_turbo"
"""The leaderboard's judge."""

SEED = 0
"""The official seed of the order in which outputs are shown."""

_PLACEHOLDER = re.compile(r"{([^ \s]+?)}")
_FIELDS = ("instruction", "output_1", "output_2")
_OPENED, _CLOSED = "<|im_start|>", "<|im_end|>"

_ASKED = {
    "model_name",
    "max_tokens",
    "max_tokens_to_sample",
    "temperature",
    "top_p",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
}
_UNIMPORTANT = {"requires_chatml", "num_procs", "sleep_time", "price_per_token", "client_kwargs"}


def alpaca_eval_judge(
    name: str, model: str | None = None, *, both: bool = False, sampling: Mapping[str, float | int]
) -> Judge:
    """Return the judge that asks one model as an evaluator of the installed package does.

    Args:
        name: Its folder's name.
        model: Another model to ask in place of its own.
        both: Whether it is shown both orders; the official code shows one, by lot.
        sampling: Fields of an agent in place of its own.

    Raises:
        MissingDependency: The package isn't installed.
        EvaluationDataError: There is no such evaluator, or it can't be run here, or its own model is of a service that
            isn't built in; the error says why.
        MixtureError: The model's reference is wrong.
    """
    folder = package_folder() / "evaluators_configs"
    known = sorted(path.parent.name for path in folder.glob("*/configs.yaml"))
    if name not in known and (folder / name).is_dir() and name.strip("."):
        raise EvaluationDataError(
            f"the judge {name} can't be used: it has no configs.yaml, so the official command can't either"
        )
    if name not in known:
        raise EvaluationDataError(
            f"there is no judge {name!r}{did_you_mean(name, known) or '.'} "
            f"Known: alpaca_eval_gpt4_turbo, arena_hard, pairwise, {', '.join(known)}"
        )
    try:
        settings, template = _supported(folder, name)
        asked = settings.get("completions_kwargs", {})
        prompt = _prompt(settings, asked, template)
    except EvaluationDataError as error:
        raise EvaluationDataError(f"the judge {name} can't be used: {error}") from error
    own, service = asked["model_name"], _service(settings, asked)
    if model is None and service is None:
        raise EvaluationDataError(
            f"the judge {name} asks {own} of a service that is not built in: say by --judge-model which model to ask"
        )
    reference = model or f"{service}/{own}"
    # The official code's own defaults.
    published = {
        "temperature": asked.get("temperature", 0.7),
        "top_p": asked.get("top_p", 1.0),
        "max_tokens": asked.get("max_tokens", asked.get("max_tokens_to_sample", 2048)),
    }
    is_original = reference.partition("/")[2] == own or reference.endswith(f"/{own}")
    as_published = all(published.get(key) == value for key, value in sampling.items())
    shuffles = settings.get("is_randomize_output_order", True)
    return model_judge(
        f"{name}{'' if is_original else f'@{reference}'}{'-both-orders' if both else ''}",
        single(reference, **{**published, **sampling}),
        prompt,
        shows_system_first=None if both else is_swapped if shuffles else lambda instruction: False,
        comparable=name == OFFICIAL and is_original and as_published and not both,
    )


def is_swapped(instruction: str) -> bool:
    """Return whether the official code shows the system's output first for this instruction.

    Source:
        alpaca_eval, `processors.py` (`RandomSwitchTwoColumnsProcessor`), `utils.py` (`random_seeded_choice`).
    """
    return random.Random(f"is_switched_outputs{instruction}{SEED}").choices([False, True], k=1)[0]


def messages(template: str, instruction: str, first: str, second: str) -> tuple[Message, ...]:
    """Return the filled template as messages, exactly as the official code makes them.

    That includes its weakness: a text that holds a placeholder or ChatML's own marks changes the prompt around it.
    `output_issues` counts outputs that do. One thing differs on the wire: a system turn that an output forges is sent
    at the end of the system text, as all system turns are here, and not in its place.

    Args:
        template: ChatML with placeholders.
        instruction: The prompt.
        first: The output shown first.
        second: The output shown second.

    Source:
        alpaca_eval, `utils.py` (`make_prompts`, `prompt_to_chatml`).
    """
    values, text = {"instruction": instruction, "output_1": first, "output_2": second}, template
    for name in dict.fromkeys(_PLACEHOLDER.findall(template)):
        text = text.replace("{" + name + "}", values[name], 1)
    turns = []
    for piece in text.strip().split(_OPENED)[1:]:
        header, _, content = piece.partition("\n")
        role, name = _role_and_name(header.strip())
        turns.append(Message(role=role, content=content.split(_CLOSED, 1)[0].strip(), name=name))
    return tuple(turns)


def _supported(folder: Path, name: str) -> tuple[Mapping[str, Any], str]:
    """An evaluator's settings and its prompt's template, if all that they ask for can be done here."""
    document = yaml.safe_load((folder / name / "configs.yaml").read_text(encoding="utf-8"))
    if len(document) != 1:
        raise EvaluationDataError(f"it is a pool of {len(document)} annotators")
    (settings,) = document.values()
    template = (folder / settings["prompt_template"]).read_text(encoding="utf-8")
    unknown = set(settings.get("completions_kwargs", {})) - _ASKED - _UNIMPORTANT
    if unknown:
        raise EvaluationDataError(f"its setting {', '.join(sorted(unknown))} is not supported here")
    if settings.get("batch_size", 1) != 1:
        raise EvaluationDataError("it shows several pairs in one prompt")
    if set(settings.get("processors_to_kwargs") or {}) - {"ChainOfThoughtProcessor"}:
        raise EvaluationDataError("it processes its pairs in ways that are not supported here")
    stripped = template.strip()
    if not (stripped.startswith(_OPENED) and stripped.endswith(_CLOSED)):
        raise EvaluationDataError("its prompt is for completion models, not for chat")
    if sorted(_PLACEHOLDER.findall(template)) != sorted(_FIELDS):
        raise EvaluationDataError("its prompt needs other fields than instruction and outputs, or repeats them")
    return settings, template


def _prompt(settings: Mapping[str, Any], asked: Mapping[str, Any], template: str) -> JudgePrompt:
    parse = parser_of(
        settings.get("fn_completion_parser") or "regex_parser", settings.get("completion_parser_kwargs") or {}
    )
    return JudgePrompt(
        messages=partial(messages, template),
        grade=counted_once(parse),
        options=ReplyOptions(
            tools=tuple(asked.get("tools", ())),
            tool_choice=asked.get("tool_choice"),
            top_logprobs=asked.get("top_logprobs") if asked.get("logprobs") else None,
        ),
        raw=_raw,
    )


def _service(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The built-in endpoint that the official code asks; none for its other clients and for weights on its disk."""
    if settings.get("fn_completions") != "openai_completions" or asked["model_name"].startswith("/"):
        return None
    address = asked.get("client_kwargs", {}).get("base_url", BUILT_IN["openai"].base_url)
    return next((name for name, endpoint in BUILT_IN.items() if endpoint.base_url == address), None)


def _role_and_name(header: str) -> tuple[Any, str | None]:
    """The role and the name in a mark's first line, e.g. `system name=example_user`."""
    if not header.startswith("system"):
        return header, None
    named = re.search(r"(?:^| )name=(\S*)", header.removeprefix("system"))
    return "system", named.group(1) if named else None


def _raw(answer: Answer) -> str:
    if not answer.logprobs:
        return written(answer)
    return orjson.dumps([dict(token) for token in answer.logprobs]).decode()
