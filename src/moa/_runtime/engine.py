"""The engine as users hold it: what many runs share, and how one run is asked for."""

import math
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from moa._config.settings import Settings, load_settings
from moa._engine.plan import Planner, RunOptions
from moa._engine.run import execute
from moa._engine.stream import RunStream
from moa._ledger import Meter, Now
from moa._messages import ImagePart, Message, ReplyOptions, Sampling, conversation
from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._policies.budget import Budget
from moa._policies.cache.settings import CacheSettings
from moa._results import Answer
from moa._runtime.model_pool import ModelPool
from moa._traces.recording import Recorder, Run
from moa._validation.suggestions import nearest
from moa.errors import UsageError
from moa.providers._base import Provider

MixtureLike = Mixture | str | Path | Mapping[str, Any]
"""A mixture, the name of a preset, the path of a mixture file, or what such a file holds."""

Prompt = str | Sequence[Message | Mapping[str, Any]]
"""One user turn, or a whole conversation (messages, or mappings in the OpenAI API's shape)."""


class RunArguments(TypedDict, total=False):
    """What every way of running takes besides the mixture and the prompt.

    Attributes:
        system: A system message to put in front of the conversation.
        images: Images for the last user turn.
        seed: Makes a run repeatable where services take seeds; each sample gets its own seed derived from it.
        deadline_s: Seconds for the whole run; the mixture's own deadline holds too.
        budget_usd: US dollars for the whole run; the mixture's own budget holds too.
        shared_budget: A budget that this run shares with others; the engine's own holds too.
        options: Tools, response format and the like, for the aggregator.
        sampling: Parameters that override the aggregator's own.
        trace: A file to write the run to, as `moa trace show` and `moa trace replay` read it; it holds no secrets.
    """

    system: str | None
    images: Sequence[ImagePart]
    seed: int | None
    deadline_s: float | None
    budget_usd: float | Decimal | None
    shared_budget: Budget | None
    options: ReplyOptions
    sampling: Sampling | None
    trace: str | Path | None


class Engine:
    """Runs mixtures; holds what many runs share: connections, the embedded model, prices.

    ::

        async with moa.Engine() as engine:
            answers = await asyncio.gather(*(engine.run("local", prompt) for prompt in prompts))

    An engine belongs to the event loop in which it is first used.

    Args:
        config: Path of a `moa.yaml`; None looks in the usual places.
        settings: Ready-made settings in place of a file.
        providers: Providers in place of those of the settings, by endpoint name.
        budget_usd: US dollars for everything that this engine runs.
        cache: Where replies are kept, in place of what the settings say; a path alone is read and written.
        clock: Monotonic clock, in seconds.

    Attributes:
        budget: The engine's own budget, with what has been spent of it; None if none was set.

    Raises:
        ConfigError: The configuration can't be used.
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
    ) -> None:
        self.settings = settings or load_settings(config)
        self.budget = None if budget_usd is None else Budget(_usd(budget_usd))
        kept = CacheSettings(path=Path(cache)) if isinstance(cache, str | Path) else cache or self.settings.cache
        self._models = ModelPool(self.settings, providers or {}, clock, kept)
        self._planner = Planner(self._models)
        self._clock = clock

    async def run(self, mixture: MixtureLike, prompt: Prompt, **arguments: Unpack[RunArguments]) -> Answer:
        """Run a mixture and return its answer.

        Args:
            mixture: A `Mixture`, a preset's name, a file's path, or a mapping.
            prompt: Text, or a conversation.
            **arguments: See `RunArguments`.

        Raises:
            MixtureError: The mixture can't be used.
            ConfigError: An endpoint can't be used.
            UsageError: The conversation or an option makes no sense.
            EngineError: The run failed; its ledger tells what was spent.
        """
        run, _ = self._prepare(mixture, prompt, arguments)
        return await run(None)

    def stream(
        self,
        mixture: MixtureLike,
        prompt: Prompt,
        *,
        proposal_deltas: bool = True,
        answer_deltas: bool = True,
        **arguments: Unpack[RunArguments],
    ) -> RunStream:
        """Return a run as a stream of events, to be entered with `async with`.

        Args:
            mixture: A `Mixture`, a preset's name, a file's path, or a mapping.
            prompt: Text, or a conversation.
            proposal_deltas: Whether proposals are told of piece by piece.
            answer_deltas: Whether the answer is; if not, services may be asked in a cheaper way.
            **arguments: See `RunArguments`.

        Raises:
            MixtureError, ConfigError, UsageError: As in `run`; failures of the run come from the iteration.
        """
        run, meter = self._prepare(mixture, prompt, arguments, answer=answer_deltas, proposals=proposal_deltas)
        return RunStream(run, meter)

    def _prepare(
        self,
        mixture: MixtureLike,
        prompt: Prompt,
        arguments: RunArguments,
        *,
        answer: bool = False,
        proposals: bool = False,
    ) -> tuple[Run, Meter]:
        options = _options(arguments, answer=answer, proposals=proposals)
        talk = conversation(prompt, system=arguments.get("system"), images=arguments.get("images", ()))
        shared = [budget for budget in (self.budget, arguments.get("shared_budget")) if budget is not None]
        trace, checked = arguments.get("trace"), load(mixture)
        if trace is None:
            plan = self._planner.plan(checked, options)
            # The clock starts when all is loaded: what a process does once is no part of a run's latency.
            meter = Meter(self._clock)
            return partial(execute, plan, talk, self._models, shared, meter), meter
        meter = Meter(self._clock)
        recorder = Recorder(Path(trace), meter, self.settings.endpoints)
        models = recorder.listening(self._models)
        plan = Planner(models).plan(checked, options)
        return recorder.recorded(partial(execute, plan, talk, models, shared, meter), plan, talk), meter

    async def aclose(self) -> None:
        """Close all connections."""
        self._planner.forget()
        await self._models.aclose()

    async def __aenter__(self) -> Self:
        """The engine itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.aclose()


def _options(arguments: RunArguments, *, answer: bool, proposals: bool) -> RunOptions:
    """What is asked of a run, checked: an argument that is misspelt must not be a limit that doesn't hold.

    Raises:
        UsageError: An argument is unknown or makes no sense.
    """
    known = tuple(RunArguments.__annotations__)
    for name in arguments:
        if name not in known:
            raise UsageError(
                f"a run has no argument {name!r}{nearest(name, known) or '.'} Known are {', '.join(known)}"
            )
    seed, deadline_s, budget_usd = arguments.get("seed"), arguments.get("deadline_s"), arguments.get("budget_usd")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UsageError(f"a seed is a whole number, not {seed!r}")
    if deadline_s is not None and not (isinstance(deadline_s, int | float) and 0 < deadline_s < math.inf):
        raise UsageError(f"a deadline is a positive number of seconds, not {deadline_s!r}")
    return RunOptions(
        seed=seed,
        deadline_s=deadline_s,
        budget_usd=None if budget_usd is None else _usd(budget_usd),
        reply=_checked(arguments.get("options"), ReplyOptions, "options") or ReplyOptions(),
        sampling=_checked(arguments.get("sampling"), Sampling, "sampling"),
        proposal_deltas=proposals,
        answer_deltas=answer,
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
