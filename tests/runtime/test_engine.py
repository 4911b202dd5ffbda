"""The engine as users hold it, over real HTTP."""

import asyncio
from decimal import Decimal

import pytest
from pydantic import SecretStr

from moa._config.settings import Settings
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa.errors import ConfigError, UsageError
from moa.events import RunStarted
from moa.providers._endpoint import Endpoint, LimitSettings
from tests.support.model_server import Hang, ModelServer, Status, Text

MIXTURE = {
    "name": "m",
    "layers": [{"proposers": [{"model": "lab/a"}, {"model": "lab/b", "samples": 2}]}],
    "aggregator": {"model": "lab/agg"},
}


def _lab(server: ModelServer, **fields: object) -> Settings:
    return Settings(endpoints={"lab": Endpoint(name="lab", kind="openai", base_url=server.base_url, **fields)})


async def test_an_answer_accounts_for_every_call_that_the_server_saw() -> None:
    price = Price(input=Decimal(1), output=Decimal(2))
    async with ModelServer() as server:
        server.behave("*", Text("fine", usage=(100, 10)))
        async with Engine(settings=_lab(server, prices={"*": price})) as engine:
            answer = await engine.run(MIXTURE, "hi")

    assert len(server.requests) == len(answer.ledger.calls) == 4
    assert answer.usage.input_tokens == server.bill.input_tokens == 400
    assert answer.cost_usd == Decimal(480) / 1_000_000
    assert answer.as_dict()["calls"][3]["purpose"] == "answer"


@pytest.mark.slow
async def test_a_thousand_runs_at_once_share_one_engine() -> None:
    async with ModelServer() as server:
        server.behave("*", lambda body, number: Text(f"re: {body['messages'][-1]['content']}"))
        async with Engine(settings=_lab(server)) as engine:
            answers = await asyncio.gather(*(engine.run(MIXTURE, f"prompt {n}") for n in range(1000)))

    assert [answer.text for answer in answers] == [f"re: prompt {n}" for n in range(1000)]
    assert {answer.status for answer in answers} == {"complete"}


async def test_an_endpoints_limit_holds_for_all_of_its_models_and_runs() -> None:
    async with ModelServer() as server:
        server.behave("*", Text("fine", delay_s=0.01))
        async with Engine(settings=_lab(server, limits=LimitSettings(max_concurrency=3))) as engine:
            await asyncio.gather(*(engine.run(MIXTURE, "hi") for _ in range(8)))

    assert server.peak == 3


async def test_a_models_own_limit_holds_for_it_alone() -> None:
    async with ModelServer() as server:
        running: list[int] = []

        def count(body: dict[str, object], number: int) -> Text:
            running.append(server.running)
            return Text("fine", delay_s=0.01)

        server.behave("b", count)
        server.behave("*", Text("fine"))
        limits = {"b": LimitSettings(max_concurrency=1)}
        mixture = {**MIXTURE, "layers": [{"proposers": [{"model": "lab/b", "samples": 4}]}]}
        async with Engine(settings=_lab(server, model_limits=limits)) as engine:
            await engine.run(mixture, "hi")

    assert running == [1, 1, 1, 1]


async def test_leaving_a_stream_closes_the_connections_to_the_models_at_once() -> None:
    async with ModelServer() as server:
        server.behave("*", Hang())
        async with Engine(settings=_lab(server)) as engine:
            async with engine.stream(MIXTURE, "hi") as events:
                assert isinstance(await anext(events), RunStarted)
                await server.until(lambda: server.running == 3)
            await server.until(lambda: server.cancelled == 3)

    assert [attempt.status for attempt in events.ledger.attempts] == ["cancelled"] * 3


async def test_a_secret_is_in_no_error_and_no_answer() -> None:
    async with ModelServer() as server:
        server.behave("a", Status(401, body="your key sk-very-secret is wrong"))
        server.behave("*", Text("fine"))
        async with Engine(settings=_lab(server, api_key=SecretStr("sk-very-secret"))) as engine:
            answer = await engine.run(MIXTURE, "hi")
            shown = repr(engine.settings)

    assert answer.degraded[0].code == "authentication_failed"
    assert "sk-very-secret" not in repr(answer) + str(answer.as_dict()) + shown
    assert server.requests[0].headers["Authorization"] == "Bearer sk-very-secret"


async def test_what_a_provider_knows_of_one_service_is_never_sent_to_another() -> None:
    async with ModelServer() as one, ModelServer() as other:
        one.behave("*", Text("from one"))
        other.behave("*", Text("from other"))
        settings = Settings(
            endpoints={
                "one": Endpoint(name="one", kind="openai", base_url=one.base_url),
                "other": Endpoint(name="other", kind="openai", base_url=other.base_url),
            }
        )
        mixture = {
            "layers": [{"proposers": [{"model": "one/first-model"}]}],
            "aggregator": {"model": "other/second-model"},
        }
        async with Engine(settings=settings) as engine:
            await engine.run(mixture, "hi")

    sent = str(other.requests[0].body) + str(other.requests[0].headers)
    assert "from one" in sent
    assert "first-model" not in sent
    assert one.base_url not in sent


async def test_a_model_without_an_endpoint_is_refused_before_anything_is_sent() -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        with pytest.raises(ConfigError, match="lab"):
            await engine.run({**MIXTURE, "aggregator": {"model": "lob/x"}}, "hi")

    assert server.requests == []


@pytest.mark.parametrize("prompt", ["", "  ", [], [{"role": "user"}], [{"role": "robot", "content": "hi"}]])
async def test_a_conversation_that_makes_no_sense_is_refused(prompt: object) -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        with pytest.raises(UsageError):
            await engine.run(MIXTURE, prompt)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"budget": 1}, "did you mean 'budget_usd'"),
        ({"seed": "7"}, "a seed is a whole number"),
        ({"seed": True}, "a seed is a whole number"),
        ({"deadline_s": 0}, "a deadline is a positive number"),
        ({"deadline_s": float("nan")}, "a deadline is a positive number"),
        ({"deadline_s": "5"}, "a deadline is a positive number"),
        ({"budget_usd": "much"}, "a budget is a number"),
        ({"options": {}}, "give moa.ReplyOptions"),
        ({"sampling": {"temperature": 1}}, "give moa.Sampling"),
    ],
)
async def test_an_argument_that_makes_no_sense_is_refused_before_anything_is_sent(
    arguments: dict[str, object], says: str
) -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        with pytest.raises(UsageError, match=says):
            await engine.run(MIXTURE, "hi", **arguments)

    assert server.requests == []
