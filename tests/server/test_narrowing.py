"""A request can only narrow what the operator has set, and the upstream's bill stays within the caller's budget."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moa._messages import ServiceState
from moa._mixture.loading import load
from moa._server.api_keys import ApiKeys, KeySettings, hash_key
from tests.support.model_server import ModelServer, Text
from tests.support.served import DUO, HELLO, PRICE, SOLO, ServedModel, served

FREE = load(
    {
        "name": "free",
        "layers": [],
        "aggregator": {"model": "lab/free", "max_tokens": 5},
        "allow_unpriced": True,
    }
)
TUNED = load(
    {
        "name": "tuned",
        "layers": [],
        "aggregator": {"model": "lab/tuned", "max_tokens": 5, "extra": {"style": "plain"}, "timeout_s": 300},
    }
)
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}
UNPRICED = {"prices": {}}


def keys(count: int = 1, **fields: Any) -> ApiKeys:
    return ApiKeys([KeySettings(name=f"key{n}", sha256=hash_key(f"moa-{n}"), **fields) for n in range(count)])


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[ServedModel]:
    """A server with keys, and an endpoint whose models have no price and are not served."""
    async with served(DUO, SOLO, FREE, TUNED, others={"other": UNPRICED}, keys=keys(budget_usd=0.01)) as server:
        server.http.headers["authorization"] = "Bearer moa-0"
        yield server


LOOSER: list[tuple[dict[str, Any], str]] = [
    ({"allow_unpriced": True}, "allow_unpriced"),
    ({"allow_unpriced": True, "layers": [], "aggregator": {"model": "other/x"}}, "allow_unpriced"),
    ({"aggregator": {"model": "other/x"}}, "model"),
    ({"aggregator": {"model": "lab/never-served"}}, "model"),
    ({"aggregator": {"fallback": ["other/x"]}}, "model"),
    ({"layers": [{"proposers": [{"model": "other/x"}]}]}, "model"),
    ({"layers": [{"proposers": [{"model": "lab/one", "fallback": ["other/x"]}]}]}, "model"),
    ({"aggregator": {"extra": {"n": 5000}}}, "extra"),
    ({"aggregator": {"extra": {"best_of": 2}}}, "extra"),
    ({"aggregator": {"model": "lab/one", "extra": {"style": "plain"}}}, "extra"),
    ({"layers": [{"proposers": [{"model": "lab/one", "extra": {"max_tokens": 9999}}]}]}, "extra"),
    ({"aggregator": {"price": {"input": 0, "output": 0}}}, "price"),
    ({"aggregator": {"timeout_s": 1e9}}, "timeout_s"),
    ({"aggregator": {"idle_timeout_s": 61}}, "timeout_s"),
    ({"prompt": "/etc/passwd"}, "prompt"),
    ({"prompt": "mine", "template": "{{ proposals }}"}, "prompt"),
    ({"layers": [{"proposers": [{"model": "lab/one", "samples": 129}]}]}, "layers"),
    ({"layers": [{"proposers": [{"model": "lab/one", "samples": 64}]}] * 2}, "layers"),
    ({"layers": [{"proposers": [{"model": "lab/one", "samples": 64, "hedge": {}}]}]}, "layers"),
    ({"layers": [{"proposers": [{"model": "lab/one", "fallback": ["lab/two"] * 200}]}]}, "layers"),
]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/runs", "/api/yaml"])
@pytest.mark.parametrize(("changes", "key"), LOOSER, ids=lambda value: json.dumps(value)[:70])
async def test_what_would_loosen_the_operators_limits_is_refused_by_name(
    guarded: ServedModel, path: str, changes: dict[str, Any], key: str
) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/responses": {"model": "moa/duo", "input": "Hi"},
        "/v1/messages": {"model": "moa/duo", "max_tokens": 5, "messages": HELLO},
        "/v1/chat/completions": {"model": "moa/duo", "messages": HELLO},
    }
    whole = {**DUO.as_dict(), **changes, "aggregator": {**DUO.as_dict()["aggregator"], **changes.get("aggregator", {})}}
    if path in bodies:
        body = {**bodies[path], "moa": {"mixture": changes}}
    else:
        body = {"mixture": whole} | ({"messages": HELLO} if path == "/api/runs" else {})
    status, reply = await guarded.post(path, body)

    assert status == 400
    assert (reply["error"].get("param") or reply["error"]["message"].partition(":")[0]) == key
    assert guarded.upstream.requests == []


async def test_what_stays_within_them_is_taken(guarded: ServedModel) -> None:
    guarded.upstream.behave("*", Text("fine"))
    changes: list[tuple[str, dict[str, Any]]] = [
        ("moa/duo", {"layers": [{"proposers": [{"model": "lab/one", "samples": 20, "max_tokens": 5}]}]}),
        ("moa/duo", {"aggregator": {"model": "lab/one", "fallback": ["lab/two"], "timeout_s": 200, "max_tokens": 5}}),
        ("moa/free", {"aggregator": {"temperature": 0}}),
        ("moa/tuned", {"aggregator": {"temperature": 0}}),
    ]
    for model, mixture in changes:
        status, reply = await guarded.chat(model=model, moa={"mixture": mixture})
        assert status == 200, reply


async def test_an_operator_may_let_keys_name_models_that_are_not_served_but_never_unpriced_ones() -> None:
    others = {"other": UNPRICED, "priced": {}}
    options = {"keys": keys(budget_usd=0.01), "allows_unserved_models": True}
    async with served(SOLO, others=others, **options) as server:
        server.http.headers["authorization"] = "Bearer moa-0"
        server.upstream.behave("x", Text("fine"))
        taken, _ = await server.chat(moa={"mixture": {"aggregator": {"model": "priced/x"}}})
        refused, reply = await server.chat(moa={"mixture": {"aggregator": {"model": "other/x"}}})

    assert (taken, refused) == (200, 400)
    assert "other/x" in reply["error"]["message"]


async def test_without_keys_the_servers_own_budget_holds_too() -> None:
    async with served(SOLO, others={"other": UNPRICED}, budget_usd=0.01) as server:
        for mixture in ({"aggregator": {"model": "other/x"}}, {"allow_unpriced": True}):
            status, _ = await server.chat(moa={"mixture": mixture})
            assert status == 400

    assert server.upstream.requests == []


async def test_a_dearer_tier_of_a_service_is_refused_under_a_budget_and_passed_on_without_one() -> None:
    for options, expected in (({}, 200), ({"keys": keys(budget_usd=0.01)}, 400), ({"budget_usd": 0.01}, 400)):
        async with served(SOLO, **options) as server:
            server.http.headers["authorization"] = "Bearer moa-0"
            status, _ = await server.chat(service_tier="priority")
            cheap, _ = await server.chat(service_tier="flex")

        assert (status, cheap) == (expected, 200)


BOMB = ServiceState("lab/writer", {"message": {"reasoning_content": "thought " * 100_000}}).pack()
STATEFUL = {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.encrypted", "data": BOMB}]}
LONG = "word " * 20_000
PROMPT_PARTS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": LONG}]},
    {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "title": LONG}}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": LONG}}}},
    {"chat_template_kwargs": {"documents": LONG}},
    {"grammar": LONG},
    {"messages": [*HELLO, STATEFUL, *HELLO]},
    {"messages": [*HELLO, {**STATEFUL, "content": None, "tool_calls": [CALL]}, RESULT]},
    {"thinking_budget": 10_000},
    {"thinking": {"type": "enabled", "budget_tokens": 10_000}},
]


@pytest.mark.parametrize("body", PROMPT_PARTS, ids=lambda body: json.dumps(body)[:60])
@pytest.mark.parametrize("model", ["moa/solo", "moa/duo"])
async def test_whatever_makes_a_call_dear_is_known_before_it_is_made(
    guarded: ServedModel, model: str, body: dict[str, Any]
) -> None:
    status, reply = await guarded.chat(model=model, **body)

    assert (status, reply["error"]["code"]) == (402, "over_budget"), reply
    assert guarded.upstream.requests == []


# -- whatever a request holds --------------------------------------------------------------------------------------

BUDGET_USD = 0.001

AGENT = st.fixed_dictionaries(
    {"model": st.sampled_from(["lab/one", "lab/two", "lab/writer"]), "max_tokens": st.sampled_from([5, 100, 900])},
    optional={
        "samples": st.sampled_from([2, 3]),
        "fallback": st.just(["lab/two"]),
        "hedge": st.just({"after_s": 0.001}),
    },
)
AGGREGATOR = AGENT.map(lambda agent: {**agent, "samples": 1})
LAYER = st.fixed_dictionaries({"proposers": st.lists(AGENT, min_size=1, max_size=2)})
MIXTURE = st.fixed_dictionaries({"aggregator": AGGREGATOR}, optional={"layers": st.lists(LAYER, max_size=2)})

SPOILING: list[tuple[str, dict[str, Any]]] = [
    ("agent", {"extra": {"n": 200}}),
    ("agent", {"extra": {"best_of": 200}}),
    ("agent", {"extra": {"max_tokens": 99_999}}),
    ("agent", {"extra": {"max_completion_tokens": 99_999}}),
    ("agent", {"extra": {"service_tier": "priority"}}),
    ("agent", {"model": "other/x", "max_tokens": 900}),
    ("agent", {"fallback": ["other/x"]}),
    ("agent", {"price": {"input": 0, "output": 0}}),
    ("agent", {"max_tokens": 10**6}),
    ("agent", {"max_tokens": None}),
    ("agent", {"samples": 200}),
    ("mixture", {"allow_unpriced": True}),
    ("mixture", {"budget_usd": 1e9}),
    ("mixture", {"degrade": ["proposers", "layers", "aggregator_alone"]}),
    ("mixture", {"aggregation": "selection"}),
    ("mixture", {"on_aggregator_failure": "best_proposal"}),
    ("request", {"max_tokens": 2**31 - 1}),
    ("request", {"max_completion_tokens": 5_000}),
    ("request", {"service_tier": "priority"}),
    ("request", {"n": 2}),
    ("request", {"stream": True}),
    ("request", {"model": "moa/free"}),
    ("request", {"model": "other/x"}),
]
"""What a request may hold beside a good mixture, and where."""


@st.composite
def requests_of_a_caller(draw: st.DrawFn) -> dict[str, Any]:
    """A good request, with a few things that would make it cost more than it says."""
    mixture = draw(MIXTURE)
    request: dict[str, Any] = {"model": draw(st.sampled_from(["moa/duo", "moa/solo"])), "moa": {"mixture": mixture}}
    for place, change in draw(st.lists(st.sampled_from(SPOILING), max_size=2)):
        agents = [
            mixture["aggregator"],
            *(agent for layer in mixture.get("layers", ()) for agent in layer["proposers"]),
        ]
        target = {"agent": draw(st.sampled_from(agents)), "mixture": mixture, "request": request}[place]
        target.update(change)
        if change.get("model") == "other/x":
            mixture["allow_unpriced"] = True
    return request


def _greedy(body: dict[str, Any], number: int) -> Text:
    """A reply that is as long as the request allows, as often as it asks for."""
    prompt = sum(len(str(message.get("content"))) for message in body["messages"]) // 4
    most = max(int(body.get(name) or 0) for name in ("max_tokens", "max_completion_tokens"))
    choices = max(int(body.get(name) or 1) for name in ("n", "best_of"))
    return Text("x", usage=(prompt, (most or 10_000) * choices))


def _bill_usd(upstream: ModelServer) -> tuple[float, float]:
    """What the upstream charges in US dollars, and what of that is for prompts."""
    used = [_greedy(request.body, 0).usage or (0, 0) for request in upstream.requests if request.model != "free"]
    tier = [2 if request.body.get("service_tier") == "priority" else 1 for request in upstream.requests]
    prompts = sum(prompt * factor for (prompt, _), factor in zip(used, tier, strict=False)) * float(PRICE.input) / 1e6
    replies = sum(reply * factor for (_, reply), factor in zip(used, tier, strict=False)) * float(PRICE.output) / 1e6
    return prompts + replies, prompts


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests_of_a_caller(), min_size=2, max_size=6))
def test_whatever_requests_hold_the_upstreams_bill_stays_within_the_callers_budget(
    requests: list[dict[str, Any]],
) -> None:
    async def attack() -> tuple[float, float]:
        options = {"keys": keys(budget_usd=BUDGET_USD), "others": {"other": UNPRICED}}
        async with served(DUO, SOLO, FREE, **options) as server:
            server.http.headers["authorization"] = "Bearer moa-0"
            server.upstream.behave("*", _greedy)
            for model in ("one", "two", "writer"):
                server.upstream.behave(model, _greedy)

            async def send(body: dict[str, Any]) -> None:
                url = f"{server.url}/v1/chat/completions"
                async with server.http.post(url, json={"messages": HELLO, **body}) as response:
                    assert response.status != 500, await response.text()
                    await response.read()

            await asyncio.gather(*(send(body) for body in requests))
            return _bill_usd(server.upstream)

    spent, prompts = asyncio.run(attack())

    # The tokens of a prompt are estimated: by no more than all of it, once for each call.
    assert spent <= BUDGET_USD + prompts


@pytest.mark.slow
async def test_a_hundred_hostile_keys_at_once_each_spend_no_more_than_their_budget() -> None:
    count, budget = 100, 0.002
    async with served(DUO, SOLO, others={"other": UNPRICED}, keys=keys(count, budget_usd=budget)) as server:
        server.upstream.behave("*", _greedy)
        for model in ("one", "two", "writer"):
            server.upstream.behave(model, _greedy)

        async def attack(number: int) -> None:
            for attempt in range(6):
                hostile, _ = LOOSER[(number + attempt) % len(LOOSER)]
                mixture = hostile if attempt % 2 else {"aggregator": {"seed": attempt}}
                body = {"model": "moa/duo", "messages": HELLO, "user": str(number), "moa": {"mixture": mixture}}
                headers = {"authorization": f"Bearer moa-{number}"}
                await server.post("/v1/chat/completions", body, headers=headers)

        await asyncio.gather(*(attack(number) for number in range(count)))
        callers = [server.app.state.service.options.keys.caller(f"moa-{number}") for number in range(count)]
        spent, prompts = _bill_usd(server.upstream)

    assert spent <= count * budget + prompts
    assert all(caller.budget.spent_usd <= caller.budget.limit_usd for caller in callers)
    assert len(server.upstream.requests) >= count
