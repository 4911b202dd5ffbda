"""What `moa eval run`, `generate` and `latency` do once their command line is understood."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from moa._cli.console import say
from moa._cli.eval_options import SystemOptions
from moa._cli.eval_progress import watching
from moa._cli.exit_codes import COMPLETE, FAILED, INTERRUPTED, STOPPED
from moa._cli.handlers.eval_output import (
    say_jobs_go_on,
    show_cost,
    show_ended,
    show_judge,
    show_latency,
    show_plan,
    show_report,
    show_warnings,
)
from moa._cli.interrupts import stoppable
from moa._cli.mixture_option import resolve_mixture
from moa._config.settings import Settings, load_settings
from moa._mixture.schema import Mixture, Tier
from moa._pricing.price import Price
from moa._runtime.gc_tuning import reduced_gc
from moa._runtime.health import require_ready
from moa._runtime.model_lists import lifecycle_notes
from moa.errors import UsageError
from moa.evaluation._data.datasets import ALPACA_EVAL
from moa.evaluation._metrics.stopping import Until
from moa.evaluation._pipeline import OnProgress, carry_out
from moa.evaluation._runner.cost_estimate import plan_rest
from moa.evaluation._runner.preparing import Options, prepare
from moa.evaluation._runner.run_directory import RunDirectory

T = TypeVar("T")


def read_until(text: str) -> Until:
    """Return when an evaluation is to stop.

    Raises:
        UsageError: The text names no such moment.
    """
    known: tuple[Until, ...] = get_args(Until)
    for until in known:
        if until == text:
            return until
    raise UsageError(f"--until {text}: give {', '.join(known)}")


def read_named(option: str, form: str, given: Sequence[str] | None) -> dict[str, str]:
    """Return what is given as `NAME=VALUE`, by name.

    Args:
        option: Which takes it.
        form: How it is to be given.
        given: All of it.

    Raises:
        UsageError: One is given otherwise, or a name twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, _, value = text.partition("=")
        if not (name and value):
            raise UsageError(f"{option} {text}: give {form}")
        if name in found:
            raise UsageError(f"{option} {text}: {name} was given already")
        found[name] = value
    return found


def read_outputs(given: Sequence[str] | None) -> Mapping[str, Path]:
    """Return files of outputs by name; errors as in `read_named`."""
    form = "NAME=FILE, e.g. --outputs sonnet=sonnet.json"
    return {name: Path(path) for name, path in read_named("--outputs", form, given).items()}


def read_mixtures(
    given: Sequence[str], overrides: Sequence[str], config: Path | None, *, others: bool, tier: Tier | None = None
) -> list[Mixture]:
    """Return the mixtures of the command line; the default one if there is nothing else to evaluate.

    Raises:
        UsageError: `--set` is given with several.
        MixtureError: One of them can't be used.
    """
    if len(given) > 1 and overrides:
        raise UsageError("--set changes one mixture: give several mixtures as files")
    if not given and others:
        return []
    return [resolve_mixture(name, None, overrides, config=config, tier=tier) for name in given or (None,)]


def read_prices(given: Sequence[str] | None) -> Mapping[str, Price]:
    """Return prices of outputs by name; errors as in `read_named` and `read_price`."""
    form = "NAME=IN,OUT, e.g. --outputs-price mixture=0.25,1.25"
    found = read_named("--outputs-price", form, given).items()
    return {name: read_price(f"--outputs-price {name}={rates}", rates) for name, rates in found}


def read_price(option: str, text: str) -> Price:
    """Return the price that two figures give, `IN,OUT`.

    Raises:
        UsageError: They are no prices.
    """
    try:
        rates = [Decimal(part) for part in text.split(",")]
    except InvalidOperation:
        rates = []
    if len(rates) != 2 or not all(rate.is_finite() and rate >= 0 for rate in rates):
        raise UsageError(f"{option}: give two prices per million tokens, input and output, e.g. 3,15")
    return Price(input=rates[0], output=rates[1])


_READ: Mapping[str, Callable[[Any], Any]] = {
    "outputs": read_outputs,
    "outputs_price": read_prices,
    "baseline_price": lambda given: None if given is None else read_price(f"--baseline-price {given}", given),
    "measure": lambda given: (given,) if isinstance(given, str) else given or (),
    "annotations": lambda given: given or (),
    "judge_orders": lambda given: None if given is None else given.value,
    "until": read_until,
    "tier": lambda given: None if given is None else given.value,
}
"""How a value of the command line is read, where it is not taken as it is."""

