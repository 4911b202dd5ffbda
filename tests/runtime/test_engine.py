"""The engine as users hold it, over real HTTP."""

import asyncio
import inspect
import pydoc
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

import moa
from moa._config.settings import Settings
from moa._policies.cache.settings import CacheSettings
from moa._pricing.price import Price
from moa._runtime.engine import Engine
from moa._runtime.model_pool import ModelPool
from moa.errors import ConfigError, EngineError, UsageError
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
            answer = await engine.arun(MIXTURE, "hi")

    assert len(server.requests) == len(answer.ledger.calls) == 4
    assert answer.usage.input_tokens == server.bill.input_tokens == 400
    assert answer.cost_usd == Decimal(480) / 1_000_000
    assert answer.as_dict()["calls"][3]["purpose"] == "answer"


@pytest.mark.slow
async def test_a_thousand_runs_at_once_share_one_engine() -> None:
    async with ModelServer() as server:
        server.behave("*", lambda body, number: Text(f"re: {body['messages'][0]['content']}"))
        async with Engine(settings=_lab(server)) as engine:
            answers = await asyncio.gather(*(engine.arun(MIXTURE, f"prompt {n}") for n in range(1000)))

    assert [answer.text for answer in answers] == [f"re: prompt {n}" for n in range(1000)]
    assert {answer.status for answer in answers} == {"complete"}


async def test_an_endpoints_limit_holds_for_all_of_its_models_and_runs() -> None:
    async with ModelServer() as server:
        server.behave("*", Text("fine", delay_s=0.01))
        async with Engine(settings=_lab(server, limits=LimitSettings(max_concurrency=3))) as engine:
            await asyncio.gather(*(engine.arun(MIXTURE, "hi") for _ in range(8)))

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
            await engine.arun(mixture, "hi")

    assert running == [1, 1, 1, 1]


async def test_leaving_a_stream_closes_the_connections_to_the_models_at_once() -> None:
    async with ModelServer() as server:
        server.behave("*", Hang())
        async with Engine(settings=_lab(server)) as engine:
            async with engine.astream(MIXTURE, "hi") as events:
                assert isinstance(await anext(events), RunStarted)
                await server.until(lambda: server.running == 2)  # the two samples of b are one call
            await server.until(lambda: server.cancelled == 2)

    assert [attempt.status for attempt in events.ledger.attempts] == ["cancelled"] * 3


def test_what_is_learnt_of_a_service_is_kept_and_logged_without_the_secrets_of_its_address() -> None:
    endpoint = Endpoint(name="lab", kind="openai", base_url="https://x.test/s3cr3t/v1")
    pool = ModelPool(
        Settings(endpoints={"lab": endpoint}), {}, time.perf_counter, CacheSettings(path=Path("none"), mode="off")
    )

    assert pool._profile(endpoint, "a").endpoint == "lab https://x.test/***/v1"


async def test_a_secret_is_in_no_error_and_no_answer() -> None:
    async with ModelServer() as server:
        server.behave("a", Status(401, body="your key sk-very-secret is wrong"))
        server.behave("*", Text("fine"))
        async with Engine(settings=_lab(server, api_key=SecretStr("sk-very-secret"))) as engine:
            answer = await engine.arun(MIXTURE, "hi")
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
            await engine.arun(mixture, "hi")

    sent = str(other.requests[0].body) + str(other.requests[0].headers)
    assert "from one" in sent
    assert "first-model" not in sent
    assert one.base_url not in sent


async def test_a_model_without_an_endpoint_is_refused_before_anything_is_sent() -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        with pytest.raises(ConfigError, match="lab"):
            await engine.arun({**MIXTURE, "aggregator": {"model": "lob/x"}}, "hi")

    assert server.requests == []


@pytest.mark.parametrize("prompt", ["", "  ", [], [{"role": "user"}], [{"role": "robot", "content": "hi"}]])
async def test_a_conversation_that_makes_no_sense_is_refused(prompt: object) -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        with pytest.raises(UsageError):
            await engine.arun(MIXTURE, prompt)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
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
            await engine.arun(MIXTURE, "hi", **arguments)

    assert server.requests == []


async def test_an_argument_that_does_not_exist_is_a_type_error_everywhere() -> None:
    async with ModelServer() as server, Engine(settings=_lab(server)) as engine:
        for ask in (engine.arun, engine.astream, moa.run):
            with pytest.raises(TypeError, match="unexpected keyword argument 'budget'"):
                await ask(MIXTURE, "hi", budget=1)


def test_settings_and_the_path_of_a_settings_file_together_are_refused() -> None:
    with pytest.raises(UsageError, match=r"`config`.*or `settings`, not both"):
        Engine("moa.yaml", settings=Settings(endpoints={}))


def test_every_way_of_running_has_the_signature_that_it_takes() -> None:
    arun, astream = (dict(inspect.signature(method).parameters) for method in (Engine.arun, Engine.astream))
    del arun["self"], astream["self"]

    assert {inspect.Parameter.KEYWORD_ONLY} == {arun[name].kind for name in list(arun)[2:]}
    assert dict(inspect.signature(moa.run).parameters) == arun
    assert dict(inspect.signature(moa.arun).parameters) == arun
    assert dict(inspect.signature(moa.stream).parameters) == astream
    assert dict(inspect.signature(moa.astream).parameters) == astream
    assert {**arun, "proposal_deltas": astream["proposal_deltas"], "answer_deltas": astream["answer_deltas"]} == astream
    assert "trace: str | pathlib.Path | None = None" in pydoc.plain(pydoc.render_doc(moa.run))


@pytest.mark.parametrize(("name", "instead"), [("run", "arun"), ("stream", "astream")])
async def test_an_engine_has_no_synchronous_methods_and_says_what_to_use(name: str, instead: str) -> None:
    async with Engine(settings=Settings(endpoints={})) as engine:
        with pytest.raises(AttributeError, match=rf"async only: use `engine\.{instead}\(\.\.\.\)`, or `moa\.{name}"):
            getattr(engine, name)
        with pytest.raises(AttributeError, match="no attribute 'ran'"):
            engine.ran  # noqa: B018


async def test_what_complete_replies_took_is_what_the_next_engine_expects(tmp_path: Path) -> None:
    price = Price(input=Decimal(1), output=Decimal(2))
    async with ModelServer() as server:
        server.behave("*", Text("fine", usage=(100, 30)))
        settings = replace(_lab(server, prices={"*": price}, retry=None), profiles=tmp_path / "profiles.sqlite")
        async with Engine(settings=settings) as engine:
            before = await engine.aforecast(MIXTURE, "hi")
            for _ in range(3):
                answer = await engine.arun(MIXTURE, "hi")
            server.behave("agg", Status(500))
            with pytest.raises(EngineError):
                await engine.arun(MIXTURE, "hi")
        async with Engine(settings=settings) as engine:
            after = await engine.aforecast(MIXTURE, "hi")
            measured = engine.expectations.measured

    assert [call.usage.output_tokens for layer in before.expected for call in layer] == [400] * 4
    assert [call.usage.output_tokens for layer in after.expected for call in layer] == [30] * 4
    assert {model: one.calls for (_, model, _), one in measured.items()} == {"a": 4, "b": 8, "agg": 3}
    took_s = sum(attempt.duration_s for attempt in answer.ledger.attempts)
    assert 0 < sum(one.seconds / one.calls for one in measured.values()) < 100 * took_s
