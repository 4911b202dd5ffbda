"""Which prompts are marked for a service's prompt cache, and where."""

from decimal import Decimal
from typing import Any

import pytest

from moa._engine.briefing import Briefing, lay_out
from moa._engine.cache_points import CacheMarks, chance_to_go_on, marks_for
from moa._engine.plan import Model, Planner, RunOptions
from moa._engine.run import execute
from moa._ledger import Meter, Pricer
from moa._messages import Conversation, Message, ReplyOptions, ToolCall, conversation
from moa._policies.cache.key import request_digest
from moa._pricing.price import Price, cost_of
from moa._runtime.engine import Engine
from moa.providers._base import ModelRequest
from moa.providers._scripted import Script
from tests.support.engines import engine_of, mixture_of, scripted
from tests.support.virtual_clock import virtual_time

LONG = "word " * 1000
CLAUDE = {"input": 1.0, "output": 5.0, "cached_input": 0.1, "cache_write": 1.25}
NOVA = {"input": 1.0, "output": 4.0, "cached_input": 0.25}
PLAIN = {"input": 1.0, "output": 2.0}
TOOLS = ReplyOptions(tools=({"type": "function", "function": {"name": "look", "parameters": {}}},))


def _turns(number: int) -> Conversation:
    """A chat with so many user turns."""
    turns: list[Message] = []
    for turn in range(number):
        turns += [Message(role="user", content=f"{turn} {LONG}"), Message(role="assistant", content="fine")]
    return tuple(turns[:-1])


def _price(fields: dict[str, float] | None) -> Pricer:
    if fields is None:
        return lambda usage: None
    price = Price(**{name: Decimal(str(amount)) for name, amount in fields.items()})
    return lambda usage: cost_of(price, usage)


@pytest.mark.parametrize(
    ("turns", "has_tools", "chance"),
    [(1, False, 0.0), (2, False, 0.5), (4, False, 0.75), (1, True, 0.5), (2, True, 0.75)],
)
def test_a_conversation_goes_on_as_often_as_it_went_on_before(turns: int, has_tools: bool, chance: float) -> None:
    assert chance_to_go_on(_turns(turns), has_tools=has_tools) == chance


@pytest.mark.parametrize(
    ("price", "talk", "has_tools", "expected"),
    [
        (CLAUDE, _turns(2), False, True),
        (CLAUDE, _turns(1), True, True),
        (CLAUDE, _turns(1), False, False),  # a lone prompt would only pay the premium of writing
        ({**CLAUDE, "cache_write": 1.5}, _turns(2), False, False),  # half of a discount of 0.9 is less than 0.5
        (NOVA, _turns(2), False, True),
        (PLAIN, _turns(3), True, False),  # nothing is cheaper when it is read again
        (None, _turns(3), True, False),
        (CLAUDE, (Message(role="user", content="hi"),), True, False),  # too short for any service
    ],
)
def test_a_prompt_is_marked_where_that_saves_by_list_price(
    price: dict[str, float] | None, talk: Conversation, has_tools: bool, expected: bool
) -> None:
    assert marks_for(talk, _price(price), has_tools=has_tools) == CacheMarks(turns=expected)


@pytest.mark.parametrize("unknown", ["cached_input_tokens", "cache_write_tokens"])
def test_where_one_of_its_prices_is_unknown_a_prompt_is_not_marked(unknown: str) -> None:
    price = _price(CLAUDE)

    assert marks_for(_turns(4), lambda usage: None if getattr(usage, unknown) else price(usage), has_tools=True) == (
        CacheMarks()
    )


@pytest.mark.parametrize(("price", "expected"), [(CLAUDE, True), (NOVA, True), (PLAIN, False), (None, False)])
def test_a_long_system_prompt_is_marked_from_the_first_request_on(
    price: dict[str, float] | None, expected: bool
) -> None:
    talk = (Message(role="system", content=LONG), Message(role="user", content="hi"))

    assert marks_for(talk, _price(price), has_tools=False) == CacheMarks(system=expected)
    (system, _) = lay_out(Briefing(conversation=talk, role="An editor."), CacheMarks(system=expected))
    assert system.cache_points == ((len(system.content),) if expected else ())


def _points(request: ModelRequest) -> list[tuple[str, tuple[int, ...]]]:
    return [(message.role, message.cache_points) for message in request.messages if message.cache_points]


