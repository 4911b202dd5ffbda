"""Pairs and judges' replies in a line each."""

import math
from collections.abc import Sequence
from typing import Any

from moa._ledger import Ledger
from moa._messages import ToolCall
from moa._results import Answer, Latency
from moa._usage import TokenUsage
from moa.evaluation._judges.base import Pair
from moa.providers._base import Finish, TextDelta
from moa.providers._scripted import Step


def pair(output_1: str = "baseline's", output_2: str = "system's", instruction: str = "Say hi", **fields: Any) -> Pair:
    return Pair(
        instruction=instruction,
        output_1=output_1,
        output_2=output_2,
        **{"generator_1": "base", "generator_2": "sys", "index": 0, **fields},
    )


def token(text: str, **probabilities: float) -> tuple[Step, ...]:
    """A reply of one token with the probabilities of the likeliest ones."""
    top = [{"token": name, "logprob": math.log(share)} for name, share in probabilities.items()]
    usage = TokenUsage(input_tokens=100, output_tokens=1)
    logprobs = ({"token": text, "logprob": top[0]["logprob"], "top_logprobs": top},)
    return (TextDelta(text, logprobs), Finish(reason="length", usage=usage))


def judge_answer(text: str, logprobs: Sequence[dict[str, Any]] = (), tool_calls: tuple[ToolCall, ...] = ()) -> Answer:
    """Return a judge's reply as a parser gets it."""
    return Answer(
        id="1",
        mixture="judge",
        status="complete",
        text=text,
        finish_reason="stop",
        agent="a",
        model="m",
        ledger=Ledger(),
        latency=Latency(total_s=0.0, first_token_s=None, critical_path_s=0.0, overhead_s=0.0),
        logprobs=tuple(logprobs),
        tool_calls=tool_calls,
    )
