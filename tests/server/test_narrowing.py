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
from moa._mixture.schema import Mixture
from moa._server.api_keys import ApiKeys, KeySettings, hash_key
from tests.support.model_server import Hang, ModelServer, Text
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


def _with(name: str, **limits: float) -> Mixture:
    return load({**SOLO.as_dict(), "name": name, **limits})


async def test_a_request_can_not_take_away_the_limits_of_the_operators_mixture() -> None:
    poor, short = _with("poor", budget_usd=0.00001), _with("short", deadline_s=0.05)
    async with served(poor, short) as server:
        server.upstream.behave("writer", Hang())
        for model, changes, expected in (
            ("moa/poor", {"budget_usd": 1e9}, 402),
            ("moa/poor", {"budget_usd": None}, 402),
            ("moa/short", {"deadline_s": 600}, 504),
            ("moa/short", {"deadline_s": None}, 504),
        ):
            async with asyncio.timeout(10):
                status, reply = await server.chat(model=model, moa={"mixture": changes})
            assert status == expected, reply
            status, reply = await server.chat(model=model, moa={next(iter(changes)): 600})
            assert status == expected, reply


async def test_the_size_of_a_mixture_is_bounded_at_every_address() -> None:
    large = {"layers": [{"proposers": [{"model": "lab/one", "extra": {"a": [1] * 5_000}}]}]}
    bodies = {
        "/v1/chat/completions": {"model": "moa/solo", "messages": HELLO, "moa": {"mixture": large}},
        "/api/runs": {"mixture": {**SOLO.as_dict(), **large}, "messages": HELLO},
        "/api/yaml": {"mixture": {**SOLO.as_dict(), **large}},
    }
    async with served(SOLO) as server:
        for path, body in bodies.items():
            status, reply = await server.post(path, body)
            assert (status, reply["error"]["message"].startswith("too large")) == (400, True), reply


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
LONG = "word " * 10_000
IMAGE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
PROMPT_PARTS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": LONG}]},
    {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "title": LONG}}}]},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": LONG}}}},
    {"chat_template_kwargs": {"documents": LONG}},
    {"grammar": LONG},
    {"messages": [{"role": "user", "content": [IMAGE] * 20}]},
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

BUDGET_USD, ROUNDS = 0.004, 4

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
    ("mixture", {"allow_unpriced": True, "aggregator": {"model": "other/x", "max_tokens": 900}}),
    ("mixture", {"budget_usd": 1e9}),
    ("mixture", {"degrade": ["proposers", "layers", "aggregator_alone"]}),
    ("mixture", {"aggregation": "selection"}),
    ("mixture", {"on_aggregator_failure": "best_proposal"}),
    ("request", {"max_tokens": 2**31 - 1}),
    ("request", {"max_completion_tokens": 5_000}),
    ("request", {"service_tier": "priority"}),
    ("request", {"n": 2}),
    ("request", {"best_of": 20}),
    ("request", {"stream": True}),
    ("request", {"thinking_budget": 2_000}),
    ("request", {"thinking": {"type": "enabled", "budget_tokens": 2_000}}),
    *(("request", part) for part in PROMPT_PARTS),
    ("mixture", {"template": "{{ proposals }}" + LONG}),
    ("agent", {"role": LONG}),
    ("agent", {"tier": "priority"}),
    ("agent", {"tier": "flex"}),
    ("agent", {"model": "free/x"}),
    ("request", {"model": "moa/free"}),
    ("request", {"model": "other/x"}),
]
"""What a request may hold beside a good mixture, and where."""


PATHS = ["/v1/chat/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/runs"]


