"""One way to run a mixture, in a process of its own: does a round whenever it is told to, and says what it cost.

Needs nothing but the standard library and the package that it drives, so that it also runs in that package's own
environment: `python bench/contender.py NAME '{"url": …, "at_once": 16, "runs": 32}'`. Each line on its standard
input starts a round; each line that it prints is a round's figures, the first one what it takes to be ready.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

PROMPT = "What are 3 fun things to do in San Francisco?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one round does.

    Attributes:
        url: Base URL of the model server.
        at_once: Runs under way at any time.
        runs: Runs of a round.
        proposers: Calls side by side in a layer.
        layers: Layers, the aggregator's counted.
    """

    url: str
    at_once: int
    runs: int
    proposers: int = 4
    layers: int = 2

    @property
    def calls(self) -> int:
        """Calls of one run."""
        return (self.layers - 1) * self.proposers + 1


Run = Callable[[], Awaitable[object]]
Opener = Callable[[Work, AsyncExitStack], Awaitable[Run]]


async def _layered(work: Work, call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(work.layers - 1):
        await asyncio.gather(*(call() for _ in range(work.proposers)))
    await call()


async def open_floor(work: Work, stack: AsyncExitStack) -> Run:
    """The least that anybody needs: the same calls with bare aiohttp and `json`; the replies are not even looked at."""
    import aiohttp

    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
    address, headers = f"{work.url}/chat/completions", {"Content-Type": "application/json"}
    body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}

    async def call() -> None:
        async with session.post(address, data=json.dumps(body), headers=headers) as response:
            json.loads(await response.read())

    return lambda: _layered(work, call)


async def open_moa(work: Work, stack: AsyncExitStack) -> Run:
    """This project, with what it does by default: retries, breaker, ledger."""
    from moa._config.settings import Settings
    from moa._mixture.loading import load
    from moa._runtime.engine import Engine
    from moa.providers._endpoint import Endpoint

    lab = Endpoint(name="lab", kind="openai", base_url=work.url)
    engine = await stack.enter_async_context(Engine(settings=Settings(endpoints={"lab": lab})))
    layer = {"proposers": [{"model": "lab/m", "samples": work.proposers}]}
    mixture = load({"name": "bench", "layers": [layer] * (work.layers - 1), "aggregator": {"model": "lab/m"}})
    return lambda: engine.arun(mixture, PROMPT)


async def open_mixture_llm(work: Work, stack: AsyncExitStack) -> Run:
    """`mixture-llm` over the `openai` package, as its documentation shows."""
    from mixture_llm import Aggregate, Propose, Synthesize, run
    from openai import AsyncOpenAI

    client = await stack.enter_async_context(AsyncOpenAI(base_url=work.url, api_key="none"))

    async def ask(model: str, messages: Any, temp: float, max_tokens: int) -> tuple[str, int, int]:
        reply = await client.chat.completions.create(
            model=model, messages=messages, temperature=temp, max_tokens=max_tokens
        )
        text, usage = reply.choices[0].message.content, reply.usage
        assert text is not None
        assert usage is not None
        return text, usage.prompt_tokens, usage.completion_tokens

    agents = ["m"] * work.proposers
    pipeline = [Propose(agents), *([Synthesize(agents)] * (work.layers - 2)), Aggregate("m")]
    return lambda: run(pipeline, PROMPT, ask)


async def open_litellm(work: Work, stack: AsyncExitStack) -> Run:
    """The same calls with LiteLLM's `acompletion`; it has no mixtures of its own."""
    import litellm

    litellm.suppress_debug_info = True
    messages = [{"role": "user", "content": PROMPT}]

    async def call() -> None:
        await litellm.acompletion(model="openai/m", api_base=work.url, api_key="none", messages=messages)

    return lambda: _layered(work, call)


async def open_optillm(work: Work, stack: AsyncExitStack) -> Run:
    """The `moa` of optillm: three samples by one request, a critique, an answer. It blocks: a thread for each run."""
    from openai import OpenAI
    from optillm.moa import mixture_of_agents

    client = stack.enter_context(OpenAI(base_url=work.url, api_key="none"))
    return lambda: asyncio.to_thread(mixture_of_agents, "Be helpful.", PROMPT, client, "m")


OPENERS: dict[str, Opener] = {
    "floor": open_floor,
    "moa": open_moa,
    "mixture-llm": open_mixture_llm,
    "litellm": open_litellm,
    "optillm": open_optillm,
}


def _peak_kb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak


async def _round(work: Work, run: Run) -> dict[str, float]:
    left = work.runs

    async def worker() -> None:
        nonlocal left
        while left:
            left -= 1
            await run()

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(work.at_once)))
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "peak_kb": _peak_kb()}


async def _serve(name: str, work: Work) -> None:
    async with AsyncExitStack() as stack:
        run = await OPENERS[name](work, stack)
        await run()
        print(json.dumps({"peak_kb": _peak_kb()}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(await _round(work, run)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Work(**json.loads(sys.argv[2]))))
