"""From what a user asks for to what is evaluated: prompts, systems, judge, and how."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from moa._config.settings import Settings, load_settings
from moa._mixture.loading import load
from moa._mixture.schema import Mixture, Tier
from moa._pricing.price import Price
from moa._runtime.engine import MixtureLike
from moa.errors import EvaluationDataError, UsageError
from moa.evaluation._data.datasets import ALPACA_EVAL, Instruction, digest, load_instructions
from moa.evaluation._data.huggingface import hub_file, reference_folder
from moa.evaluation._data.outputs import Output
from moa.evaluation._data.reference_data import BASELINE, AlpacaEvalData, load_alpaca_eval_data
from moa.evaluation._judges.base import Judge
from moa.evaluation._judges.checks import checked
from moa.evaluation._judges.default_model import default_judge_model
from moa.evaluation._judges.loading import ASKS_ANY_MODEL, Orders, load_judge
from moa.evaluation._judges.stored import StoredVerdicts, stored_judge, stored_verdicts
from moa.evaluation._measures.base import Measure, require_rows
from moa.evaluation._measures.registry import load_measure
from moa.evaluation._metrics.stopping import MIN_PROMPTS as LOOKED_AT_FROM
from moa.evaluation._metrics.stopping import Until
from moa.evaluation._runner.manifest import PromptsEntry
from moa.evaluation._runner.pricing import require_known, require_worst_cases
from moa.evaluation._runner.spec import Spec
from moa.evaluation._runner.systems import (
    REFERENCES,
    System,
    baseline_of,
    check_names,
    matched,
    outputs_of,
    parts_of,
    sides_of,
)
from moa.providers._base import Provider

BASELINE_FILE = "alpaca_eval_gpt4_baseline.json"
"""The hub's file with the outputs of the leaderboard's baseline."""

HEAD_TO_HEAD = "none"
"""As a reference: judge against the baseline itself, on AlpacaEval's prompts too."""

_AS_GIVEN = ("providers", "seed", "concurrency", "budget_usd", "until", "margin", "rejudge", "half_price", "data_dir")
"""Options that a spec has as they are given, and with its defaults."""

Candidates = MixtureLike | Sequence[MixtureLike] | None
"""A mixture; or several, of which the verdict is about the first; None if outputs were given."""

Prompts = str | Path | Sequence[str | Mapping[str, Any]]
"""A dataset's name, a file's path, or the prompts themselves; see `load_instructions`."""


