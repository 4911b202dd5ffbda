"""A mixture as a step of a data engine: Ray Data, Spark, pandas or polars pass it batches of columns."""

import asyncio
import weakref
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from moa._config.settings import load_settings
from moa._mixture.loading import load
from moa._runtime.default_engine import in_background
from moa._runtime.engine import Engine, MixtureLike
from moa._runtime.prompt_rows import prompt_in
from moa.batch._answers import COLUMNS, answered, failed
from moa.errors import EngineError, UsageError

Lifetime = AsyncGenerator[tuple[Engine, asyncio.Semaphore]]
"""An engine with its places for rows, until it is closed; an event loop that shuts down closes its generators."""

CLOSE_WITHIN_S = 2.0
"""Seconds that connections get to be closed at the end of a process."""


class MixtureTransform:
    """Adds the columns of answers to batches of rows; one engine serves all batches of a process.

    Ray Data uses the class itself, with one engine per actor::

        import ray
        from moa.batch import MixtureTransform

        prompts = ray.data.read_json("prompts.jsonl")
        answers = prompts.map_batches(
            MixtureTransform,
            fn_constructor_kwargs={"mixture": "mine.yaml"},
            compute=ray.data.ActorPoolStrategy(size=2),
            batch_size=64,
        )

    Use `map_in_pandas` with Spark, and `transform` with pandas and polars. It can be pickled: the pickle contains the
    mixture and the path of the settings file, never a key. The process that calls models reads the keys from its
    environment.

    Args:
        mixture: As in `moa.run`.
        config: Path of a `moa.yaml` on the machine of the engine; None: the default locations.
        column: Name of the column with the prompt; None: `prompt`, `instruction` or `messages`.
        at_once: Maximum number of concurrent rows in a process.
        seed: Makes each row's run repeatable where services support seeds.
        budget_usd: US dollars for each process; for a shared budget set `budget_usd` and `state` in the settings.

    Raises:
        MixtureError: The mixture can't be used.
        ConfigError: The settings can't be used.
    """

    def __init__(
        self,
        mixture: MixtureLike,
        *,
        config: str | Path | None = None,
        column: str | None = None,
        at_once: int = 64,
        seed: int | None = None,
        budget_usd: float | None = None,
    ) -> None:
        self._mixture = load(mixture)
        self._config = None if config is None else str(config)
        self._column, self._at_once, self._seed, self._budget_usd = column, at_once, seed, budget_usd
        self._open()

    def _open(self) -> None:
        load_settings(self._config)  # report an error in them here, and not in the first batch
        self._engines: dict[asyncio.AbstractEventLoop, Lifetime] = {}
        # A data engine only drops the object, and its loop never shuts down: nobody else closes the connections.
        weakref.finalize(self, _close_all, self._engines)

    def __getstate__(self) -> Mapping[str, Any]:
        """Return the state without the engines."""
        return {name: value for name, value in vars(self).items() if name != "_engines"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the object, in another process."""
        vars(self).update(state)
        self._open()

    async def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with the columns of its answers.

        Args:
            batch: Columns by name, each a list or an array with one value for each row.

        Returns:
            All of them, and `answer`, `answer_status`, `answer_error` and the cost of the answer. For a row without an
            answer, `answer_error` has the cause; it doesn't fail the batch.

        Raises:
            UsageError: The batch already has a column of an answer.
            ConfigError: An endpoint can't be used.
        """
        columns = {name: list(values) for name, values in batch.items()}
        if taken := [name for name in COLUMNS if name in columns]:
            raise UsageError(f"the batch has a column {taken[0]!r} already, where the answer would go: rename it")
        size = len(next(iter(columns.values()), ()))
        rows = ({name: _plain(values[at]) for name, values in columns.items()} for at in range(size))
        answers = await asyncio.gather(*(self._answer(row) for row in rows))
        return {**batch, **{name: [answer[name] for answer in answers] for name in COLUMNS}}

    async def _answer(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        if loop not in self._engines:
            self._engines[loop] = _lifetime(Engine(self._config, budget_usd=self._budget_usd), self._at_once)
        engine, places = await anext(self._engines[loop])
        async with places:
            try:
                prompt = prompt_in(row, self._column)
                return answered(await engine.arun(self._mixture, prompt, seed=self._seed))
            except (EngineError, UsageError) as error:
                return failed(error)

    def transform(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with the columns of its answers, from synchronous code; arguments and errors as in a call."""
        return in_background(self(batch))

    def map_in_pandas(self, frames: Iterable[Any]) -> Iterator[Any]:
        """Yield each frame with the columns of its answers, for Spark's `DataFrame.mapInPandas`."""
        for frame in frames:
            found = self.transform({name: frame[name].tolist() for name in frame.columns})
            yield frame.assign(**{name: found[name] for name in COLUMNS})

    async def aclose(self) -> None:
        """Close the engine of the running event loop."""
        lifetime = self._engines.pop(asyncio.get_running_loop(), None)
        if lifetime is not None:
            await lifetime.aclose()


async def _lifetime(engine: Engine, at_once: int) -> Lifetime:
    places = asyncio.Semaphore(at_once)
    async with engine:
        while True:
            yield engine, places


def _close_all(engines: dict[asyncio.AbstractEventLoop, Lifetime]) -> None:
    """Close engines whose transform is gone, in the event loops that they were used in, as far as those still exist."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    while engines:
        loop, lifetime = engines.popitem()
        if loop is running:
            loop.create_task(lifetime.aclose())
        elif loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(lifetime.aclose(), loop)
            with suppress(TimeoutError):
                closing.result(CLOSE_WITHIN_S)
        elif running is None and not loop.is_closed():
            loop.run_until_complete(lifetime.aclose())


def _plain(value: Any) -> Any:
    """Return a value without NumPy types: arrays of messages become lists, scalars Python objects."""
    return value.tolist() if hasattr(value, "tolist") else value
