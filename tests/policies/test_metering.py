import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from moa._messages import Sampling
from moa._policies.metering import Metered
from moa._usage import TokenUsage
from moa.errors import (
    BrokenReply,
    ConfigError,
    ConnectionFailed,
    ProviderError,
    ProviderFault,
    RateLimited,
    Refused,
)
from moa.providers._base import Finish, ModelRequest, ReasoningDelta, ReplyEvent, TextDelta, collect
from tests.providers.requests import Books, ask

USAGE = TokenUsage(input_tokens=9, output_tokens=2)
END = Finish(reason="stop", usage=USAGE, served_by="small-2")

Step = ReplyEvent | BaseException | asyncio.Event


class Scripted:
    """A provider that goes through one list of steps for each attempt; an error as the first step refuses to open."""

    takes_seed = True

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = list(scripts)
        self.closed = False

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        if script and isinstance(script[0], BaseException):
            raise script[0]
        yield self._events(script)

    async def _events(self, script: Sequence[Step]) -> AsyncIterator[ReplyEvent]:
        for step in script:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                yield step

    async def aclose(self) -> None:
        self.closed = True


def failing(kind: type[ProviderError] = BrokenReply, **facts: Any) -> ProviderError:
    error = kind("planned", model="lab/small")
    for name, value in facts.items():
        setattr(error, name, value)
    return error


async def booked(*scripts: Sequence[Step], expect: type[BaseException] | None = None, **fields: Any) -> Books:
    books = Books()
    call = collect(Metered(Scripted(*scripts)), ask(context=books.context, **fields))
    if expect is None:
        await call
    else:
        with pytest.raises(expect):
            await call
    return books


async def test_attempt_that_went_well_is_written_down_as_reported() -> None:
    (attempt,) = (await booked([TextDelta("a"), END])).attempts

    assert (attempt.status, attempt.usage, attempt.usage_source) == ("ok", USAGE, "reported")
    assert (attempt.finish_reason, attempt.served_by, attempt.error) == ("stop", "small-2", None)
    assert attempt.first_token_s is not None
    assert 0 <= attempt.first_token_s <= attempt.duration_s


async def test_attempt_that_was_not_streamed_has_no_first_token() -> None:
    (attempt,) = (await booked([TextDelta("a"), END], deltas=False)).attempts

    assert attempt.first_token_s is None


async def test_usage_that_no_service_reported_is_estimated() -> None:
    (attempt,) = (await booked([TextDelta("eight by"), Finish(reason="stop")])).attempts

    assert (attempt.status, attempt.usage_source) == ("ok", "estimated")
    assert attempt.usage == TokenUsage(input_tokens=7, output_tokens=2)


async def test_request_that_was_turned_down_used_nothing() -> None:
    (attempt,) = (await booked([failing(RateLimited)], expect=RateLimited)).attempts

    assert (attempt.status, attempt.usage, attempt.usage_source) == ("failed", None, "unknown")
    assert attempt.error is not None
    assert attempt.error.code == "rate_limited"


async def test_reply_that_broke_off_is_estimated_from_what_had_come() -> None:
    (attempt,) = (await booked([ReasoningDelta("hm h"), TextDelta("four"), failing()], expect=BrokenReply)).attempts

    assert (attempt.status, attempt.usage_source) == ("failed", "estimated")
    assert attempt.usage == TokenUsage(input_tokens=7, output_tokens=2)


async def test_usage_that_came_with_an_error_is_reported() -> None:
    (attempt,) = (await booked([failing(Refused, usage=USAGE)], expect=Refused)).attempts

    assert (attempt.status, attempt.usage, attempt.usage_source) == ("failed", USAGE, "reported")


async def test_cancelled_attempt_is_written_down_with_what_had_come() -> None:
    books, begun = Books(), asyncio.Event()
    provider = Metered(Scripted([TextDelta("four"), asyncio.Event(), END]))

    async def call() -> None:
        async with provider.stream(ask(context=books.context)) as events:
            await anext(events)
            begun.set()
            await anext(events)

    task = asyncio.create_task(call())
    await begun.wait()
    assert books.attempts[0].status == "running"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (attempt,) = books.attempts
    assert (attempt.status, attempt.usage_source) == ("cancelled", "estimated")
    assert attempt.usage == TokenUsage(input_tokens=7, output_tokens=1)
    assert attempt.error is not None
    assert attempt.error.code == "cancelled"


async def test_reply_that_was_left_early_is_cancelled_and_estimated() -> None:
    books = Books()

    async with Metered(Scripted([TextDelta("four"), END])).stream(ask(context=books.context)) as events:
        await anext(events)

    assert (books.attempts[0].status, books.attempts[0].usage_source) == ("cancelled", "estimated")