_NAMES = {"outputs_price": "outputs_prices", "measure": "measures", "budget": "budget_usd"}
"""What an option of the command line is called in `Options`, where the names differ."""


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options of an evaluation or a search, out of those of its command line.

    Raises:
        UsageError: One of them makes no sense.
        ConfigError: The configuration can't be used.
    """
    values = {_NAMES.get(name, name): _READ[name](value) if name in _READ else value for name, value in given.items()}
    if "judge" in given:
        judge, models = given["judge"], given["judge_model"] or None
        if not judge and not models and not given.get("measure") and not given.get("annotations"):
            settings = load_settings(given["config"])
            judge, models = settings.default_judge or "pairwise", settings.default_judge_model
        # Without a model: the judge's own, or one that suits the comparison.
        values |= {"judge": judge or ("pairwise" if models else None), "judge_model": models}
    return cast(Options, {name: value for name, value in values.items() if name in Options.__annotations__})


def evaluate(prompts: str, given: SystemOptions, *, latency: bool = False) -> int:
    """Plan an evaluation or carry it out, show what came of it, and return the exit code.

    Args:
        prompts: What to evaluate on.
        given: The options of `moa eval run`, `generate` or `latency`.
        latency: Whether each system is asked by itself, and only cost and latency are shown.

    Raises:
        MoaError: It can't be done.
    """
    out, plan_only, as_json = given["out"], given["plan"], given["as_json"]
    options = read_options(given)
    if latency:
        options["cached"] = False
    mixtures = read_mixtures(
        given["mixture"] or (),
        given["overrides"] or (),
        given["config"],
        others=bool(given["outputs"]),
        tier=options.get("tier"),
    )
    if out is None and not plan_only:
        raise UsageError("give the folder for the results: --out runs/NAME")
    _require_baseline_of_run(prompts, given)
    spec = prepare(prompts, mixtures, **options)
    if options.get("judge") and not options.get("judge_model"):
        show_judge(spec)
    if out is None or plan_only:
        show_plan(plan_rest(spec, out), as_json=as_json)
        return COMPLETE
    show_warnings(spec)
    asyncio.run(check_models(set(spec.models), load_settings(options.get("config"))))
    done = until_interrupted(partial(carry_out, spec, out), out)
    if done is None:
        return INTERRUPTED
    show_ended(done, spec)
    if latency:
        show_latency(done.folder, as_json=as_json)
    elif spec.is_judged and not (done.ended == "budget" and done.is_fruitless):
        show_report(done.folder, spec, data_dir=options.get("data_dir"), as_json=as_json)
    elif not done.is_fruitless and not spec.is_judged:
        show_cost(done.folder, spec.candidate.name, as_json=as_json)
    if done.ended == "budget":
        return STOPPED
    return FAILED if done.is_fruitless else COMPLETE


def _require_baseline_of_run(prompts: str, given: SystemOptions) -> None:
    """Make sure that what joins a run is compared as the rest of it."""
    folder = None if given["out"] is None else RunDirectory(given["out"])
    if folder is None or not folder.exists or "judge" not in given or given["baseline"] or prompts == ALPACA_EVAL:
        return
    protocol = folder.manifest().protocol
    if protocol.baseline is None:
        return
    words = [f"--baseline {protocol.baseline}", *(f"--measure {one}" for one in protocol.measures)]
    if protocol.judge is not None:
        words += [f"--judge {protocol.judge.name.partition('@')[0]}"]
        words += [f"--judge-model {model}" for model in protocol.judge.models]
    raise UsageError(f"{folder.path} compares with a baseline: give {' '.join(words)} as before, or another --out")


async def check_models(references: Collection[str], settings: Settings) -> None:
    """Make sure that models can be asked, and tell which of them are gone or will be.

    Raises:
        ConfigError: An endpoint lacks what it needs.
    """
    await require_ready(references, settings)
    say((f"warning: {note}" for note in await lifecycle_notes(references, settings)), style="yellow")


def until_interrupted(work: Callable[[OnProgress], Coroutine[Any, Any, T]], out: Path) -> T | None:
    """Do it in an event loop of its own; None if the user pressed Ctrl-C, and what that leaves is said.

    Args:
        work: Fills a run directory; it is given what hears of its progress.
        out: The run directory.
    """
    try:
        with watching() as watch, reduced_gc():
            return asyncio.run(stoppable(work(watch)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(f"interrupted: the results so far are saved; the same command with --out {out} continues", style="yellow")
        if (jobs := RunDirectory(out).verdict_jobs).exists():
            say_jobs_go_on(jobs.with_suffix(""))
        return None