@virtual_time
async def test_the_ends_of_the_last_user_turn_and_of_the_request_are_marked() -> None:
    provider = scripted({"a": "one", "agg": "done"})
    agents = [{"model": "a", "price": PLAIN}, {"model": "agg", "price": CLAUDE}]
    step = (
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="look", arguments="{}"),)),
        Message(role="tool", content="there", tool_call_id="1"),
    )
    async with engine_of(provider) as engine:
        mixture = mixture_of([agents[0]], aggregator=agents[1])
        await engine.arun(mixture, (*_turns(1), *step), options=TOOLS)

    proposer, aggregator = provider.requests
    assert _points(proposer) == [], "at its price nothing would be saved"
    assert _points(aggregator) == [("user", (len(_turns(1)[0].content),)), ("tool", (len("there"),))]
    assert [message.role for message in aggregator.messages] == ["user", "user", "assistant", "tool"]


@pytest.mark.parametrize(("changes", "turns"), [({"prompt_layout": "system"}, 3), ({}, 1)])
@virtual_time
async def test_what_no_further_request_begins_with_is_not_marked(changes: dict[str, Any], turns: int) -> None:
    provider = scripted({"a": "one", "agg": "done"})
    mixture = mixture_of([{"model": "a", "price": PLAIN}], aggregator={"model": "agg", "price": CLAUDE}, **changes)
    async with engine_of(provider) as engine:
        await engine.arun(mixture, _turns(turns))

    assert _points(provider.requests[-1]) == []


def test_cache_points_are_no_part_of_what_is_said() -> None:
    briefing = Briefing(conversation=_turns(2), role="An editor.", proposals="Responses from models:")
    plain, marked = lay_out(briefing), lay_out(briefing, CacheMarks(turns=True))
    requests = [ModelRequest(reference="lab/a", model="a", messages=messages) for messages in (plain, marked)]

    assert plain == marked
    assert _points(requests[1]) == [("user", (len(_turns(2)[2].content),)), ("user", (len("Responses from models:"),))]
    assert request_digest(requests[0]) == request_digest(requests[1])


@virtual_time
async def test_a_callers_own_cache_points_are_carried_and_mark_the_place_behind_their_part() -> None:
    provider = scripted({"agg": "done"})
    mark = {"cache_control": {"type": "ephemeral"}}
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    talk = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", **mark}]},
        {
            "role": "user",
            "content": [{"type": "text", "text": "A book", **mark}, {"type": "text", "text": "What of it?"}],
        },
        {"role": "assistant", "content": "Much."},
        {"role": "user", "content": [{**image, **mark}, {"type": "text", "text": "And this?"}]},
    ]
    async with engine_of(provider) as engine:
        await engine.arun(mixture_of(aggregator={"model": "agg", "role": "An editor."}), talk)

    (request,) = provider.requests
    assert _points(request) == [("system", (len("Be brief."),)), ("user", (len("A book"),)), ("user", (1,))]
    assert request.messages[0].content == "Be brief.\n\nAn editor."
    assert request.messages[1].content == "A book\nWhat of it?"


class _CountingModels:
    """The models of an engine, which count how often prices were waited for."""

    def __init__(self, engine: Engine) -> None:
        self.waits = 0
        self._models = engine._models

    def model(self, reference: str, price: Price | None) -> Model:
        return self._models.model(reference, price)

    async def prices_ready(self) -> None:
        self.waits += 1


@pytest.mark.parametrize(
    ("said", "options", "waits"), [("hi", ReplyOptions(), 0), ("hi", TOOLS, 1), (_turns(2), ReplyOptions(), 1)]
)
@virtual_time
async def test_prices_are_waited_for_only_before_a_prompt_that_may_be_marked(
    said: str | Conversation, options: ReplyOptions, waits: int
) -> None:
    waited: list[int] = []

    def script(request: ModelRequest) -> Script:
        waited.append(models.waits)
        return "done"

    async with engine_of(scripted({"agg": script})) as engine:
        models = _CountingModels(engine)
        plan = Planner(models).plan(mixture_of(), RunOptions(reply=options))
        await execute(plan, conversation(said), models, (), Meter(), None)

    assert waited == [waits]


@virtual_time
async def test_no_prices_are_waited_for_before_proposals_in_the_system_message() -> None:
    waited: dict[str, int] = {}

    def script(request: ModelRequest) -> Script:
        waited[request.model] = models.waits
        return "done"

    async with engine_of(scripted({"a": script, "agg": script})) as engine:
        models = _CountingModels(engine)
        plan = Planner(models).plan(mixture_of(["a"], prompt_layout="system"), RunOptions())
        await execute(plan, _turns(2), models, (), Meter(), None)

    assert waited == {"a": 1, "agg": 2}, "once more only for the proposal's own price"
