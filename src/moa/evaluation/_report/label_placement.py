"""Where the names of a chart's points go, so that none hides another."""

from collections.abc import Sequence
from dataclasses import dataclass

_CHARACTER, _LINE = 6.2, 13.0
_POINT = 6.0
_BEFORE = {"left": 0.0, "center": 0.5, "right": 1.0}
_OVERLAP, _ON_BAR, _FARTHER = 100.0, 5.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point with a vertical bar through it, in pixels from the lower left.

    Attributes:
        name: What is written beside it.
        x: Its place.
        y: Its place.
        low: Where the bar begins.
        high: Where the bar ends.
    """

    name: str
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a name goes: `dx` and `dy` pixels from its point (down is positive), aligned `left`, `right`, `center`."""

    dx: float
    dy: float
    align: str


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "_Box") -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def _either_side(dx: float, dy: float) -> tuple[Place, Place]:
    return Place(dx=dx, dy=dy, align="left"), Place(dx=-dx, dy=dy, align="right")


_PLACES = (
    *(*_either_side(10, 0), *_either_side(8, -11), *_either_side(8, 12), *_either_side(8, -23)),
    *(Place(dx=0, dy=-15, align="center"), Place(dx=0, dy=15, align="center")),
    *_either_side(8, 24),
)
"""The first ones are preferred."""


def placed(points: Sequence[Point], *, width: float, height: float) -> list[Place | None]:
    """Return where each point's name goes; None where there is no room for it.

    Args:
        points: The ones that matter most first: they choose first.
        width: Of the panel, in pixels.
        height: Likewise.
    """
    dots = [_Box(point.x - _POINT, point.y - _POINT, point.x + _POINT, point.y + _POINT) for point in points]
    bars = [_Box(point.x - 1, point.low, point.x + 1, point.high) for point in points]
    frame = _Box(0, 0, width, height)
    taken: list[_Box] = []
    found: list[Place | None] = []
    for point in points:
        boxes = [_box(point, place) for place in _PLACES]
        costs = [_cost(box, rank, [*dots, *taken], bars, frame) for rank, box in enumerate(boxes)]
        best = min(range(len(_PLACES)), key=costs.__getitem__)
        is_free = costs[best] < _OVERLAP
        taken += [boxes[best]] if is_free else []
        found.append(_PLACES[best] if is_free else None)
    return found


def _box(point: Point, place: Place) -> _Box:
    wide = _CHARACTER * len(point.name)
    left = point.x + place.dx - wide * _BEFORE[place.align]
    middle = point.y - place.dy
    return _Box(left, middle - _LINE / 2, left + wide, middle + _LINE / 2)


def _cost(box: _Box, rank: int, solid: Sequence[_Box], bars: Sequence[_Box], frame: _Box) -> float:
    outside = box.left < frame.left or box.right > frame.right or box.bottom < frame.bottom or box.top > frame.top
    hidden = sum(box.meets(other) for other in solid) + outside
    return _OVERLAP * hidden + _ON_BAR * sum(box.meets(bar) for bar in bars) + _FARTHER * rank
