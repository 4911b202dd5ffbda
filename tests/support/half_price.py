"""A batch at half the price, its settings and its files, for tests of batches."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from moa import Engine, Settings
from moa.batch import arun
from moa.providers import Endpoint, Price, RetrySettings
from moa.providers._endpoint import BatchSettings
from tests.support.batch_server import BatchServer

RAPID = BatchSettings(poll_s=0.001, quiet_s=0.02)
RETRY = RetrySettings(base_s=0.001, cap_s=0.001)
ALONE = {"name": "mine", "layers": [], "aggregator": {"model": "lab/m", "max_tokens": 10}}
MIXTURE = {
    "name": "mine",
    "layers": [{"proposers": [{"model": "lab/a", "max_tokens": 10}, {"model": "lab/b", "max_tokens": 10}]}],
    "aggregator": {"model": "lab/m", "max_tokens": 10},
}


def settings(server: BatchServer, batch: BatchSettings | None = RAPID, **options: Any) -> Settings:
    prices = {"*": Price(input=1000, output=1000)}
    endpoint = Endpoint(
        **{
            "name": "lab",
            "kind": "openai",
            "base_url": server.base_url,
            "prices": prices,
            "price_factor": {"batch": Decimal("0.5")},
            "retry": RETRY,
            "batch": batch,
            **options,
        }
    )
    return Settings(endpoints={"lab": endpoint})


class Place:
    """Prompts and answers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target, self.jobs = folder / "in.jsonl", folder / "out.jsonl", folder / "out.jsonl.jobs"

    def write(self, *prompts: str) -> None:
        self.source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))

    async def answer(
        self, configured: Settings, mixture: Any = ALONE, budget: float | None = None, **options: Any
    ) -> Any:
        async with Engine(settings=configured, batch_jobs=self.jobs, budget_usd=budget) as engine:
            return await arun(self.source, mixture, self.target, engine=engine, **options)

    @property
    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.target.read_text().split("\n") if line]


async def interrupted(place: Place, configured: Settings, when: Any, mixture: Any = ALONE) -> None:
    """Start a batch and end it when a condition holds, as a kill would."""
    async with Engine(settings=configured, batch_jobs=place.jobs) as engine:
        running = asyncio.ensure_future(arun(place.source, mixture, place.target, engine=engine))
        await when()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def settings_file(folder: Path, server: BatchServer) -> Path:
    endpoint = {
        "kind": "openai",
        "base_url": server.base_url,
        "prices": {"*": {"input": 1000, "output": 1000}},
        "price_factor": {"batch": 0.5},
        "batch": {"poll_s": 0.02, "quiet_s": 0.1, "max_requests": 60},
        "retry": {"base_s": 0.001, "max_attempts": 6},
    }
    path = folder / "moa.yaml"
    path.write_text(yaml.safe_dump({"endpoints": {"lab": endpoint}}))
    return path
