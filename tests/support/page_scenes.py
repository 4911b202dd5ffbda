"""A mixture and scripts for the page's tests and pictures."""

from typing import Any

from moa._mixture.loading import load
from moa._mixture.schema import Mixture
from moa._usage import TokenUsage
from moa.errors import ServiceFailed
from moa.providers._base import Finish, ReasoningDelta, TextDelta
from moa.providers._scripted import Pause, Script, Step
from tests.support.gated import Gate

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
MIXTRAL = "mistral.mixtral-8x7b-instruct-v0:1"
LLAMA = "us.meta.llama3-2-3b-instruct-v1:0"
QWEN = "Qwen/Qwen3-Next-80B-A3B-Instruct"
GLM = "zai-org/GLM-4.6"
NOVA = "amazon.nova-pro-v1:0"

PROMPT = "What are 3 fun things to do in San Francisco?"

ANSWER = (
    "San Francisco rewards people who walk. Three things that are worth a day:\n\n"
    "1. **Cross the Golden Gate Bridge on a bicycle.** Rent one at the Ferry Building, ride along the water, and take "
    "the ferry back from Sausalito. About *13 km*, mostly flat.\n"
    "2. **See Alcatraz in the evening.** The audio tour is told by former guards and prisoners. Tickets are sold out "
    "for weeks: book at [nps.gov](https://www.nps.gov/alca/).\n"
    "3. **Eat your way through the Mission.** A burrito on 24th Street, then the murals of Balmy Alley.\n\n"
    "| | Time | Cost per person |\n|---|---|---:|\n"
    "| Bridge by bicycle | 4 h | $54 |\n| Alcatraz | 3 h | $47 |\n| Mission | 2 h | $20 |\n\n"
    "If you have only one afternoon, take the bridge: it needs no booking, and fog makes it better.\n"
)

_PROPOSALS = {
    HAIKU: "1. Walk or bike across the Golden Gate Bridge for views of the bay, Alcatraz and the Marin Headlands.\n"
    "2. Explore Golden Gate Park: the Japanese Tea Garden, the de Young and the bison paddock.\n"
    "3. Ride a historic cable car from Powell Street to Fisherman’s Wharf.",
    MIXTRAL: "San Francisco has something for everyone. Start at **Alcatraz Island**, where the audio tour tells "
    "of escapes; the ferry leaves from Pier 33. Then visit the Exploratorium, a museum that one is meant to touch, and "
    "end in the Mission District with murals and burritos.",
    LLAMA: "Here are three ideas:\n- Visit Fisherman’s Wharf and watch the sea lions at Pier 39.\n- Walk down Lombard "
    "Street, the crookedest street in the world.\n- Have dim sum in Chinatown, the oldest in North America, and",
}


def price(input_usd: float, output_usd: float) -> dict[str, float]:
    return {"input": input_usd, "output": output_usd}


def city_mixture() -> Mixture:
    """Four proposers of which one fails, and an aggregator."""
    proposers: list[dict[str, Any]] = [
        {"model": f"bedrock/{HAIKU}", "temperature": 0.5, "max_tokens": 512, "price": price(0.25, 1.25)},
        {"model": f"bedrock/{MIXTRAL}", "temperature": 0.7, "max_tokens": 512, "price": price(0.45, 0.7)},
        {"model": f"bedrock/{LLAMA}", "temperature": 0.5, "max_tokens": 96, "price": price(0.15, 0.15)},
        {"model": f"together/{QWEN}", "temperature": 0.7, "max_tokens": 512, "price": price(0.15, 1.5)},
    ]
    return load(
        {
            "name": "city-guide",
            "description": "Four cheap models, synthesised by GLM 4.6",
            "layers": [{"proposers": proposers}],
            "aggregator": {"model": f"together/{GLM}", "max_tokens": 1024, "price": price(0.6, 2.2)},
        }
    )


def deep_mixture() -> Mixture:
    """Two layers of three, the aggregator, and another model to compare with, as its fallback."""
    layer = {"proposers": [{"model": f"bedrock/{name}", "max_tokens": 512} for name in (HAIKU, MIXTRAL, LLAMA)]}
    return load(
        {
            "name": "two-layers",
            "description": "Two layers of the same three proposers",
            "layers": [layer, layer],
            "aggregator": {
                "model": f"bedrock/{HAIKU}",
                "fallback": [f"bedrock/{NOVA}"],
                "max_tokens": 1024,
                "price": price(0.25, 1.25),
            },
        }
    )


def city_scripts(layer: Gate, answer: Gate, *, pace_s: float = 0.0) -> dict[str, Script]:
    """Scripts of the mixture above: the slow proposers wait for `layer` half-way, the answer for `answer`."""
    broken = ServiceFailed("the service answered 503: overloaded, try again later", model=f"together/{QWEN}")
    return {
        HAIKU: [*_written(_PROPOSALS[HAIKU], pace_s), _end(HAIKU)],
        MIXTRAL: [*_written(_PROPOSALS[MIXTRAL], pace_s, stop_at=0.6, gate=layer), _end(MIXTRAL)],
        LLAMA: [*_written(_PROPOSALS[LLAMA], pace_s), _end(LLAMA, "length")],
        QWEN: [broken],
        GLM: [
            ReasoningDelta("Two of the proposals name the bridge; the bicycle is the better way over it. "),
            *_written(ANSWER, pace_s, stop_at=0.35, gate=answer),
            _end(GLM),
        ],
        NOVA: [Pause(pace_s * 3), *_written(_PROPOSALS[HAIKU] + "\n\n" + _PROPOSALS[MIXTRAL], pace_s), _end(NOVA)],
    }


def _written(text: str, pace_s: float, *, stop_at: float = 1.0, gate: Gate | None = None) -> list[Step | Gate]:
    """A text word by word, held at a gate after a part of it."""
    words = [TextDelta(f"{word} ") for word in text.split(" ")]
    cut = int(len(words) * stop_at)
    paced = [step for word in words[:cut] for step in ((Pause(pace_s), word) if pace_s else (word,))]
    return [*paced, *([gate] if gate else []), *words[cut:]]


def _end(model: str, reason: str = "stop") -> Finish:
    return Finish(
        reason=reason, usage=TokenUsage(input_tokens=len(model) * 9, output_tokens=len(model) * 5), served_by=model
    )
