"""Polygons on the voxel grid, beside a naive implementation; sections named in a text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace.drawn_regions import (
    MOST_POINTS,
    MOST_SECTIONS,
    Polygon,
    across,
    check_polygon,
    parse_sections,
    polygon_box,
    polygon_mask,
)

# Halves and quarters: corners and edges that run through the middles of voxels are drawn often.
positions = st.one_of(
    st.integers(-40, 80).map(lambda n: n / 4), st.floats(-10, 20, allow_nan=False)
)
polygons = st.lists(st.tuples(positions, positions), min_size=3, max_size=7).map(tuple)


def is_inside(polygon: Polygon, y: float, x: float) -> bool:
    """Count the edges that a ray to smaller x crosses, one by one."""
    inside = False
    for (ay, ax), (by, bx) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if ay > by:
            ay, ax, by, bx = by, bx, ay, ax
        if ay <= y < by and ax + (y - ay) * ((bx - ax) / (by - ay)) <= x:
            inside = not inside
    return inside


@given(polygon=polygons, offset=st.tuples(st.integers(-6, 6), st.integers(-6, 6)))
def test_a_voxel_is_inside_when_its_middle_is(polygon: Polygon, offset: tuple[int, int]) -> None:
    mask = polygon_mask(polygon, offset, (9, 11))
    for row, column in np.ndindex(9, 11):
        y, x = offset[0] + row + 0.5, offset[1] + column + 0.5
        assert mask[row, column] == is_inside(polygon, y, x)


@given(polygon=polygons)
def test_nothing_is_inside_but_in_the_box_around_a_polygon(polygon: Polygon) -> None:
    (top, bottom), (left, right) = polygon_box(polygon)
    whole = polygon_mask(polygon, (-12, -12), (34, 34))
    inside = polygon_mask(polygon, (top, left), (bottom - top, right - left))
    assert whole.sum() == inside.sum()


@given(corners=st.lists(st.tuples(positions, positions), min_size=4, max_size=4))
def test_polygons_that_share_an_edge_share_no_voxel(corners: list[tuple[float, float]]) -> None:
    a, b, c, d = corners
    one, other, both = (
        polygon_mask(p, (-12, -12), (34, 34)) for p in ((a, b, c), (a, c, d), (a, b, c, d))
    )
    assert np.array_equal(one ^ other, both)


def test_a_square_is_its_voxels_and_is_extruded_along_its_axis() -> None:
    square = check_polygon([(1, 2), (1, 5), (3, 5), (3, 2), (1, 2)])
    assert len(square) == 4
    expected = np.zeros((6, 8), bool)
    expected[1:3, 2:5] = True
    assert np.array_equal(polygon_mask(square, (0, 0), (6, 8)), expected)
    inside = across(square, 1, Roi((0, 7, 1), (6, 4, 7)))
    assert inside.shape == (6, 1, 7)
    assert np.array_equal(inside[:, 0], expected[:, 1:])


@pytest.mark.parametrize(
    ("points", "kind"),
    [
        ([], ErrorKind.INVALID_PARAMETER),
        ([(0, 0), (5, 5)], ErrorKind.INVALID_PARAMETER),
        ([(0, 0), (5, 5), (0, 0)], ErrorKind.INVALID_PARAMETER),
        ([(0, 0), (5, 5), (0, 0), (5, 5)], ErrorKind.ROI_EMPTY),
        ([(0, 0), (5, float("nan")), (9, 0)], ErrorKind.INVALID_PARAMETER),
        ([(0, 0), (5, float("inf")), (9, 0)], ErrorKind.INVALID_PARAMETER),
        ([(0, 0), (5, 2.0**60), (9, 0)], ErrorKind.INVALID_PARAMETER),
        ([(i, i * i) for i in range(MOST_POINTS + 1)], ErrorKind.INVALID_PARAMETER),
    ],
)
def test_what_is_no_polygon_is_refused(points: list[tuple[float, float]], kind: ErrorKind) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_polygon(points)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("7", (7,)),
        ("10, 20-23, 45", (10, 20, 21, 22, 23, 45)),
        (" 5 - 6,5,4 ", (4, 5, 6)),
    ],
)
def test_sections_are_numbers_and_ranges(text: str, sections: tuple[int, ...]) -> None:
    assert parse_sections(text) == sections


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not ''"),
        ("4,,5", "not ''"),
        ("4-", "not '4-'"),
        ("-4", "not '-4'"),
        ("a", "not 'a'"),
        ("1.5", "not '1.5'"),
        ("²", "not '²'"),
        ("9-4", "a range goes up"),
        (f"0-{MOST_SECTIONS}", "at most"),
        (f"0-{MOST_SECTIONS - 2}, 99999, 99998", "at most"),
        ("0-999999999", "at most"),
        ("0-9999999999", "not"),
    ],
)
def test_other_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        parse_sections(text)
