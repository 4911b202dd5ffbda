"""A small evaluation from beginning to end, with models that misbehave in all the ways a report has to bear."""

from pathlib import Path

from moa._config.settings import Settings
from moa._pricing.price import Price
from moa._usage import TokenUsage
from moa.evaluation._pipeline import aevaluate
from moa.providers._base import Finish, ModelRequest, TextDelta
from moa.providers._scripted import Script
from tests.support.engines import mixture_of, scripted, user_text

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)> & </pre></details>"
PROMPTS = [{"prompt": f"Question {number} of {HOSTILE}", "category": "ab"[number % 2]} for number in range(24)]


def answer(text: str, finish: str = "stop") -> Script:
    return (TextDelta(text), Finish(reason=finish, usage=TokenUsage(input_tokens=100, output_tokens=50)))


def small(request: ModelRequest) -> Script:
    return answer(f"{HOSTILE} a short answer of six words or more", "length")


def aggregator(request: ModelRequest) -> Script:
    shows = any("Response_1" in message.text for message in request.messages)
    if shows and not any("Response_2" in message.text for message in request.messages):
        number = int(user_text(request).split()[1])
        return answer("Based on one response alone, " + "and so on, " * (number % 7))
    return answer(f"Based on the responses provided: {HOSTILE} a short answer of six words" if shows else "alone")


def judge(request: ModelRequest) -> Script:
    text = request.messages[-1].text
    if "Question 7 " in text:
        return answer("no verdict")
    number = int(text.split("Question ")[1].split()[0])
    first = text.index("Based on") < text.index("I am the big one") if "Based on" in text else number % 3 == 0
    return answer('{"reason": "<b>because</b>", "verdict": "%s"}' % ("A" if first == (number % 4 > 0) else "B"))


async def run_case(folder: Path) -> Path:
    """Run the evaluation into a folder."""
    scripts = {"small": small, "other": small, "agg": aggregator, "big": answer("I am the big one"), "judge": judge}
    price = {"price": {"input": 1.0, "output": 2.0}}
    models = [{"model": "small", **price}, {"model": "other"}]
    await aevaluate(
        PROMPTS,
        mixture_of(models, aggregator={"model": "agg", **price}),
        out=folder,
        baseline="fake/big",
        baseline_price=Price(input=10, output=20),
        judge="pairwise",
        judge_model="fake/judge",
        judge_checks=False,
        leave_one_out=True,
        shuffled=True,
        settings=Settings(endpoints={}),
        providers={"fake": scripted(scripts)},
    )
    return folder
