"""What services read from their prompt caches: a chat, a tool loop and Self-MoA, in both layouts of prompts.

On services that count prefixes and bill as vendors publish (`bench.prefix_service`). `of what is cacheable` is the part
of all prefixes that an earlier request shared (from the services' minimum on) that was read from the cache; `from the
third turn on` is the part of all of the aggregator's input that was. The ledger's tokens are compared with the
services'.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bench.prefix_service import BYTES_PER_TOKEN, Asked, PrefixService
from bench.report import Row, Table, options, publish
from moa import Engine, Message, ReplyOptions, Settings
from moa.events import Answer
from moa.providers import Endpoint, Price

PRICES = {
    # US dollars per million tokens, as published in 2026 for GPT-5 and for Claude Haiku 4.5 on Amazon Bedrock.
    "automatic": Price(input=Decimal("1.25"), output=Decimal(10), cached_input=Decimal("0.125")),
    "explicit": Price(input=Decimal(1), output=Decimal(5), cached_input=Decimal("0.1"), cache_write=Decimal("1.25")),
}
TOOLS = ReplyOptions(tools=({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}},))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked: a chat of user turns, or (`steps`) one user turn with a tool loop; texts in tokens."""

    name: str
    turns: int = 1
    steps: int = 0
    system_tokens: int = 200
    user_tokens: int = 150


CASES = (
    Case(name="chat of ten turns", turns=10),
    Case(name="chat of ten turns, system prompt of 6,000 tokens", turns=10, system_tokens=6000),
    Case(name="tool loop of ten steps", steps=10, system_tokens=2000),
)


def text_of(tokens: int, seed: str) -> str:
    """A text of so many tokens that no other seed's text begins like."""
    return (f"{seed} " * (tokens * BYTES_PER_TOKEN))[: tokens * BYTES_PER_TOKEN]


def mixture_of(kind: str, layout: str, fan_out: str | None) -> dict[str, Any]:
    """Three proposers and an aggregator at one service."""
    proposers = [{"model": f"{kind}/p{number}", "max_tokens": 600} for number in range(3)]
    return {
        "layers": [{"proposers": proposers}],
        "aggregator": {"model": f"{kind}/agg", "max_tokens": 600},
        "prompt_layout": layout,
        "fan_out": fan_out,
    }


def engine_of(service: PrefixService) -> Engine:
    """An engine whose two endpoints are the services."""
    automatic = Endpoint(
        name="automatic", kind="openai", base_url=f"{service.url}/v1", prices={"*": PRICES["automatic"]}
    )
    explicit = Endpoint(
        name="explicit", kind="bedrock", endpoint_url=service.url, region="us-east-1", prices={"*": PRICES["explicit"]}
    )
    return Engine(settings=Settings(endpoints={"automatic": automatic, "explicit": explicit}))


async def run_case(case: Case, kind: str, layout: str, fan_out: str | None) -> Row:
    """Run a case and return its figures."""
    mixture, answers = mixture_of(kind, layout, fan_out), []
    talk = [Message(role="system", content=text_of(case.system_tokens, case.name))]
    async with PrefixService(calls_tool=bool(case.steps)) as service, engine_of(service) as engine:
        for number in range(case.steps or case.turns):
            if number == 0 or not case.steps:
                talk.append(Message(role="user", content=text_of(case.user_tokens, f"question {number}")))
            answer = await engine.arun(mixture, talk, options=TOOLS if case.steps else None)
            answers.append(answer)
            talk.append(Message(role="assistant", content=answer.text, tool_calls=answer.tool_calls))
            for call in answer.tool_calls:
                talk.append(Message(role="tool", content=text_of(300, f"result {number}"), tool_call_id=call.id))
    return {
        "case": case.name,
        "service": kind,
        "layout": layout,
        **figures(service.asked, answers),
    }


def figures(asked: Sequence[Asked], answers: Sequence[Answer]) -> Row:
    """What the service counted, and whether the ledger says the same."""
    aggregator = [each for each in asked if each.model == "agg"]
    late = aggregator[2:] or aggregator
    cacheable = sum(each.cacheable for each in asked)
    counted = tuple(sum(getattr(each, name) for each in asked) for name in ("prompt", "read", "written"))
    usage = [answer.usage for answer in answers]
    booked = tuple(
        sum(getattr(each, name) for each in usage)
        for name in ("input_tokens", "cached_input_tokens", "cache_write_tokens")
    )
    return {
        "calls": len(asked),
        "input tokens": counted[0],
        "of what is cacheable": percent(sum(each.read for each in asked), cacheable),
        "aggregator, from the third turn on": percent(sum(e.read for e in late), sum(e.prompt for e in late)),
        "input $": dollars(answers),
        "ledger agrees": booked == counted,
    }


def percent(part: int, whole: int) -> str:
    """A share in percent; nothing of nothing is not a share."""
    return f"{part / whole:.0%}" if whole else "-"


def dollars(answers: Sequence[Answer]) -> str:
    """The price of all input."""
    total = Decimal(0)
    for answer in answers:
        for call in answer.ledger.calls:
            price = PRICES[call.model.partition("/")[0]]
            usage = call.usage
            fresh = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
            total += price.input * fresh + (price.cached_input or 0) * usage.cached_input_tokens
            total += (price.cache_write or price.input) * usage.cache_write_tokens
    return f"{total / 1_000_000:.4f}"


async def self_moa(*, knows_n: bool) -> Row:
    """Six samples of one model and an aggregator, at 4,000 prompt and 500 answer tokens."""
    sampled = {"model": "automatic/agg", "samples": 6, "temperature": 0.7, "max_tokens": 600}
    mixture = {"layers": [{"proposers": [sampled]}], "aggregator": {"model": "automatic/agg", "max_tokens": 600}}
    async with PrefixService(knows_n=knows_n) as service, engine_of(service) as engine:
        if not knows_n:  # what it learns the first time is no part of the figures
            await engine.arun(mixture, text_of(50, "first"))
            service.asked.clear()
        answer = await engine.arun(mixture, text_of(4000, "question"))
    fresh = sum(each.prompt for each in service.asked)
    return {
        "samples": "by one call (n)" if knows_n else "one call each",
        "calls": len(service.asked),
        "input tokens": fresh,
        "input $ without any cache": f"{PRICES['automatic'].input * fresh / 1_000_000:.4f}",
        "ledger agrees": answer.usage.input_tokens == fresh,
    }


async def _measure(cases: Sequence[Case]) -> list[Table]:
    rows = []
    for case in cases:
        for kind in ("automatic", "explicit"):
            rows.append(await run_case(case, kind, "system", "every_step"))
            rows.append(await run_case(case, kind, "last", None))
    samples = [await self_moa(knows_n=False), await self_moa(knows_n=True)]
    return [
        Table(title="What is read from prompt caches", rows=rows, notes=["three proposers; answers of 500 tokens"]),
        Table(title="Self-MoA of six: 4,000 prompt tokens, 500 answer tokens", rows=samples),
    ]


def main() -> None:
    """Measure, print, write."""
    chosen = options("caching", __doc__).parse_args()
    # The service asks for no credentials; signing needs some.
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_EC2_METADATA_DISABLED="true")
    cases = [Case(name="quick", turns=2)] if chosen.quick else CASES
    publish("caching", chosen.json, asyncio.run(_measure(cases)))


if __name__ == "__main__":
    main()