@st.composite
def requests_of_a_caller(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A good request to some address, with a few things that would make it cost more than it says."""
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
            mixture["allow_unpriced"] = draw(st.booleans())
    path = draw(st.sampled_from(PATHS))
    return path, _body(path, {"messages": HELLO, **request}, mixture)


def _body(path: str, request: dict[str, Any], mixture: dict[str, Any]) -> dict[str, Any]:
    """A request of Chat Completions as the API at an address has it."""
    messages = request["messages"]
    if path == "/api/runs":
        return {"mixture": {**DUO.as_dict(), **mixture}, "messages": messages}
    if path == "/v1/messages":
        return {"max_tokens": 5, **request}
    if path == "/v1/responses":
        texts = [{"role": message["role"], "content": message.get("content") or "x"} for message in messages]
        return {**{name: value for name, value in request.items() if name != "messages"}, "input": texts}
    return request


def _greedy(body: dict[str, Any], number: int) -> Text:
    """A reply that is as long as the request allows, as often as it asks for, of a service that counts every byte."""
    limits = [int(body[name]) for name in ("max_tokens", "max_completion_tokens") if body.get(name)]
    choices = max(int(body.get(name) or 1) for name in ("n", "best_of"))
    thoughts = int(body.get("thinking_budget") or body.get("thinking", {}).get("budget_tokens") or 0)
    most = max(limits, default=10_000)
    return Text("word" * min(most, 1_000), usage=(_prompt_tokens(body), (most + thoughts) * choices))


def _prompt_tokens(body: dict[str, Any]) -> int:
    text = json.dumps(body)
    return len(text) // 4 + 1600 * text.count('"image_url", "image_url"')


def _bill_usd(upstream: ModelServer) -> tuple[float, float]:
    """What the upstream charges in US dollars, and by how much of that an estimate of the prompts may be wrong."""
    bill = error = 0.0
    for request in upstream.requests:
        if request.model == "free":
            continue
        tier = 2 if request.body.get("service_tier") == "priority" else 1
        prompt, reply = _greedy(request.body, 0).usage or (0, 0)
        bill += tier * (prompt * float(PRICE.input) + reply * float(PRICE.output)) / 1e6
        # Names of fields and what else of JSON is no text.
        error += (40 + 0.1 * prompt) * float(PRICE.input) / 1e6
    return bill, error


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests_of_a_caller(), min_size=1, max_size=4), st.booleans())
def test_whatever_requests_hold_the_upstreams_bill_stays_within_the_callers_budget(
    requests: list[tuple[str, dict[str, Any]]], allows_unserved_models: bool
) -> None:
    async def attack() -> tuple[float, float]:
        options = {
            "keys": keys(budget_usd=BUDGET_USD),
            "others": {"other": UNPRICED},
            "allows_unserved_models": allows_unserved_models,
        }
        async with served(DUO, SOLO, FREE, **options) as server:
            server.http.headers["authorization"] = "Bearer moa-0"
            server.upstream.behave("*", _greedy)
            for model in ("one", "two", "writer"):
                server.upstream.behave(model, _greedy)

            async def send(path: str, body: dict[str, Any]) -> None:
                async with server.http.post(f"{server.url}{path}", json=body) as response:
                    assert response.status != 500, await response.text()
                    await response.read()

            for _ in range(ROUNDS):
                await asyncio.gather(*(send(*request) for request in requests))
            return _bill_usd(server.upstream)

    spent, error = asyncio.run(attack())

    # The tokens of a prompt are estimated, once for each call.
    assert spent <= BUDGET_USD + error


@pytest.mark.slow
@pytest.mark.parametrize("allows_unserved_models", [False, True])
async def test_what_would_cost_more_costs_no_more_than_the_budget_by_itself(allows_unserved_models: bool) -> None:
    budget, at_once = 0.01, 8
    options = {"keys": keys(len(SPOILING), budget_usd=budget), "allows_unserved_models": allows_unserved_models}
    async with served(DUO, SOLO, FREE, others={"other": UNPRICED}, **options) as server:
        for model in ("*", "one", "two", "writer"):
            server.upstream.behave(model, _greedy)
        for number, (place, change) in enumerate(SPOILING):
            aggregator: dict[str, Any] = {"model": "lab/writer", "max_tokens": 900}
            proposer: dict[str, Any] = {"model": "lab/one", "max_tokens": 100}
            mixture: dict[str, Any] = {"aggregator": aggregator, "layers": [{"proposers": [proposer]}]}
            request: dict[str, Any] = {"model": "moa/duo", "messages": HELLO, "moa": {"mixture": mixture}}
            for target in {"agent": [aggregator, proposer], "mixture": [mixture], "request": [request]}[place]:
                target.update(change)
            server.upstream.requests.clear()

            async def send(number: int = number, request: dict[str, Any] = request) -> None:
                headers = {"authorization": f"Bearer moa-{number}"}
                url = f"{server.url}/v1/chat/completions"
                async with server.http.post(url, json=request, headers=headers) as response:
                    assert response.status != 500, await response.text()
                    await response.read()

            await asyncio.gather(*(send() for _ in range(at_once)))
            spent, error = _bill_usd(server.upstream)
            assert spent <= budget + error, (place, json.dumps(change)[:200])


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
        spent, error = _bill_usd(server.upstream)

    assert spent <= count * budget + error
    assert all(caller.budget.spent_usd <= caller.budget.limit_usd for caller in callers)
    assert len(server.upstream.requests) >= count
