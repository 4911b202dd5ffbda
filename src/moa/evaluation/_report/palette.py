"""The report's colours, and how a drawn chart takes the page's own ones."""

import re
from collections.abc import Mapping

INK, MUTED, GRID, PAPER = "#1b1f24", "#5f6b7a", "#dfe3e8", "#fdfdfc"
BLUE, ORANGE, GREEN, VIOLET, GREY = "#1d63d8", "#b04c06", "#08755e", "#7a4fd6", "#7d8896"

ROLE_LOOKS: Mapping[str, tuple[str, str]] = {
    "mixture": (BLUE, "circle"),
    "outputs": (BLUE, "square"),
    "baseline": (ORANGE, "diamond"),
    "reference": (ORANGE, "square"),
    "aggregator": (GREEN, "square"),
    "member": (GREY, "circle"),
    "model": (VIOLET, "circle"),
    "selection": (VIOLET, "triangle-up"),
    "self-moa": (VIOLET, "triangle-down"),
    "without": (MUTED, "cross"),
}
"""Colour and shape of each role. No two share both, and shapes tell most of them apart without any colour."""

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    VIOLET: "violet",
    GREY: "grey",
}
_COLOUR = re.compile(rf'(fill|stroke)="({"|".join(_VARIABLES)})"')


def with_page_colours(svg: str) -> str:
    """Return a drawn chart that follows the page's light and dark colours."""
    return _COLOUR.sub(lambda match: f'{match.group(1)}="var(--{_VARIABLES[match.group(2)]})"', svg)
