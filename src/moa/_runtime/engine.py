"""The engine: what many runs share, and how one run is asked for."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from moa._config.settings import Settings, load_settings
from moa._engine.forecast import Expectations, RemainingRun, RunForecast, total_usd, worst_case
from moa._engine.plan import Planner, RunOptions
from moa._engine.proposal_reuse import OwnedProposals, ProposalStore
from moa._engine.run import execute
from moa._engine.run_budget import require_priced
from moa._engine.stream import RunStream
from moa._ledger import Meter, Now
from moa._messages import Conversation, ImagePart, Message, ReplyOptions, Sampling, conversation
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._policies.budget import Budget, SpendingLimit
from moa._policies.cache.settings import CacheSettings
from moa._results import Answer
from moa._runtime.model_pool import ModelPool
from moa._state.memory import MemoryStore
from moa._state.opening import open_state
from moa._traces.recording import Recorder, Run
from moa.errors import UsageError
from moa.providers._base import Provider
from moa.providers._token_estimates import estimated_conversation_tokens

MixtureLike = Mixture | str | Path | Mapping[str, Any]
"""A mixture, the name of a preset, the path of a mixture file, or what such a file holds."""

Prompt = str | Sequence[Message | Mapping[str, Any]]
"""One user turn, or a whole conversation (messages, or mappings in the OpenAI API's shape)."""

_RENAMED = {"run": "arun", "stream": "astream"}


class Engine:
    """Runs mixtures from async code; holds what many runs share: connections, the embedded model, prices.

    ::

        async with moa.Engine() as engine:
            answers = await asyncio.gather(*(engine.arun("local", prompt) for prompt in prompts))

    An engine belongs to the event loop in which it is first used. Synchronous code calls `moa.run` and `moa.stream`.

    Args:
        config: Path of a `moa.yaml`; None looks in the usual places.
        settings: Ready-made settings in place of a file.
        providers: Providers in place of those of the settings, by endpoint name.
        budget_usd: US dollars for everything that this engine runs.
        cache: Where replies are kept, in place of what the settings say; a path alone is read and written.
        clock: Monotonic clock, in seconds.
        batch_jobs: Folder for file jobs: calls go to the batch APIs of the endpoints that have one, for half the price
            and with hours in place of seconds. An engine with the same folder collects what an earlier one has sent.

    Attributes:
        settings: The settings in use.
        budget: The engine's own budget, with what has been spent of it; None if none was set.
        state: Where limits and budgets are shared with other processes; None if they aren't.
        cache: Where replies are kept, and how they are used.
        batch_jobs: The folder of file jobs; None: all calls are made at once.

    Raises:
        ConfigError: The configuration can't be used.
        UsageError: Both `config` and `settings` are given, or the budget is not a positive amount.
    """

    def __init__(
        self,
        config: str | Path | None = None,
        *,
        settings: Settings | None = None,
        providers: Mapping[str, Provider] | None = None,
        budget_usd: float | Decimal | None = None,
        cache: CacheSettings | str | Path | None = None,
        clock: Now = time.perf_counter,
        batch_jobs: str | Path | None = None,
    ) -> None:
        if config is not None and settings is not None:
            raise UsageError("an engine takes `config`, the path of a settings file, or `settings`, not both")
        self.settings = load_settings(config) if settings is None else settings
        self.budget = None if budget_usd is None else Budget(_usd(budget_usd))
        self.state = None if self.settings.state is None else open_state(self.settings.state)
        on_failure = self.settings.state.on_failure if self.settings.state else "refuse"
        self._shared_budgets = [budget.open(self.state, on_failure) for budget in self.settings.budgets]
        if isinstance(cache, str | Path):
            cache = CacheSettings(path=Path(cache))
        self.batch_jobs = None if batch_jobs is None else Path(batch_jobs)
        self.cache = cache or self.settings.cache
        self._models = ModelPool(self.settings, providers or {}, clock, self.cache, self.state, self.batch_jobs)
        self._planner = Planner(self._models)
        self._turns = self.state or MemoryStore()
        self._clock = clock

    if not TYPE_CHECKING:  # type checkers are to see that these methods don't exist

        def __getattr__(self, name: str) -> Any:
            """Say what the synchronous names are called here."""
            if name in _RENAMED:
                instead = f"`engine.{_RENAMED[name]}(...)`, or `moa.{name}(...)` in synchronous code"
                raise AttributeError(f"an Engine has no {name!r}, as it is async only: use {instead}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    async def arun(
        self,
        mixture: MixtureLike,
        prompt: Prompt,
        *,
        system: str | None = None,
        images: Sequence[ImagePart] = (),
        seed: int | None = None,
        deadline_s: float | None = None,
        budget_usd: float | Decimal | None = None,
        shared_budget: SpendingLimit | None = None,
        options: ReplyOptions | None = None,
        sampling: Sampling | None = None,
        trace: str | Path | None = None,
        owner: str = "",
        cache_scope: str = "",
    ) -> Answer:
        """Run a mixture and return its answer.

        Args:
            mixture: A `Mixture`, a preset's name, a file's path, or a mapping.
            prompt: Text, or a conversation.
            system: A system message to put in front of the conversation.
            images: Images for the last user turn.
            seed: Makes a run repeatable where services take seeds; each sample gets its own seed derived from it.
            deadline_s: Seconds for the whole run; the mixture's own deadline holds too.
            budget_usd: US dollars for the whole run; the mixture's own budget holds too.
            shared_budget: A budget that this run shares with others; the engine's own holds too.
            options: Tools, response format and the like, for the aggregator.
            sampling: Parameters that override the aggregator's own.
            trace: A file to write the run to, as `moa trace show` and `moa trace replay` read it; it holds no secrets.
            owner: Whose run it is: the steps of a tool loop reuse proposals of the same owner's runs only.
            cache_scope: Stored replies of runs with the same scope only are used; "" for those without one.

        Raises:
            MixtureError: The mixture can't be used.
            ConfigError: An endpoint can't be used.
            UsageError: The conversation or an argument makes no sense.
            EngineError: The run failed; its ledger says what was spent.
        """
        run, _ = self._prepare(
            mixture,
            conversation(prompt, system=system, images=images),
            _run_options(seed, deadline_s, budget_usd, options, sampling, cache_scope=cache_scope),
            shared_budget,
            trace,
            OwnedProposals(self._turns, owner),
        )
        return await run(None)

    def astream(
        self,
        mixture: MixtureLike,
        prompt: Prompt,
        *,
        system: str | None = None,
        images: Sequence[ImagePart] = (),
        seed: int | None = None,
        deadline_s: float | None = None,
        budget_usd: float | Decimal | None = None,
        shared_budget: SpendingLimit | None = None,
        options: ReplyOptions | None = None,
        sampling: Sampling | None = None,
        trace: str | Path | None = None,
        owner: str = "",
        cache_scope: str = "",
        proposal_deltas: bool = True,
        answer_deltas: bool = True,
    ) -> RunStream:
        """Return a run as a stream of events, to be entered with `async with`.

        Takes what `arun` takes, and:

        Args:
            mixture: A `Mixture`, a preset's name, a file's path, or a mapping.
            prompt: Text, or a conversation.
            system: As in `arun`, like all that follow here up to `owner`.
            images: As in `arun`.
            seed: As in `arun`.
            deadline_s: As in `arun`.
            budget_usd: As in `arun`.
            shared_budget: As in `arun`.
            options: As in `arun`.
            sampling: As in `arun`.
            trace: As in `arun`.
            owner: As in `arun`.
            cache_scope: As in `arun`.
            proposal_deltas: Whether proposals are yielded piece by piece.
            answer_deltas: Whether the answer is; if not, services may be asked in a cheaper way.

        Raises:
            MixtureError, ConfigError, UsageError: As in `arun`; failures of the run come from the iteration.
        """
        run, meter = self._prepare(
            mixture,
            conversation(prompt, system=system, images=images),
            _run_options(
                seed,
                deadline_s,
                budget_usd,
                options,
                sampling,
                proposal_deltas=proposal_deltas,
                answer_deltas=answer_deltas,
                cache_scope=cache_scope,
            ),
            shared_budget,
            trace,
            OwnedProposals(self._turns, owner),
        )
        return RunStream(run, meter)

    async def aforecast(self, mixture: MixtureLike, prompt: Prompt) -> RunForecast:
        """Return what a run would take at most and as expected, each planned call made once; nothing is sent.

        Args:
            mixture: As in `arun`.
            prompt: Text, or a conversation.

        Raises:
            MixtureError: The mixture can't be used.
            ConfigError: An endpoint can't be used.
            UsageError: The conversation makes no sense, or a budget of this engine could not be kept with the mixture.
        """
        plan = self._planner.plan(load(mixture), RunOptions())
        await self._models.prices_ready()
        if self.budget is not None or self._shared_budgets:
            require_priced(plan)
        messages = conversation(prompt)
        worst = worst_case(plan, RemainingRun(layers=plan.layers, conversation=messages), plan.layers)
        is_bounded = all(call.slot.sampling.max_tokens is not None for call in worst)
        expected = self.expectations.calls(plan, estimated_conversation_tokens(messages))
        return RunForecast(
            expected=tuple(expected),
            worst_usd=total_usd(worst) if is_bounded else None,
            expected_usd=total_usd(call for calls in expected for call in calls),
        )

    @cached_property
    def expectations(self) -> Expectations:
        """What replies are expected to be like: as those that were measured before this engine was first asked."""
        return self._models.expectations

    def _prepare(
        self,
        mixture: MixtureLike,
        messages: Conversation,
        options: RunOptions,
        shared_budget: SpendingLimit | None,
        trace: str | Path | None,
        proposals: ProposalStore,
    ) -> tuple[Run, Meter]:
        budgets = [budget for budget in (self.budget, *self._shared_budgets, shared_budget) if budget is not None]
        checked = load(mixture)
        if trace is None:
            plan = self._planner.plan(checked, options)
            # The clock starts when all is loaded: what a process does once is no part of a run's latency.
            meter = Meter(self._clock)
            return partial(execute, plan, messages, self._models, budgets, meter, proposals=proposals), meter
        meter = Meter(self._clock)
        recorder = Recorder(Path(trace), meter, self.settings.endpoints)
        models = recorder.capturing(self._models)
        plan = Planner(models).plan(checked, options)
        run = partial(execute, plan, messages, models, budgets, meter, proposals=recorder.found(proposals))
        return recorder.recorded(run, plan, messages), meter

    def watch_batch_jobs(self, on_change: Callable[[int, int, int], None]) -> None:
        """Call a function whenever a batch job changes, with the number of jobs, their requests, and those processed.

        Args:
            on_change: The function.
        """

        def report() -> None:
            running = self._models.running_jobs
            done = sum(status.done or 0 for _, status in running if status is not None)
            on_change(len(running), sum(job.requests for job, _ in running), done)

        self._models.on_batch_jobs = report

    def remove_batch_jobs(self) -> None:
        """Remove the folder of file jobs when the engine is closed: all replies in it were used."""
        self._models.remove_batch_jobs()

    async def aclose(self) -> None:
        """Close all connections."""
        self._planner.forget()
        await self._models.aclose()
        for budget in self._shared_budgets:
            await budget.aclose()
        if self.state is not None:
            await self.state.aclose()

    async def __aenter__(self) -> Self:
        """The engine itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.aclose()


def _run_options(
    seed: int | None,
    deadline_s: float | None,
    budget_usd: float | Decimal | None,
    options: ReplyOptions | None,
    sampling: Sampling | None,
    *,
    proposal_deltas: bool = False,
    answer_deltas: bool = False,
    cache_scope: str = "",
) -> RunOptions:
    """What is asked of a run, checked.

    Raises:
        UsageError: An argument makes no sense.
    """
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UsageError(f"a seed is a whole number, not {seed!r}")
    if deadline_s is not None and not (isinstance(deadline_s, int | float) and 0 < deadline_s < math.inf):
        raise UsageError(f"a deadline is a positive number of seconds, not {deadline_s!r}")
    return RunOptions(
        seed=seed,
        deadline_s=deadline_s,
        budget_usd=None if budget_usd is None else _usd(budget_usd),
        reply=_checked(options, ReplyOptions, "options") or ReplyOptions(),
        sampling=_checked(sampling, Sampling, "sampling"),
        proposal_deltas=proposal_deltas,
        answer_deltas=answer_deltas,
        cache_scope=cache_scope,
    )


Kind = TypeVar("Kind")


def _checked(value: Kind | None, kind: type[Kind], name: str) -> Kind | None:
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{name} is {type(value).__name__}: give moa.{kind.__name__}(...)")
    return value


def _usd(amount: float | Decimal) -> Decimal:
    """An amount as users write it: 0.01 means one cent, not the nearest binary fraction."""
    try:
        usd = Decimal(str(amount))
    except InvalidOperation:
        raise UsageError(f"a budget is a number of US dollars, not {amount!r}") from None
    if not (usd.is_finite() and usd > 0):
        raise UsageError(f"a budget of {amount} US dollars makes no sense: give a positive amount")
    return usd