class Options(TypedDict, total=False):
    """What an evaluation takes besides prompts and mixture.

    Attributes:
        baseline: What the mixture is compared with: a model reference, a mixture, the path of an outputs file, or
            `reference` for the dataset's own answers. For `alpaca_eval` the leaderboard's baseline unless given.
        baseline_price: US dollars per million tokens of a baseline that is a model or a file.
        baseline_max_tokens: The most tokens that a baseline that is a model writes; a budget needs to know it.
        reference: An outputs file against which both mixture and baseline are judged; they are then compared by
            their difference. For `alpaca_eval` the leaderboard's baseline unless given; `none` judges head to head.
        measures: Measures of one output, by `NAME` or `NAME:ARGUMENT`; the verdict rests on the first one.
        judge: A judge or its name; None judges nothing.
        judge_model: The model, or models, that a judge asks in place of its own. `pairwise` and `arena_hard` have none:
            unless given, a capable model of a maker that is on neither side, at an endpoint that is used anyway.
        judge_temperature: In place of the judge's own.
        judge_max_tokens: The most that the judge writes about a pair, thoughts included.
        judge_orders: Whether the judge is shown each pair in `one` order or in `both`, in place of its own way.
        judge_checks: Whether the judge is tried before anything is bought, shown the other order of some pairs if it is
            shown one only, and shown some control pairs.
        rejudge: Whether every pair is judged once more.
        half_price: Whether judges and measures ask by file jobs of the services' batch APIs: half the price, in hours.
            Answers are asked for at once, as their times are measured.
        self_moa: A member, `aggregator` or a model reference for a Self-MoA of the same shape; see `parts_of`.
        selection: Whether the aggregator also picks one of layer 1's proposals.
        leave_one_out: Whether it also answers from the same proposals without each proposer's in turn.
        shuffled: Whether it also answers from the same proposals in the reverse order.
        annotations: Files of annotations in AlpacaEval's format, whose verdicts count as the judge's; a judge is then
            asked about other pairs only, and none is needed.
        outputs: Files of outputs in AlpacaEval's format, by the name of the system whose they are.
        outputs_prices: US dollars per million tokens of these systems, by name.
        cached: Whether systems that ask the same share the reply, so that members cost nothing; if not, each is asked
            alone.
        data_dir: A folder with AlpacaEval's files, to be read in place of the hub.
        limit: Only the first so many prompts.
        sample: Only so many prompts, drawn at random by category.
        seed: Of the sample, the order, and all that is asked.
        concurrency: Answers and verdicts under way at once.
        budget_usd: US dollars for all sessions together.
        until: `all`; `decided` stops once it is known whether the mixture is better, as good or worse, by the measure
            that the verdict rests on or else the judge, and whether a single model would do; `good-enough` once it is
            known whether it is worse by the margin.
        margin: Percentage points by which the mixture may be worse and still be comparable.
        config: Path of a `moa.yaml`.
        settings: Ready-made settings in place of a file.
        tier: Service tier of all calls whose agent names none: `flex` is cheaper and slower.
        providers: Providers in place of those of the settings, by endpoint name.
    """

    baseline: str | Path | Mixture | None
    baseline_price: Price | None
    baseline_max_tokens: int | None
    reference: str | Path | None
    measures: Sequence[str | Measure]
    judge: str | Judge | None
    judge_model: str | Sequence[str] | None
    judge_temperature: float | None
    judge_max_tokens: int | None
    judge_orders: Orders | None
    judge_checks: bool
    rejudge: bool
    half_price: bool
    self_moa: str | None
    selection: bool
    leave_one_out: bool
    shuffled: bool
    annotations: Sequence[str | Path]
    outputs: Mapping[str, str | Path]
    outputs_prices: Mapping[str, Price]
    cached: bool
    data_dir: Path | None
    limit: int | None
    sample: int | None
    seed: int
    concurrency: int
    budget_usd: float | None
    until: Until
    margin: float
    config: str | Path | None
    settings: Settings | None
    tier: Tier | None
    providers: Mapping[str, Provider]


def prepare(prompts: Prompts, mixture: Candidates, **options: Unpack[Options]) -> Spec:
    """Return an evaluation that can begin; nothing has been bought.

    Args:
        prompts: What to evaluate on.
        mixture: What to evaluate: the verdict is about the first one, or about the first of the given outputs.
        **options: See `Options`.

    Raises:
        MoaError: Something can't be used as it is; it says what and why.
    """
    data_dir = options.get("data_dir")
    instructions = load_instructions(prompts, **_given(options, "data_dir", "limit", "sample", "seed"))
    candidates = _candidates(mixture, options)
    baseline, reference = _opponents(prompts, instructions, options)
    candidates = tuple(matched(system, instructions) for system in candidates)
    baseline, reference = (one and matched(one, instructions) for one in (baseline, reference))
    systems = (*candidates, *(system for system in (baseline, reference) if system is not None))
    check_names(systems)
    settings = _for_measuring(options.get("settings") or load_settings(options.get("config")))
    settings = settings.in_tier(options.get("tier"))
    judge = options.get("judge")
    if (judge is not None or options.get("annotations")) and baseline is None and reference is None:
        raise UsageError(
            "a judge compares with something: give --baseline (a model, a mixture or an outputs file), or a --measure "
            "in place of the judge"
        )
    if baseline is None and any(value is not None for value in _of_baseline(options).values()):
        raise UsageError("--baseline-price and --baseline-max-tokens are for a baseline: give --baseline, too")
    if isinstance(judge, str):
        judge = judge_of(judge, sides_of(systems), settings, options)
    checks_judge = judge is not None and options.get("judge_checks", True)
    if judge is not None and checks_judge:
        others = max(1, len(systems) - 1)
        judge = checked(judge, prompts=len(instructions), systems=others, seed=options.get("seed", 0))
    if options.get("annotations"):
        stored = stored_verdicts(options["annotations"])
        if judge is None:
            _require_stored(stored, candidates[0], reference or baseline)
        judge = stored_judge(stored, judge)
    measures = tuple(load_measure(one) if isinstance(one, str) else one for one in options.get("measures", ()))
    require_rows(measures, instructions)
    spec = Spec(
        instructions=instructions,
        prompts=PromptsEntry(
            source=str(prompts) if isinstance(prompts, str | Path) else "given",
            count=len(instructions),
            sha256=digest(instructions),
            **_given(options, "limit", "sample"),
        ),
        systems=systems,
        candidate=candidates[0],
        baseline=baseline,
        opponent=reference or baseline,
        judge=judge,
        settings=settings,
        measures=measures,
        shares_replies=options.get("cached", True),
        checks_judge=checks_judge,
        data=_reference_data(prompts, data_dir) if options.get("until", "all") != "all" else None,
        **_given(options, *_AS_GIVEN),
    )
    _require_sensible(spec)
    require_known(settings, spec.models, spec.providers)
    if spec.budget_usd is not None:
        require_worst_cases(settings, spec.mixtures, spec.judging_models)
    if spec.half_price:
        require_batch_api(spec.judging_models, settings)
    return spec


