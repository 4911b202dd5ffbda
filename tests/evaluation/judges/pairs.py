"""Pairs and judges' replies in a line each."""

import math
from typing import Any

from moa.evaluation.judges.base import Pair
from moa.providers.base import Finish, TextDelta
from moa.providers.scripted import Step
from moa.usage import TokenUsage


def pair(output_1: str = "baseline's", output_2: str = "system's", instruction: str = "Say hi", **fields: Any) -> Pair:
    return Pair(
        instruction=instruction,
        output_1=output_1,
        output_2=output_2,
        generator_1="base",
        generator_2="sys",
        **{"index": 0, **fields},
    )


def token(text: str, **probabilities: float) -> tuple[Step, ...]:
    """A reply of one token with the probabilities of the likeliest ones."""
    top = [{"token": name, "logprob": math.log(share)} for name, share in probabilities.items()]
    usage = TokenUsage(input_tokens=100, output_tokens=1)
    logprobs = ({"token": text, "logprob": top[0]["logprob"], "top_logprobs": top},)
    return (TextDelta(text, logprobs), Finish(reason="length", usage=usage))
