from hypothesis import given
from hypothesis import strategies as st

from moa.evaluation._report.label_placement import Place, Point, placed

WIDTH, HEIGHT = 700.0, 230.0
POINTS = st.lists(
    st.builds(
        lambda name, x, y: Point(name=name, x=x, y=y, low=y - 20, high=y + 20),
        st.text("abc", min_size=1, max_size=34),
        st.floats(0, WIDTH),
        st.floats(0, HEIGHT),
    ),
    max_size=20,
)


def _ends(point: Point, place: Place) -> tuple[float, float, float]:
    """Left and right end of a name, and its height."""
    wide = 6.2 * len(point.name)
    left = point.x + place.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[place.align] * wide
    return left, left + wide, point.y - place.dy


@given(POINTS)
def test_no_name_hides_another_or_leaves_the_picture(points: list[Point]) -> None:
    places = placed(points, width=WIDTH, height=HEIGHT)
    ends = [_ends(point, place) for point, place in zip(points, places, strict=True) if place is not None]

    assert all(left >= 0 and right <= WIDTH and 0 <= y <= HEIGHT for left, right, y in ends)
    for at, (left, right, y) in enumerate(ends):
        for other_left, other_right, other_y in ends[:at]:
            assert left >= other_right or other_left >= right or abs(y - other_y) >= 13.0


def test_the_first_of_two_points_in_one_place_is_named_first() -> None:
    twins = [Point(name=name, x=300.0, y=100.0, low=90.0, high=110.0) for name in ("one", "two")]

    one, two = placed(twins, width=WIDTH, height=HEIGHT)

    assert one == Place(dx=10, dy=0, align="left")
    assert two is not None
    assert two != one


def test_a_name_for_which_there_is_no_room_is_left_out() -> None:
    crowd = [Point(name="n" * 30, x=40.0, y=10.0, low=0.0, high=20.0)] * 9

    assert placed(crowd, width=200.0, height=20.0).count(None) > 0
