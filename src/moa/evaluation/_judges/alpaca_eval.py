"""AlpacaEval's own judges, out of the prompt templates and settings that its package ships."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from moa._config.builtin_endpoints import BUILT_IN
from moa._messages import Message, ReplyOptions
from moa._mixture.loading import single
from moa._mixture.schema import Mixture
from moa._results import Answer
from moa._runtime.engine import Engine
from moa._validation.suggestions import did_you_mean
from moa.errors import EvaluationDataError
from moa.evaluation._data.alpaca_eval_package import package_folder
from moa.evaluation._data.annotations import DRAW
from moa.evaluation._judges.base import Pair, Verdict
from moa.evaluation._judges.judge_calls import ask
from moa.evaluation._judges.parsers import Parser, parser_of, written

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """An evaluator of the package, as far as it can be run here.

    Attributes:
        name: As its folder is called.
        template: The prompt, in ChatML, with a place for the instruction and each output.
        model: The model that it asks.
        service: The endpoint's name, if it is one that is built in here.
        sampling: Fields of an agent.
        options: What to ask for besides text.
        parse: Reads a reply, in the order of showing.
        shuffles: Whether the outputs' order is random.
    """

    name: str
    template: str
    model: str
    service: str | None
    sampling: Mapping[str, Any]
    options: ReplyOptions
    parse: Parser
    shuffles: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlpacaEvalJudge:
    """Asks one model by an evaluator's prompt; equal outputs are a draw without asking.

    Attributes:
        evaluator: Prompt and parsing.
        model: The model to ask, as a mixture.
    """

    evaluator: Evaluator
    model: Mixture

    @property
    def name(self) -> str:
        """The evaluator's name, and the model's if it isn't the evaluator's own."""
        own = self.evaluator.name
        return own if self._is_original else f"{own}@{self.models[0]}"

    @property
    def models(self) -> tuple[str, ...]:
        """The model that it asks."""
        return (self.model.aggregator.model,)

    @property
    def comparable(self) -> bool:
        """Whether this is the leaderboard's judge, asking the leaderboard's model in the leaderboard's way."""
        asked = self.model.aggregator
        as_published = all(getattr(asked, key) == value for key, value in self.evaluator.sampling.items())
        return self.evaluator.name == OFFICIAL and self._is_original and as_published

    @property
    def shows_both(self) -> bool:
        """Never: the official code shows one order, by lot."""
        return False

    @property
    def _is_original(self) -> bool:
        reference = self.models[0]
        return reference.partition("/")[2] == self.evaluator.model or reference.endswith(f"/{self.evaluator.model}")

    async def judge(self, engine: Engine, pair: Pair, *, again: int = 0) -> Verdict:
        """Return the verdict on a pair; see `Judge.judge` for what it raises."""
        if pair.output_1 == pair.output_2:
            return Verdict(preference=DRAW)
        swapped = self.evaluator.shuffles and is_swapped(pair.instruction)
        shown = (pair.output_2, pair.output_1) if swapped else (pair.output_1, pair.output_2)
        reply = await ask(
            engine,
            self.model,
            messages(self.evaluator.template, pair.instruction, *shown),
            self.evaluator.parse,
            judge=self.name,
            options=self.evaluator.options,
            again=again,
            raw=_raw,
        )
        value = 3.0 - reply.value if swapped and reply.value is not None else reply.value
        return Verdict(
            preference=value,
            orders=(None, value) if swapped else (value, None),
            raw=(reply.raw,) if reply.raw else (),
            ledger=reply.ledger,
            seconds=reply.seconds,
            failure=reply.failure,
        )


def is_swapped(instruction: str, seed: int = SEED) -> bool:
    """Return whether the official code shows the system's output first for this instruction.

    Source:
        alpaca_eval, `processors.py` (`RandomSwitchTwoColumnsProcessor`), `utils.py` (`random_seeded_choice`).
    """
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


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


def load_evaluator(name: str) -> Evaluator:
    """Return an evaluator of the installed package.

    Args:
        name: Its folder's name.

    Raises:
        MissingDependency: The package isn't installed.
        EvaluationDataError: There is no such evaluator, or it can't be run here; the error says why.
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
        return _checked(name, yaml.safe_load((folder / name / "configs.yaml").read_text(encoding="utf-8")), folder)
    except EvaluationDataError as error:
        raise EvaluationDataError(f"the judge {name} can't be used: {error}") from error


def single_model(evaluator: Evaluator, reference: str | None, **sampling: float | int) -> Mixture:
    """Return the model that an evaluator asks, as a mixture.

    Args:
        evaluator: With its own model and sampling.
        reference: Another model to ask in its place.
        **sampling: Fields of an agent in place of the evaluator's.

    Raises:
        EvaluationDataError: Its own model is of a service that isn't built in.
        MixtureError: The reference is wrong.
    """
    if reference is None and evaluator.service is None:
        raise EvaluationDataError(
            f"the judge {evaluator.name} asks {evaluator.model} of a service that is not built in: "
            "say by --judge-model which model to ask"
        )
    return single(reference or f"{evaluator.service}/{evaluator.model}", **{**evaluator.sampling, **sampling})


def _checked(name: str, document: Mapping[str, Any], folder: Path) -> Evaluator:
    if len(document) != 1:
        raise EvaluationDataError(f"it is a pool of {len(document)} annotators")
    (settings,) = document.values()
    asked = settings.get("completions_kwargs", {})
    template = (folder / settings["prompt_template"]).read_text(encoding="utf-8")
    _refuse_unknown(settings, asked, template)
    return Evaluator(
        name=name,
        template=template,
        model=asked["model_name"],
        service=_service(settings, asked),
        # The official code's own defaults.
        sampling={
            "temperature": asked.get("temperature", 0.7),
            "top_p": asked.get("top_p", 1.0),
            "max_tokens": asked.get("max_tokens", asked.get("max_tokens_to_sample", 2048)),
        },
        options=ReplyOptions(
            tools=tuple(asked.get("tools", ())),
            tool_choice=asked.get("tool_choice"),
            top_logprobs=asked.get("top_logprobs") if asked.get("logprobs") else None,
        ),
        parse=parser_of(
            settings.get("fn_completion_parser") or "regex_parser", settings.get("completion_parser_kwargs") or {}
        ),
        shuffles=settings.get("is_randomize_output_order", True),
    )


def _service(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The built-in endpoint that the official code asks; none for its other clients and for weights on its disk."""
    if settings.get("fn_completions") != "openai_completions" or asked["model_name"].startswith("/"):
        return None
    address = asked.get("client_kwargs", {}).get("base_url", BUILT_IN["openai"].base_url)
    return next((name for name, endpoint in BUILT_IN.items() if endpoint.base_url == address), None)


def _refuse_unknown(settings: Mapping[str, Any], asked: Mapping[str, Any], template: str) -> None:
    unknown = set(asked) - _ASKED - _UNIMPORTANT
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
