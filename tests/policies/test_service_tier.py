"""Service tiers: who names one, what is sent, how long it may take, and what it costs."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa import Engine, Settings
from moa._config.settings import load_settings
from moa._mixture.schema import FLEX_TIMEOUT_S, Agent
from moa._server.launcher import ServeSettings, make_options
from moa.errors import UsageError
from moa.providers import Endpoint, Price
from tests.cli.moa_command import moa
from tests.support.batch_server import reply_to
from tests.support.behaviours import Raw
from tests.support.forked import exit_code, forked_moa
from tests.support.model_server import ModelServer

PRICES = {"*": Price(input=Decimal(1000), output=Decimal(1000))}


def engine(server: ModelServer, **options: Any) -> Engine:
    endpoint = Endpoint(name="lab", kind="openai", base_url=server.base_url, **{"prices": PRICES, **options})
    return Engine(settings=Settings(endpoints={"lab": endpoint}))


def alone(**agent: Any) -> dict[str, Any]:
    return {"layers": [], "aggregator": {"model": "lab/m", "max_tokens": 10, **agent}}


def served(tier: str | None) -> Raw:
    body = reply_to({"model": "m"}, "yes", 200)
    return Raw(json.dumps(body | ({"service_tier": tier} if tier else {})).encode(), "application/json")


@pytest.mark.parametrize(
    ("of_endpoint", "of_agent", "sent"),
    [
        (None, {}, None),
        ("flex", {}, "flex"),
        ("flex", {"tier": "priority"}, "priority"),
        ("flex", {"tier": "standard"}, "default"),
        (None, {"tier": "flex"}, "flex"),
        ("flex", {"extra": {"service_tier": "scale"}}, "scale"),
    ],
)
async def test_the_agents_own_field_comes_before_its_tier_and_that_before_the_endpoints(
    of_endpoint: str | None, of_agent: dict[str, Any], sent: str | None
) -> None:
    async with ModelServer() as server:
        server.behave("m", served(None))
        async with engine(server, tier=of_endpoint) as models:
            await models.arun(alone(**of_agent), "hi")

    assert server.requests[0].body.get("service_tier") == sent


async def test_a_call_costs_what_it_was_served_in_and_not_what_was_asked_for() -> None:
    async with ModelServer() as server:
        server.behave("m", served("flex"), served("default"))
        async with engine(server, price_factor={"flex": Decimal("0.5")}) as models:
            costs = [(await models.arun(alone(tier="flex"), "hi")).cost_usd for _ in range(2)]

    assert costs == [Decimal("0.0075"), Decimal("0.015")]


async def test_a_cached_reply_serves_every_tier(tmp_path: Path) -> None:
    async with ModelServer() as server:
        server.behave("m", served("flex"))
        endpoint = Endpoint(name="lab", kind="openai", base_url=server.base_url)
        async with Engine(settings=Settings(endpoints={"lab": endpoint}), cache=tmp_path / "cache") as models:
            await models.arun(alone(tier="flex"), "hi")
            await models.arun(alone(), "hi")

    assert len(server.requests) == 1


def test_the_flexible_tier_has_more_time_unless_a_time_is_given() -> None:
    assert Agent(model="lab/m").time_limit_s("flex") == FLEX_TIMEOUT_S
    assert Agent(model="lab/m", tier="flex").time_limit_s(None) == FLEX_TIMEOUT_S
    assert Agent(model="lab/m", tier="flex", timeout_s=120).time_limit_s(None) == 120
    assert Agent(model="lab/m", tier="standard").time_limit_s("flex") == 120


async def test_a_budget_reserves_the_price_of_the_dearer_tier_and_the_usual_one_of_the_cheaper() -> None:
    async with ModelServer() as server:
        factors = {"priority": Decimal(2), "flex": Decimal("0.5")}
        async with engine(server, price_factor=factors) as models:
            worst = {tier: (await models.aforecast(alone(tier=tier), "hi")).worst_usd for tier in (None, *factors)}

    assert worst[None] is not None
    assert worst == {None: worst[None], "priority": 2 * worst[None], "flex": worst[None]}


async def test_a_plan_expects_the_price_of_the_tier() -> None:
    async with ModelServer() as server:
        factors = {"priority": Decimal(2), "flex": Decimal("0.5")}
        async with engine(server, price_factor=factors) as models:
            tiers = (None, "standard", *factors)
            cost = {tier: (await models.aforecast(alone(tier=tier), "hi")).expected_usd for tier in tiers}
        async with engine(server) as models:
            unpriced = (await models.aforecast(alone(tier="flex"), "hi")).expected_usd

    assert cost[None] is not None
    assert {tier: expected / cost[None] for tier, expected in cost.items() if expected} == {
        None: 1,
        "standard": 1,
        "priority": 2,
        "flex": Decimal("0.5"),
    }
    assert unpriced is None


async def test_a_budget_needs_the_price_of_the_dearer_tier() -> None:
    async with ModelServer() as server, engine(server) as models:
        with pytest.raises(UsageError, match="price_factor"):
            await models.arun(alone(tier="priority"), "hi", budget_usd=1)

    assert server.requests == []


async def test_the_command_names_the_tier_of_all_agents(tmp_path: Path) -> None:
    config = tmp_path / "moa.yaml"
    async with ModelServer() as server:
        server.behave("m", served("priority"))
        config.write_text(f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}', tier: flex}}}}")
        ended = await asyncio.to_thread(
            moa, "ask", "hi", "-m", "lab/m", "--tier", "priority", "--config", str(config), "--no-stream"
        )

    assert (ended.code, server.requests[0].body["service_tier"]) == (0, "priority")


@pytest.mark.slow
async def test_an_evaluation_asks_systems_and_judges_in_the_tier_of_its_command(tmp_path: Path) -> None:
    config, prompts = tmp_path / "moa.yaml", tmp_path / "prompts.jsonl"
    mixture, baseline = tmp_path / "mine.yaml", tmp_path / "base.json"
    prompts.write_text('{"instruction": "hi"}\n{"instruction": "ho"}\n')
    mixture.write_text("layers: []\naggregator: {model: lab/m, tier: priority}\n")
    rows = [{"instruction": one, "output": "no", "generator": "base"} for one in ("hi", "ho")]
    baseline.write_text(json.dumps(rows))
    verdict = reply_to({"model": "m"}, '{"verdict": "A"}', 200)
    async with ModelServer() as server:
        server.behave("m", *[served("flex")] * 9)
        server.behave("judge", *[Raw(json.dumps(verdict).encode(), "application/json")] * 9)
        config.write_text(f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}'}}}}")
        common = ("--tier", "flex", "--judge-model", "lab/judge", "--config", str(config))
        options = ("-m", str(mixture), "--baseline", str(baseline), "--no-judge-checks", "--out", str(tmp_path / "run"))
        place = {"folder": tmp_path, "log": tmp_path / "moa.log"}
        ran = await exit_code(forked_moa("eval", "run", str(prompts), *options, *common, **place))
        outputs = ("--outputs", str(tmp_path / "run" / "outputs" / "mine.json"), "--reference", str(baseline))
        asked = (*outputs, "--out", str(tmp_path / "judged.json"), *common)
        judged = await exit_code(forked_moa("eval", "judge", *asked, **place))

    assert (ran, judged) == (0, 0), place["log"].read_text()
    assert {request.model for request in server.requests} == {"m", "judge"}
    assert {request.body.get("service_tier") for request in server.requests} == {"flex"}


def test_a_server_has_its_mixtures_and_its_settings_in_the_tier_of_its_command() -> None:
    serving = ServeSettings(mixtures=("local",), tier="flex")
    options = make_options(serving, load_settings(environ={}))

    assert [mixture.aggregator.tier for mixture in options.mixtures] == ["flex"]
