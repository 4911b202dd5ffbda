import pytest

from moa._mixture.loading import load, preset_names, single
from moa._mixture.schema import Mixture
from moa._render.mixtures import MixtureView, mixture_list, summary
from tests.render.drawing import drawn

MIXTURE = load(
    {
        "name": "pair",
        "description": "Two of a kind",
        "layers": [
            {
                "proposers": [
                    {"model": "lab/a", "temperature": 0.5, "max_tokens": 512, "extra": {"b": "\x1b[2J"}},
                    {"model": "lab/b", "name": "twin", "samples": 2, "role": "Argue\nagainst it"},
                ],
                "wait": {"min_proposals": 2, "grace_s": 5},
            }
        ],
        "aggregator": {"model": "lab/c", "fallback": ["lab/d"]},
        "deadline_s": 120,
    }
)


def test_mixture_picture_goes_from_the_prompt_through_the_layers_to_the_answer() -> None:
    assert drawn(MixtureView(MIXTURE), width=60) == (
        "pair\n"
        "Two of a kind\n"
        "\n"
        "                           prompt\n"
        "                             │\n"
        "                             ▼\n"
        "╭─ layer 1 · 3 proposers ──────────────────────────────────╮\n"
        "│ lab/a                                                    │\n"
        "│   temperature 0.5 · max_tokens 512 · b ␛[2J              │\n"
        "│ twin  x 2                                                │\n"
        "│   lab/b                                                  │\n"
        "│   role: Argue against it                                 │\n"
        "│ waits for 2 proposals, then 5 s for the rest             │\n"
        "╰──────────────────────────────────────────────────────────╯\n"
        "                             │\n"
        "                             ▼\n"
        "╭─ aggregator · synthesis ─────────────────────────────────╮\n"
        "│ lab/c                                                    │\n"
        "│   if it fails: lab/d                                     │\n"
        "╰──────────────────────────────────────────────────────────╯\n"
        "                             │\n"
        "                             ▼\n"
        "                           answer\n"
        "deadline 120 s"
    )


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("width", [40, 80])
def test_mixture_picture_fits_the_terminal_and_its_encoding(name: str, width: int) -> None:
    picture = drawn(MixtureView(load(name)), width=width, encoding="ascii")

    assert max(map(len, picture.splitlines())) <= width
    picture.encode("ascii")


def test_summary_tells_the_shape() -> None:
    assert summary(MIXTURE) == "3 proposers, then synthesis by lab/c"
    assert summary(single("lab/c")) == "lab/c alone"


def test_mixture_list_has_each_mixtures_name_shape_and_purpose() -> None:
    mixtures: list[Mixture] = [MIXTURE, single("lab/c")]

    assert drawn(mixture_list(mixtures)) == (
        "pair   3 proposers, then synthesis by lab/c\n       Two of a kind\nlab/c  lab/c alone"
    )
