"""Searches over scripted models whose qualities are planted, through real runs."""

import asyncio
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._pricing.price import Price
from moa.errors import EvaluationDataError, ServiceFailed, UsageError
from moa.evaluation._runner.preparing import Options
from moa.evaluation._search.conclusion import Conclusion, conclude
from moa.evaluation._search.planning import plan_search
from moa.evaluation._search.report import write_search
from moa.evaluation._search.search import Found, Search, prepare_search, run_search
from moa.providers._base import ModelRequest
from moa.providers._endpoint import Endpoint
from moa.providers._scripted import ScriptedProvider
from tests.support.engines import proposals_text, scripted, user_text
from tests.support.evaluations import asked
from tests.support.forked import exit_code, forked, needs_forks
from tests.support.model_server import ModelServer, Text

PRICES = {"big": Price(input=Decimal(10), output=Decimal(50)), "*": Price(input=Decimal("0.1"), output=Decimal("0.5"))}
ROWS = [{"prompt": f"question {number}", "reference": "yes"} for number in range(160)]

Right = Callable[[str, frozenset[str], int], bool]
"""Whether a model's answer is right, given the models whose proposals it reads and the prompt's number."""


def planted(right: Right) -> ScriptedProvider:
    def answer(request: ModelRequest) -> str:
        members = frozenset(name for name in "abc" if f"({name})" in proposals_text(request))
        number = int(user_text(request).split()[1])
        return f"{'yes' if right(request.model, members, number) else 'no'} ({request.model})"

    return scripted(dict.fromkeys(("a", "b", "c", "d", "big"), answer))


def wanted(provider: ScriptedProvider, models: str = "abc", rows: object = ROWS, **more: Any) -> Search:
    endpoint = Endpoint(name="fake", kind="openai", base_url="http://127.0.0.1:9/v1", prices=PRICES)
    search = {key: more.pop(key) for key in ("max_cost_ratio", "deadline_s", "holdout", "aggregators") if key in more}
    options = Options(
        baseline="fake/big",
        measures=["contains"],
        settings=Settings(endpoints={"fake": endpoint}),
        providers={"fake": provider},
    )
    references = [f"fake/{one}" for one in models]
    return prepare_search(rows, references, options | more, max_tokens=50, **search)  # type: ignore[arg-type]


async def searched(search: Search, out: Path) -> tuple[Found, Conclusion]:
    found = await run_search(search, out, lambda progress: None)
    return found, conclude(found)


def pair_wins(model: str, members: frozenset[str], number: int) -> bool:
    if model == "big" or (members == {"a", "c"} and model == "b"):
        return number % 10 != 0
    return number % 3 == 0


@pytest.mark.slow
async def test_the_pair_that_is_as_good_is_found_and_can_be_served(tmp_path: Path) -> None:
    provider = planted(pair_wins)

    found, conclusion = await searched(wanted(provider, max_cost_ratio=0.9), tmp_path)
    write_search(found, conclusion, tmp_path)

    assert conclusion.winner is not None
    assert (conclusion.winner.name, conclusion.pays) == ("a+c@b", True)
    assert "a+c@b pays" in conclusion.sentences[0]
    served = load(yaml.safe_load((tmp_path / "winner.yaml").read_text()))
    assert [agent.model for agent in served.layers[0].proposers] == ["fake/a", "fake/c"]
    assert found.calls < 0.6 * found.brute_force
    # Members answer each prompt once, however many mixtures they are in; further samples are for Self-MoA.
    told = json.loads((tmp_path / "search.json").read_text())
    assert {one["prompts"] for one in told["candidates"] if one["form"] == "single"} == {len(ROWS)}
    assert "a+c@b" in (tmp_path / "search.html").read_text()


@pytest.mark.slow
async def test_the_same_search_again_buys_nothing_and_a_further_model_only_what_is_new(tmp_path: Path) -> None:
    first, again, more = planted(pair_wins), planted(pair_wins), planted(pair_wins)
    _, conclusion = await searched(wanted(first, "ab", ROWS[:40]), tmp_path)

    _, repeated = await searched(wanted(again, "ab", ROWS[:40]), tmp_path)
    await searched(wanted(more, "abc", ROWS[:40]), tmp_path)

    assert repeated.sentences == conclusion.sentences
    assert not again.requests
    alone = [one for one in more.requests if not proposals_text(one) and one.context.sample == 0]
    assert {one.model for one in alone} == {"c"}


@pytest.mark.slow
async def test_a_model_alone_that_is_good_enough_is_named_and_no_mixture_pays(tmp_path: Path) -> None:
    provider = planted(lambda model, members, number: model in ("a", "big") or number % 3 == 0)

    found, conclusion = await searched(wanted(provider, "ab"), tmp_path)
    write_search(found, conclusion, tmp_path)

    assert conclusion.winner is not None
    assert (conclusion.winner.name, conclusion.pays) == ("fake/a", False)
    assert conclusion.sentences[0].startswith("No mixture pays: fake/a alone")
    assert not (tmp_path / "winner.yaml").exists()


async def test_mixtures_that_must_cost_too_much_are_never_asked(tmp_path: Path) -> None:
    provider = planted(pair_wins)

    found, conclusion = await searched(wanted(provider, rows=ROWS[:40], max_cost_ratio=0.012), tmp_path)

    assert {one.left_out for one in found.raced if one.candidate.form != "single"} == {
        "it costs too much, whatever its aggregator writes"
    }
    assert asked(provider) == {"a": 40, "b": 40, "c": 40, "big": 40}
    assert conclusion.winner is None
    assert "40 prompts are too few" in conclusion.sentences[0]