def _given(options: Options, *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _require_stored(stored: StoredVerdicts, candidate: System, opponent: System | None) -> None:
    """Make sure that there is a verdict on given outputs, where nobody can be asked."""
    if candidate.outputs is None or opponent is None or opponent.outputs is None:
        return
    theirs, ours = opponent.outputs, candidate.outputs
    if not any(stored.find(text, theirs[text].output, ours[text].output) for text in theirs.keys() & ours.keys()):
        raise EvaluationDataError(
            f"the annotations have no verdict on any output of {candidate.name} beside {opponent.name}'s: they are of "
            "other outputs, or of other prompts"
        )


def judge_of(name: str, sides: Mapping[str, Sequence[str]], settings: Settings, options: Options) -> Judge:
    """Return a judge by its name; where it asks any model and none is given, that of a maker that is on no side.

    Args:
        name: See `load_judge`.
        sides: See `sides_of`.
        settings: The endpoints.
        options: How it judges: those whose names begin with `judge_`.

    Raises:
        MoaError: It can't be used, or no model suits.
    """
    models = options.get("judge_model")
    if not models and name in ASKS_ANY_MODEL:
        models = default_judge_model(sides, settings)
    return load_judge(
        name,
        judge_model=models,
        temperature=options.get("judge_temperature"),
        max_tokens=options.get("judge_max_tokens"),
        orders=options.get("judge_orders"),
    )


def _candidates(mixture: Candidates, options: Options) -> tuple[System, ...]:
    """The mixtures, the first one with its parts, and the systems whose outputs were given."""
    several = mixture if isinstance(mixture, list | tuple) else () if mixture is None else (mixture,)
    whole = [load(one) for one in several]
    shapes = _given(options, "self_moa", "selection", "leave_one_out", "shuffled")
    parts = parts_of(whole[0], **shapes) if whole else ()
    others = (System(name=one.name, role="mixture", mixture=one) for one in whole[1:])
    files, prices = options.get("outputs", {}), options.get("outputs_prices", {})
    if stray := sorted(prices.keys() - files.keys()):
        raise UsageError(f"--outputs-price {stray[0]}=…: there is no --outputs {stray[0]}=FILE")
    given = (outputs_of(Path(path), role="outputs", name=name, price=prices.get(name)) for name, path in files.items())
    found = (*parts, *others, *given)
    if not found:
        raise UsageError("there is nothing to evaluate: give a mixture (--mixture), or outputs (--outputs NAME=FILE)")
    return found


def _opponents(
    prompts: Prompts, instructions: Sequence[Instruction], options: Options
) -> tuple[System | None, System | None]:
    """The baseline, and the third system against which both sides are judged; None where there is none."""
    reference, judging = options.get("reference"), options.get("judge") is not None or bool(options.get("annotations"))
    baseline = _baseline(instructions, options)
    if reference is not None and reference != HEAD_TO_HEAD:
        third = baseline_of(reference, role="reference")
        if third.outputs is None:
            raise UsageError(
                f"--reference {reference}: give an outputs file, it is what all systems are judged against"
            )
        return baseline, third
    has_official, data_dir = prompts == ALPACA_EVAL and judging, options.get("data_dir")
    official = _official(data_dir) if has_official else None
    if baseline is None and has_official and official is None:
        raise UsageError(
            f"--data-dir {data_dir} has no {BASELINE_FILE}, the baseline of AlpacaEval: put it there, "
            "or give another one by --baseline"
        )
    if baseline is None:
        return (None if official is None else baseline_of(official, **_of_baseline(options))), None
    if official is None or reference == HEAD_TO_HEAD or baseline.name == BASELINE:
        return baseline, None
    return baseline, baseline_of(official, role="reference")


def _reference_data(prompts: Prompts, data_dir: Path | None) -> AlpacaEvalData | None:
    """What the official length control needs, where it may be the one to use."""
    if data_dir is None and prompts != ALPACA_EVAL:
        return None
    return load_alpaca_eval_data(data_dir or reference_folder())


def _official(data_dir: Path | None) -> Path | None:
    if data_dir is None:
        return hub_file(BASELINE_FILE)
    path = data_dir / BASELINE_FILE
    return path if path.is_file() else None


def _of_baseline(options: Options) -> dict[str, Any]:
    return {"price": options.get("baseline_price"), "max_tokens": options.get("baseline_max_tokens")}


def _baseline(instructions: Sequence[Instruction], options: Options) -> System | None:
    source = options.get("baseline")
    if source is None:
        return None
    if source != REFERENCES:
        return baseline_of(source, **_of_baseline(options))
    outputs = {
        one.text: Output(instruction=one.text, output=one.reference, generator=REFERENCES)
        for one in instructions
        if one.reference
    }
    if not outputs:
        raise UsageError("--baseline reference: no prompt of this dataset comes with a reference answer")
    return System(name=REFERENCES, role="baseline", outputs=outputs, price=options.get("baseline_price"))


def _require_sensible(spec: Spec) -> None:
    if spec.until != "all" and (spec.baseline is None or not spec.is_judged):
        raise UsageError(f"--until {spec.until} needs a --baseline, and a --judge or a --measure to compare with it")
    if spec.until != "all" and len(spec.instructions) < LOOKED_AT_FROM:
        raise UsageError(
            f"--until {spec.until} looks after {LOOKED_AT_FROM} prompts for the first time, and there are "
            f"{len(spec.instructions)}: leave it out, or take more prompts"
        )
    if spec.concurrency < 1:
        raise UsageError(f"--concurrency is a number from 1, not {spec.concurrency}")
    if spec.margin <= 0:
        raise UsageError(f"--margin is a number above 0, not {spec.margin:g}")
    if spec.budget_usd is not None and spec.budget_usd <= 0:
        raise UsageError(f"--budget is a number above 0, not {spec.budget_usd:g}")


def require_batch_api(models: Iterable[str], settings: Settings) -> None:
    """Check that one of the models that judge has an endpoint with a batch API.

    Raises:
        UsageError: None has.
    """
    names = {reference.partition("/")[0] for reference in models}
    if not any(name in settings.endpoints and settings.endpoints[name].batch for name in names):
        raise UsageError(
            f"--half-price is for judges whose endpoint has a batch API; {', '.join(sorted(names)) or 'no judge'} has "
            "none that is known here: if it has one, set `batch: true` for the endpoint in moa.yaml"
        )


def _for_measuring(settings: Settings) -> Settings:
    """Without breakers, as every prompt counts; without the user's cache, as its times mean nothing."""
    endpoints = {name: replace(endpoint, breaker=None) for name, endpoint in settings.endpoints.items()}
    return replace(settings, endpoints=endpoints, cache=replace(settings.cache, mode="off"))
