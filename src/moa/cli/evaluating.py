"""What `moa eval run`, `generate` and `latency` do once their command line is understood."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import get_args

from moa.cli.chosen import chosen_mixture
from moa.cli.collector import collecting_seldom
from moa.cli.evaluated import show_ended, show_latency, show_plan, show_report, show_warnings
from moa.cli.evaluation_progress import watching
from moa.cli.exits import COMPLETE, FAILED, INTERRUPTED, STOPPED
from moa.cli.interrupts import stoppable
from moa.cli.terminal import say
from moa.errors import UsageError
from moa.evaluation.evaluating import Evaluation, carry_out
from moa.evaluation.running.planning import plan_rest
from moa.evaluation.running.preparing import CONCURRENCY, Options, Prepared, prepare
from moa.evaluation.running.setup import Until
from moa.evaluation.statistics.inference import MARGIN
from moa.rates import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asks for; see the options of `moa eval run`."""

    prompts: str
    mixture: str | None
    overrides: tuple[str, ...]
    out: Path | None
    baseline: str | None = None
    baseline_price: str | None = None
    reference: str | None = None
    judge: str | None = None
    judge_models: tuple[str, ...] = ()
    self_moa: str | None = None
    selection: bool = False
    leave_one_out: bool = False
    shuffled: bool = False
    cached: bool = True
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    concurrency: int = CONCURRENCY
    budget_usd: float | None = None
    until: str = "all"
    margin: float = MARGIN
    data_dir: Path | None = None
    config: Path | None = None

    def options(self) -> Options:
        """The wish as `prepare` takes it.

        Raises:
            UsageError: A value makes no sense.
        """
        return Options(
            baseline=self.baseline,
            baseline_price=_price(self.baseline_price),
            reference=self.reference,
            judge=self.judge,
            judge_model=self.judge_models or None,
            self_moa=self.self_moa,
            selection=self.selection,
            leave_one_out=self.leave_one_out,
            shuffled=self.shuffled,
            cached=self.cached,
            data_dir=self.data_dir,
            limit=self.limit,
            sample=self.sample,
            seed=self.seed,
            concurrency=self.concurrency,
            budget_usd=self.budget_usd,
            until=_until(self.until),
            margin=self.margin,
            config=self.config,
        )


def _until(text: str) -> Until:
    known: tuple[Until, ...] = get_args(Until)
    for until in known:
        if until == text:
            return until
    raise UsageError(f"--until {text}: give {', '.join(known)}")


def _price(text: str | None) -> Price | None:
    if text is None:
        return None
    try:
        rates = [Decimal(part) for part in text.split(",")]
    except InvalidOperation:
        rates = []
    if len(rates) != 2 or not all(rate.is_finite() and rate >= 0 for rate in rates):
        raise UsageError(f"--baseline-price {text}: give two prices per million tokens, input and output, e.g. 3,15")
    return Price(input=rates[0], output=rates[1])


def answer_wish(wish: Wish, *, plan_only: bool, as_json: bool, latency: bool = False) -> int:
    """Plan or do it, show what came of it, and return the exit code.

    Raises:
        MoaError: It can't be done.
    """
    if wish.out is None and not plan_only:
        raise UsageError("give the folder for the results: --out runs/NAME")
    prepared = prepare(wish.prompts, chosen_mixture(wish.mixture, None, wish.overrides), **wish.options())
    if plan_only:
        show_plan(plan_rest(prepared, wish.out), as_json=as_json)
        return COMPLETE
    show_warnings(prepared)
    done = _carry_out(prepared, wish.out or Path())
    if done is None:
        say(f"interrupted: what was written down stays; the same command with --out {wish.out} goes on", style="yellow")
        return INTERRUPTED
    show_ended(done, prepared.setup)
    if latency:
        show_latency(done.folder, prepared.setup, as_json=as_json)
    elif prepared.setup.judge is not None and not (done.ended == "budget" and done.is_fruitless):
        show_report(done.folder, prepared, data_dir=wish.data_dir, as_json=as_json)
    if done.ended == "budget":
        return STOPPED
    return FAILED if done.is_fruitless else COMPLETE


def _carry_out(prepared: Prepared, out: Path) -> Evaluation | None:
    """Do it in an event loop of its own; None if the user pressed Ctrl-C."""
    try:
        with watching() as watch, collecting_seldom():
            return asyncio.run(stoppable(carry_out(prepared, out, watch)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return None