async def test_a_baseline_that_never_answers_is_no_verdict_on_mixtures(tmp_path: Path) -> None:
    provider = scripted({**dict.fromkeys("abc", "yes"), "big": ServiceFailed("down", model="fake/big")})

    with pytest.raises(EvaluationDataError, match="nothing can be compared with fake/big"):
        await searched(wanted(provider, rows=ROWS[:20]), tmp_path)


async def test_what_is_open_is_not_called_a_no(tmp_path: Path) -> None:
    _, conclusion = await searched(wanted(planted(lambda *_: True), "ab", ROWS[:20]), tmp_path)

    assert conclusion.winner is None
    assert any(sentence.startswith("No mixture is shown to pay") for sentence in conclusion.sentences)
    assert not any(sentence.startswith("No mixture pays") for sentence in conclusion.sentences)


async def test_the_budget_ends_a_search_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    small, large = planted(pair_wins), planted(pair_wins)
    whole = Options(baseline_max_tokens=50)

    found, conclusion = await searched(wanted(small, "ab", ROWS[:40], budget_usd=0.008, **whole), tmp_path)
    on, _ = await searched(wanted(large, "ab", ROWS[:40], budget_usd=5.0, **whole), tmp_path)

    assert (found.ended, on.ended) == ("budget", "complete")
    assert found.spent_usd <= 0.008
    assert conclusion.sentences[0].startswith("The budget was used up")


@pytest.mark.slow
async def test_a_hold_out_is_seen_by_the_models_alone_and_by_one_mixture(tmp_path: Path) -> None:
    provider = planted(pair_wins)

    found, _ = await searched(wanted(provider, holdout=0.5, max_cost_ratio=0.9), tmp_path)

    seen = {one.candidate.name for one in found.raced if len(one.advantages) and one.candidate.form != "single"}
    assert len(seen) == 1


def test_the_plan_says_first_whether_the_prompts_can_show_the_margin() -> None:
    plan = plan_search(wanted(planted(pair_wins), rows=ROWS[:50]))

    assert plan.sentences[0].startswith("50 prompts are too few")
    assert plan.prompts_needed > 1000
    assert plan.alone_usd is not None
    assert plan.most_usd is not None
    assert plan.most_usd > plan.alone_usd
    assert 0 < plan.alone_minutes < plan.most_minutes
    assert all(" s." in text or " min " in text for text in plan.sentences[1:3])


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        ("a", {}, "at least two"),
        ("ab", {"measures": []}, "one measure"),
        ("ab", {"max_cost_ratio": 0}, "--max-cost-ratio"),
        ("ab", {"holdout": 1.5}, "--holdout"),
        ("ab", {"baseline": "fake/a"}, "baseline already"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_bought(
    models: str, options: dict[str, Any], said: str
) -> None:
    provider = planted(pair_wins)

    with pytest.raises(UsageError, match=said):
        wanted(provider, models, **options)

    assert not provider.requests


def run(folder: Path) -> None:
    """The process that is killed."""
    options = Options(baseline="lab/big", measures=["contains"], config=folder / "moa.yaml", concurrency=4, seed=0)
    search = prepare_search(ROWS[:48], ["lab/a", "lab/b"], options, max_tokens=50)
    found, conclusion = asyncio.run(searched(search, folder / "run"))
    write_search(found, conclusion, folder / "run")


@pytest.mark.slow
@needs_forks
async def test_a_search_that_is_killed_goes_on_and_buys_only_calls_in_flight_again(tmp_path: Path) -> None:
    def bought(server: ModelServer) -> int:
        return len(server.requests)

    def answer(body: Mapping[str, Any], number: int) -> Text:
        return Text("yes" if body["model"] == "big" else "no", delay_s=0.002)

    async with ModelServer() as server:
        for model in ("a", "b", "big"):
            server.behave(model, answer)
        prices = '{big: {input: 10, output: 50}, "*": {input: 0.1, output: 0.5}}'
        config = f"endpoints: {{lab: {{kind: openai, base_url: '{server.base_url}', prices: {prices}}}}}"
        (tmp_path / "moa.yaml").write_text(config)
        for calls in (60, 200):
            process = forked(run, tmp_path)
            await server.until(lambda calls=calls: bought(server) >= calls, timeout_s=60)  # type: ignore[misc]
            process.kill()
            await exit_code(process)
        code, killed = await exit_code(forked(run, tmp_path)), bought(server)
        other = tmp_path / "other"
        other.mkdir()
        (other / "moa.yaml").write_text(config)
        await exit_code(forked(run, other))
        whole = bought(server) - killed

    assert code == 0
    assert whole <= killed <= whole + 2 * 16
    first, second = (json.loads((where / "run" / "search.json").read_text()) for where in (tmp_path, other))
    assert _without_times(first) == _without_times(second)
    assert len(first["candidates"]) > 3


def _without_times(told: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a search has found, besides how long the models took."""
    keys = ("name", "state", "fits", "prompts", "points", "points_low", "usd_per_1000")
    return [tuple(one[key] for key in keys) for one in told["candidates"]]
