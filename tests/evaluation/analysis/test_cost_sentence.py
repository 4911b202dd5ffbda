"""The sentence about cost and time that `moa eval latency` and `generate` end in."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moa._config.settings import Settings
from moa._mixture.loading import load
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.errors import UsageError
from moa.evaluation._analysis.cost_latency import economics
from moa.evaluation._analysis.cost_sentence import caching_sentence, cost_sentence
from moa.evaluation._analysis.load_run import collect
from moa.evaluation._pipeline import aevaluate
from moa.evaluation._reporting import write_report
from moa.evaluation._runner.run_directory import RunDirectory
from moa.providers._base import Finish
from moa.providers._scripted import ScriptedProvider

PROMPT = "one two three four"  # 5 tokens by the rule of 4 bytes, and 4 for the message


def write(path: Path, **keys: Any) -> Path:
    rows = [{"instruction": f"{PROMPT} {n}", "output": "x" * 400, "generator": path.stem, **keys} for n in range(4)]
    path.write_text(json.dumps(rows))
    return path


async def sentence(tmp_path: Path, mine: dict[str, Any], theirs: dict[str, Any] | None, **options: Any) -> str:
    prompts = [f"{PROMPT} {n}" for n in range(4)]
    if theirs is not None:
        options["baseline"] = write(tmp_path / "big.json", **theirs)
    await aevaluate(
        prompts, None, out=tmp_path / "run", outputs={"mix": write(tmp_path / "mix.json", **mine)}, **options
    )
    return cost_sentence(collect(RunDirectory(tmp_path / "run")))


MEASURED = {"input_token_usage": 1000, "output_token_usage": 100, "total_time": 20}
HAIKU = Price(input=Decimal("0.25"), output=Decimal("1.25"))
SONNET = Price(input=Decimal(3), output=Decimal(15))


async def test_measured_cost_and_time_are_set_in_relation(tmp_path: Path) -> None:
    theirs = {"input_token_usage": 10, "output_token_usage": 100, "total_time": 8}

    said = await sentence(tmp_path, MEASURED, theirs, outputs_prices={"mix": HAIKU}, baseline_price=SONNET)

    assert said == (
        "mix: $0.38 per 1,000 prompts, 20 s at the median and 20 s at the 95th percentile; big: $1.53 per 1,000 "
        "prompts, 8.0 s at the median and 8.0 s at the 95th percentile. mix takes 25% of the cost and 2.5 times the "
        "time (the times of mix and big come out of a file, measured elsewhere)."
    )


async def test_a_file_without_token_counts_costs_about_what_its_texts_do_and_its_time_stays_unknown(
    tmp_path: Path,
) -> None:
    said = await sentence(tmp_path, MEASURED, {}, outputs_prices={"mix": HAIKU}, baseline_price=SONNET)

    assert "big: about $1.53 per 1,000 prompts by estimate, time unknown. mix takes about 25% of the cost (" in said
    (big,) = (one for one in collect(RunDirectory(tmp_path / "run")).systems if one.name == "big")
    found = economics(big.answers)
    assert found is not None
    assert found.cost.usd is None, "an estimate is never taken for a measured cost"
    assert found.cost.about_usd == pytest.approx(1000 * (9 * 3 + 100 * 15) / 1e6)


async def test_what_is_unknown_is_called_so_and_nothing_is_compared(tmp_path: Path) -> None:
    said = await sentence(tmp_path, {}, {})

    assert said == (
        "mix: cost unknown, time unknown; big: cost unknown, time unknown. Neither cost nor time can be compared."
    )


async def test_without_a_baseline_the_system_stands_alone(tmp_path: Path) -> None:
    said = await sentence(tmp_path, MEASURED, None, outputs_prices={"mix": HAIKU})

    assert said == "mix: $0.38 per 1,000 prompts, 20 s at the median and 20 s at the 95th percentile."


async def test_the_price_of_outputs_that_were_not_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--outputs-price typo=…: there is no --outputs typo=FILE"):
        await sentence(tmp_path, MEASURED, None, outputs_prices={"typo": HAIKU})


@pytest.mark.parametrize(
    ("cached_input", "read", "said"),
    [
        (0.25, 750, "alone: cached 75% of input, saved $0.56 per 1,000 prompts; mix"),
        (1, 750, "alone: cached 75% of input; mix"),
        (0.25, 0, ""),
    ],
)
async def test_what_prompt_caches_saved_is_in_the_report(
    tmp_path: Path, cached_input: float, read: int, said: str
) -> None:
    usage = TokenUsage(input_tokens=1000, output_tokens=1, cached_input_tokens=read)
    provider = ScriptedProvider(lambda request: ["an answer of " + request.model, Finish(reason="stop", usage=usage)])
    price = {"input": 1, "output": 1, "cached_input": cached_input}
    agents = [{"model": f"fake/{name}", "price": price} for name in ("a", "agg")]
    mix = load({"name": "mix", "layers": [{"proposers": agents[:1]}], "aggregator": agents[1]})
    alone = load({"name": "alone", "layers": [], "aggregator": agents[0]})
    await aevaluate(
        ["hi", "ho"], [mix, alone], out=tmp_path, settings=Settings(endpoints={}), providers={"fake": provider}
    )
    figures = {one.name: economics(one.answers) for one in collect(RunDirectory(tmp_path)).systems}

    sentence = caching_sentence((name, figures[name]) for name in ("alone", "mix"))
    assert (said in sentence) if said else sentence == ""
    write_report(tmp_path)
    for name in ("report.html", "report.md"):
        page = (tmp_path / name).read_text()
        assert said.partition(";")[0].partition(": ")[2] in page
        assert ("prompt caches" in page) == bool(said)
