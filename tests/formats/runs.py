"""Runs that use everything the formats on disk can hold, in virtual time and with scripted models."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from moa._config.settings import Settings
from moa._messages import ImagePart, Message, ReplyOptions, Sampling, ToolCall
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._usage import TokenUsage
from moa.errors import AuthenticationFailed, MoaError, RateLimited
from moa.events import Event
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, TextDelta, ToolCallDelta
from moa.providers._endpoint import Endpoint, RetrySettings
from moa.providers._scripted import Pause, Script
from tests.support.engines import mixture_of, scripted
from tests.support.virtual_clock import VirtualClockLoop, loop_time

TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
PRICE = {"input": 1.25, "output": 5, "cached_input": 0.125}
USAGE = TokenUsage(
    input_tokens=120, output_tokens=30, cached_input_tokens=64, cache_write_tokens=8, reasoning_tokens=12
)
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Which city is this?", name="ada"),
    Message(role="assistant", tool_calls=(ToolCall(id="c0", name="find", arguments='{"q": "city"}'),)),
    Message(role="tool", content="Zürich \U0001f3d4", tool_call_id="c0"),
    Message(role="user", content="Are you sure?"),
)
MIXTURE = mixture_of(
    [
        {"model": "a", "samples": 2, "price": PRICE, "max_tokens": 500},
        {"model": "b", "fallback": ["fake/c"], "max_tokens": 500},
        {"model": "broken", "max_tokens": 500},
    ],
    [{"model": "a", "max_tokens": 500}],
    aggregator={"model": "agg", "price": PRICE},
)
GIVEN = {
    "seed": 7,
    "deadline_s": 60.0,
    "budget_usd": Decimal("1.50"),
    "images": [ImagePart(data=b"\x89PNG", media_type="image/png", detail="low")],
    "options": ReplyOptions(tools=(TOOL,), tool_choice="auto", response_format={"type": "text"}, top_logprobs=1),
    "sampling": Sampling(temperature=0.5, max_tokens=500, top_p=0.9, stop=("END",), extra={"min_p": 0.1}),
}


def _scripts() -> dict[str, Script | Callable[[ModelRequest], Script]]:
    first = iter([[TextDelta("half "), RateLimited("slow down", model="fake/a", status=429, retry_after_s=3)]])
    then = [ReasoningDelta("hm"), "Zür", Pause(0.5), "ich.", Finish(reason="stop", usage=USAGE)]
    return {
        "a": lambda request: next(first, then),
        "b": [Pause(1), AuthenticationFailed("no such key", model="fake/b", status=401)],
        "c": "Bern?",
        "broken": "",
        "agg": [
            ReasoningDelta("The proposals differ."),
            TextDelta("Zürich", ({"token": "Zürich", "logprob": -0.1, "top_logprobs": []},)),
            ToolCallDelta(index=0, id="c1", name="find", arguments='{"q": '),
            ToolCallDelta(index=0, arguments='"sure"}'),
            Finish(reason="tool_calls", usage=USAGE, served_by="agg-2025", request_id="r-1"),
        ],
    }


SCRIPTS = {
    "answer": _scripts,
    "error": lambda: {**_scripts(), "agg": ["Zür", AuthenticationFailed("no", model="fake/agg", status=401)]},
    "cancelled": lambda: {**_scripts(), "agg": ["Zür", Pause(1000), "ich"]},
}


def record(ending: str, trace: Path) -> tuple[list[Event], MoaError | None]:
    """Run the mixture to this ending, record it, and return its events and its error."""

    async def run() -> tuple[list[Event], MoaError | None]:
        endpoint = Endpoint(
            name="fake",
            kind="given",
            retry=RetrySettings(),
            prices={"*": Price(input=Decimal("0.1"), output=Decimal("0.2"))},
        )
        told: list[Event] = []
        async with (
            Engine(
                settings=Settings(endpoints={"fake": endpoint}),
                providers={"fake": scripted(SCRIPTS[ending]())},
                clock=loop_time,
            ) as engine,
            engine.astream(MIXTURE, CONVERSATION, trace=trace, **GIVEN) as events,
        ):
            try:
                async with asyncio.timeout(20):
                    async for event in events:
                        told.append(event)
            except TimeoutError:
                pass
            except MoaError as error:
                return told, error
        return told, None

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(run())
