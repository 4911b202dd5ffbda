"""Takes the pictures of a report that the documentation shows: `python -m scripts.screenshots.report`.

The evaluation is real, but a script plays its models and its judge: no figure is a finding.
"""

import asyncio
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright
from scripts.screenshots.png import save_png
from tests.support.browser import launched
from tests.support.engines import proposals_text, scripted, user_text

from moa._config.settings import Settings
from moa._mixture.loading import load, single
from moa._mixture.schema import Mixture
from moa.evaluation import aevaluate, write_report
from moa.providers._base import ModelRequest
from moa.providers._scripted import Pause, Script

WIDTH, HEIGHT = 1100, 900
_MARGIN = 24
_PROMPTS = 500

_TOPICS = {
    "delivery": "My parcel, number {}, is late. What can I do?",
    "returns": "How do I send order {} back, and who pays for it?",
    "billing": "Invoice {} has the wrong address. How is it corrected?",
    "account": "I can't sign in as customer {}. What now?",
}
# US dollars per million tokens, input and output; seconds of an answer; chance that the judge likes an answer.
_PRICES = {"small-a": (0.25, 1.25), "small-b": (0.15, 0.6), "small-c": (0.1, 0.4), "large": (3.0, 15.0)}
_SECONDS = {"small-a": 0.5, "small-b": 0.4, "small-c": 0.3, "large": 0.9}
_STRENGTH = {"mixture": 0.61, "large": 0.5, "small-a": 0.4, "small-b": 0.36, "small-c": 0.3}


def mixture() -> Mixture:
    """Three small models, synthesised by the first."""
    return load(
        {
            "name": "trio",
            "layers": [{"proposers": [_agent(name) for name in ("small-a", "small-b", "small-c")]}],
            "aggregator": _agent("small-a", temperature=0),
        }
    )


def _agent(model: str, **keys: Any) -> dict[str, Any]:
    input_usd, output_usd = _PRICES[model]
    return {
        "model": f"demo/{model}",
        "max_tokens": 512,
        "price": {"input": input_usd, "output": output_usd},
        **keys,
    }


def _chance(*of: str) -> float:
    """A number from 0 to 1 that is always the same for the same texts."""
    return int.from_bytes(sha256("\n".join(of).encode()).digest()[:8]) / 2**64


def _answer(request: ModelRequest) -> Script:
    """Some lines that say who wrote them, after a while."""
    who = "mixture" if "<Response_1>" in proposals_text(request) else request.model
    chance = _chance(who, user_text(request))
    lines = [f"{line}. A sentence of {who} about what to do next." for line in range(1, 4 + int(9 * chance))]
    return [Pause(_SECONDS[request.model] * (0.5 + chance)), f"Answer of {who}:\n" + "\n".join(lines)]


def _verdict(request: ModelRequest) -> Script:
    """The answer that the judge likes; none or both are a tie. Of a control pair it likes the one that is in order."""
    text = request.messages[-1].text
    answers = re.findall(r"<Response_[AB]>\s*(.*?)\s*</Response_[AB]>", text, re.DOTALL)
    authors = [re.match(r"Answer of ([\w-]+):", answer) for answer in answers]
    if None in authors:
        return f'{{"reason": "a script, no model", "verdict": "{"A" if authors[0] else "B"}"}}'
    first, second = (author.group(1) for author in authors if author)
    instruction = (re.findall(r"<Instruction>(.*?)</Instruction>", text, re.DOTALL) or [""])[0]
    likes = [_chance(who, instruction) < _STRENGTH[who] for who in (first, second)]
    verdict = "tie" if likes[0] == likes[1] else "A" if likes[0] else "B"
    return f'{{"reason": "a script, no model", "verdict": "{verdict}"}}'


async def evaluated(out: Path) -> None:
    """Evaluate the mixture against a large model, and write the report."""
    models = scripted({**dict.fromkeys(_PRICES, _answer), "judge": _verdict})
    large = _agent("large")
    await aevaluate(
        [
            {"prompt": topic.format(1000 + number), "category": category}
            for number in range(_PROMPTS // len(_TOPICS))
            for category, topic in _TOPICS.items()
        ],
        mixture(),
        out=out,
        baseline=single(large.pop("model"), **large),
        judge="pairwise",
        judge_model="demo/judge",
        concurrency=64,
        settings=Settings(endpoints={}),
        providers={"demo": models},
    )
    write_report(out)


async def take_all() -> None:
    """Write the pictures: the report down to its table of systems, in light and dark."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "trio-against-large"
        await evaluated(run)
        async with async_playwright() as playwright, launched(playwright) as browser:
            for scheme in ("light", "dark"):
                await _take(browser, run / "report.html", scheme)


async def _take(browser: Browser, report: Path, scheme: str) -> None:
    context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(report.as_uri())
    table = await page.get_by_role("table").first.bounding_box()
    assert table is not None, "the report has no table of systems"
    whole = {"x": 0, "y": 0, "width": WIDTH, "height": table["y"] + table["height"] + _MARGIN}
    save_png(f"report-{scheme}", await page.screenshot(full_page=True, clip=whole))
    await context.close()


if __name__ == "__main__":
    asyncio.run(take_all())
