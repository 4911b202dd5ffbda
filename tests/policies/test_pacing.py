"""Pacing: how many requests one pass of the event loop prepares."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from moa._messages import ImagePart, Message
from moa._policies.pacing import LARGE_CHARS, LARGE_MESSAGES, PER_PASS, Paced, Turnstile
from moa.providers._base import ModelRequest, collect
from moa.providers._scripted import Script, ScriptedProvider
from tests.support.requests import plain_request

USER = Message(role="user", content="hi")
LARGE: dict[str, tuple[Message, ...]] = {
    "long": (Message(role="user", content="x" * (LARGE_CHARS + 1)),),
    "many": (USER,) * (LARGE_MESSAGES + 1),
    "image": (Message(role="user", content=(ImagePart(url="http://127.0.0.1/x.png"),)),),
}


async def _most_in_one_pass(messages: tuple[Message, ...], count: int) -> int:
    """Start so many calls at once, and return how many reached the provider between two passes of the loop."""
    prepared: Counter[int] = Counter()
    passes = 0

    def reply(request: ModelRequest) -> Script:
        prepared[passes] += 1
        return "fine"

    async def count_passes() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    paced = Paced(ScriptedProvider(reply), Turnstile())
    counting = asyncio.ensure_future(count_passes())
    request = replace(plain_request(), messages=messages)
    replies = await asyncio.gather(*(collect(paced, request) for _ in range(count)))
    counting.cancel()
    assert [each.text for each in replies] == ["fine"] * count
    return max(prepared.values())


@pytest.mark.parametrize("kind", LARGE)
async def test_one_pass_prepares_one_large_request(kind: str) -> None:
    assert await _most_in_one_pass(LARGE[kind], 10) == 1


async def test_one_pass_prepares_a_bounded_number_of_small_requests() -> None:
    assert await _most_in_one_pass((USER,), 5 * PER_PASS) <= PER_PASS


async def test_a_call_that_leaves_the_line_lets_the_next_one_through() -> None:
    turnstile = Turnstile()
    assert turnstile.take(PER_PASS)
    waiting = [asyncio.ensure_future(turnstile.wait(PER_PASS)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert [task.cancelled() for task in waiting] == [False, True, False]
