"""Boxes, levels and the JSON they travel in."""

import pytest

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import (
    Roi,
    ScaleLevel,
    nearest_level,
    parse_coordinate,
    plan_levels,
)


def test_roi_survives_json():
    roi = Roi((1, 2, 3), (4, 5, 6))
    assert roi.to_json() == {"offset": [1, 2, 3], "shape": [4, 5, 6]}
    assert Roi.from_json(roi.to_json()) == roi


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"offset": [0, 0, 0]},
        {"offset": [0, 0, 0], "shape": [1, 1, 1], "level": 0},
        {"offset": [0, 0], "shape": [1, 1, 1]},
        {"offset": [0, 0, 0.5], "shape": [1, 1, 1]},
        {"offset": [0, 0, True], "shape": [1, 1, 1]},
        {"offset": "000", "shape": [1, 1, 1]},
    ],
)
def test_malformed_roi_is_refused(value):
    with pytest.raises(InvalidInputError) as error:
        Roi.from_json(value)
    assert error.value.kind is ErrorKind.INVALID_PARAMETER


@pytest.mark.parametrize("shape", [[0, 1, 1], [1, -1, 1]])
def test_empty_roi_is_refused(shape):
    with pytest.raises(InvalidInputError, match="holds no voxel") as error:
        Roi.from_json({"offset": [0, 0, 0], "shape": shape})
    assert error.value.kind is ErrorKind.ROI_EMPTY


def test_coordinate_names_its_field():
    assert parse_coordinate([1, 2, 3], "points[0]") == (1, 2, 3)
    with pytest.raises(InvalidInputError, match=r"points\[0\]"):
        parse_coordinate([1, 2], "points[0]")


def test_box_of_points_is_tight():
    assert Roi.of_points([(5, 1, 2), (3, 4, 2)]) == Roi((3, 1, 2), (3, 4, 1))


def test_inverted_bounds_are_empty():
    roi = Roi.from_bounds((5, 5, 5), (4, 9, 9))
    assert roi.is_empty
    assert roi.size == 0


def test_empty_box_adds_nothing_and_lies_everywhere():
    full, empty = Roi((0, 0, 0), (2, 2, 2)), Roi((9, 9, 9), (0, 1, 1))
    assert full.union(empty) == empty.union(full) == full
    assert full.encloses(empty)
    assert not full.contains((9, 9, 9))


def test_roi_reads_as_offset_and_shape():
    assert str(Roi((1, 2, 3), (4, 5, 6))) == "(1,2,3)+(4,5,6)"


@pytest.mark.parametrize("factor", [0.1, 0.3, 16 / 0.1])
def test_downscale_does_not_grow_by_rounding(factor):
    begin = [7 * factor] * 3
    roi = Roi.from_bounds([round(b) for b in begin], [round(b) + 1 for b in begin])
    assert roi.downscale([1.0] * 3) == roi
    assert Roi((0, 0, 0), (48, 48, 48)).downscale([1.6] * 3).shape == (30, 30, 30)


def test_isotropic_pyramid_halves_all_axes():
    levels = plan_levels((250, 250, 250), (10, 10, 10))
    assert [level.shape for level in levels] == [(250,) * 3, (125,) * 3, (63,) * 3]
    assert levels[2].voxel_size == (40, 40, 40)


def test_anisotropic_pyramid_grows_towards_isotropy():
    levels = plan_levels((30, 512, 512), (40, 6, 6))
    assert [level.voxel_size for level in levels] == [
        (40, 6, 6),
        (40, 12, 12),
        (40, 24, 24),
        (40, 48, 48),
    ]
    assert levels[-1].shape == (30, 64, 64)


def test_small_volume_has_one_level():
    assert len(plan_levels((64, 64, 64), (10, 10, 10))) == 1


def test_pyramid_ends_at_the_greatest_number_of_levels():
    levels = plan_levels((2**20,) * 3, (1, 1, 1), max_levels=4)
    assert [level.level for level in levels] == [0, 1, 2, 3]


def test_level_shows_as_json():
    level = ScaleLevel(1, (20.0, 20.0, 20.0), (4, 5, 6))
    assert level.to_json() == {"level": 1, "voxel_size": [20.0, 20.0, 20.0], "shape": [4, 5, 6]}


@pytest.mark.parametrize(("wanted", "level"), [(10, 0), (14, 0), (15, 1), (16, 1), (400, 2)])
def test_nearest_level_is_nearest_as_a_ratio(wanted, level):
    levels = plan_levels((250, 250, 250), (10, 10, 10))
    assert nearest_level(levels, wanted).level == level