async def test_reply_that_was_left_by_an_error_of_its_reader_is_cancelled() -> None:
    books = Books()

    async def read() -> None:
        async with Metered(Scripted([TextDelta("four"), END])).stream(ask(context=books.context)) as events:
            await anext(events)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()

    (attempt,) = books.attempts
    assert attempt.status == "cancelled"
    assert attempt.error is not None
    assert "ZeroDivisionError" in attempt.error.message


async def test_a_request_that_met_a_closed_connection_is_sent_again_at_once_as_a_further_attempt() -> None:
    books = Books()
    asked_at = books.meter.started_at - 3
    lost = failing(ConnectionFailed, ask_again=True)

    await collect(
        Metered(Scripted([lost], [TextDelta("a"), END])), ask(context=replace(books.context, asked_at=asked_at))
    )

    assert [attempt.status for attempt in books.attempts] == ["failed", "ok"]
    assert books.attempts[0].queue_s >= 3
    assert books.attempts[1].queue_s == 0


@pytest.mark.parametrize("script", [[failing()], [TextDelta("a"), failing(ask_again=True)]])
async def test_call_is_not_made_again_otherwise(script: Sequence[Step]) -> None:
    assert len((await booked(script, [END], expect=BrokenReply)).attempts) == 1


async def test_provider_works_without_books() -> None:
    assert (await collect(Metered(Scripted([TextDelta("a"), END])), ask())).text == "a"


async def test_closing_closes_the_provider_inside() -> None:
    inner = Scripted([END])

    await Metered(inner).aclose()

    assert inner.closed


class Careless:
    """A provider of another package, with a bug where it says."""

    takes_seed = True

    def __init__(self, place: str, bug: Exception) -> None:
        self._place, self._bug = place, bug

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ReplyEvent]]:
        self._trip("opening")
        yield self._events()
        self._trip("closing")

    async def _events(self) -> AsyncIterator[ReplyEvent]:
        self._trip("reading")
        yield TextDelta("hi")
        yield END

    def _trip(self, place: str) -> None:
        if place == self._place:
            raise self._bug

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("place", ["opening", "reading", "closing"])
@pytest.mark.parametrize("bug", [ValueError("oops"), ConfigError("oops")])
async def test_a_bug_of_a_provider_is_the_failure_of_one_call(place: str, bug: Exception) -> None:
    books = Books()
    with pytest.raises(ProviderFault, match="oops"):
        await collect(Metered(Careless(place, bug)), ask(context=books.context))

    assert [attempt.status for attempt in books.attempts] == ["failed"]


async def test_a_kept_connection_is_found_closed_only_once() -> None:
    lost = [failing(ConnectionFailed, ask_again=True)]
    books = Books()
    with pytest.raises(ConnectionFailed):
        await collect(Metered(Scripted(lost)), ask(context=books.context))

    assert [attempt.status for attempt in books.attempts] == ["failed", "failed"]


async def test_a_whole_reply_that_was_cut_off_unseen_counts_as_long_as_it_may_have_been() -> None:
    books = Books()
    request = ask(context=books.context, deltas=False, sampling=Sampling(max_tokens=300))

    with pytest.raises(BrokenReply):
        await collect(Metered(Scripted([failing(BrokenReply)])), request)

    (attempt,) = books.attempts
    assert attempt.usage is not None
    assert (attempt.usage_source, attempt.usage.output_tokens) == ("upper_bound", 300)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [([], ("upper_bound", 300)), ([TextDelta("12345678")], ("estimated", 2))],
    ids=["none", "some"],
)
async def test_a_stream_that_was_cut_off_before_its_first_word_may_have_been_thinking(
    seen: list[ReplyEvent], expected: tuple[str, int]
) -> None:
    """Somebody who leaves each stream before its first word would have the thoughts for nothing."""
    books = Books()
    request = ask(context=books.context, deltas=True, sampling=Sampling(max_tokens=300))
    with pytest.raises(BrokenReply):
        await collect(Metered(Scripted([*seen, failing(BrokenReply)])), request)

    (attempt,) = books.attempts
    assert attempt.usage is not None
    assert (attempt.usage_source, attempt.usage.output_tokens) == expected


@pytest.mark.parametrize(
    ("sent", "read", "is_noted"), [(8000, 2050, True), (8000, 5000, False), (1500, 600, False), (8000, 0, False)]
)
async def test_a_prompt_of_which_far_less_was_read_than_sent_is_noted(sent: int, read: int, is_noted: bool) -> None:
    books = Books()
    finish = Finish(reason="stop", usage=TokenUsage(input_tokens=read, output_tokens=1))
    await collect(Metered(Scripted([TextDelta("x"), finish])), ask(prompt="word" * sent, context=books.context))

    assert [note.code for note in books.attempts[0].notes] == ["input_truncated"] * is_noted
