"""The region a page shows: rotated, zoomed, anisotropic, half outside, and refused."""

import math

import pytest

from app.visible_roi import Panel, parse_view, visible_roi
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi

BOUNDS = Roi((0, 0, 0), (100, 400, 500))
ISOTROPIC = (8.0, 8.0, 8.0)
THICK = (40.0, 4.0, 4.0)


def xy(centre=(50.2, 200.0, 250.0), zoom=1.0, width=100, height=60) -> Panel:
    return Panel(centre, (0, 0, zoom), (0, zoom, 0), width, height)


def xz(centre=(50.2, 200.7, 250.0), zoom=1.0, width=100, height=60, thickness=1.0) -> Panel:
    return Panel(centre, (0, 0, zoom), (zoom / thickness, 0, 0), width, height)


def yz(centre=(50.2, 200.0, 250.9), zoom=1.0, width=100, height=60) -> Panel:
    return Panel(centre, (-zoom, 0, 0), (0, zoom, 0), width, height)


def test_an_xy_panel_shows_its_rectangle_in_the_slice_of_its_centre() -> None:
    roi, plane = visible_roi([xy()], 0, "slice", BOUNDS, ISOTROPIC)
    assert plane == "xy"
    assert roi == Roi((50, 170, 200), (1, 60, 100))


def test_an_xz_panel_is_a_slice_in_y() -> None:
    roi, plane = visible_roi([xz()], 0, "slice", BOUNDS, ISOTROPIC)
    assert plane == "xz"
    assert roi == Roi((20, 200, 200), (61, 1, 100))


def test_a_yz_panel_whose_right_is_minus_z_is_a_slice_in_x() -> None:
    roi, plane = visible_roi([yz()], 0, "slice", BOUNDS, ISOTROPIC)
    assert plane == "yz"
    assert roi == Roi((0, 170, 250), (100, 60, 1))


def test_zooming_out_grows_the_region_and_the_volume_clips_it() -> None:
    roi, _ = visible_roi([xy(zoom=2.0)], 0, "slice", BOUNDS, ISOTROPIC)
    assert roi == Roi((50, 140, 150), (1, 120, 200))
    roi, _ = visible_roi([xy(zoom=100.0)], 0, "slice", BOUNDS, ISOTROPIC)
    assert roi == Roi((50, 0, 0), (1, 400, 500))


def test_zooming_far_in_still_shows_one_voxel() -> None:
    roi, _ = visible_roi([xy((50.5, 200.5, 250.5), zoom=0.001)], 0, "slice", BOUNDS, ISOTROPIC)
    assert roi == Roi((50, 200, 250), (1, 1, 1))


@pytest.mark.parametrize("degrees", [0, 30, 90, 123, 180, 270])
def test_a_panel_turned_in_its_plane_shows_the_box_around_its_corners(degrees: int) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    panel = Panel((50.5, 200.0, 250.0), (0, s, c), (0, c, -s), 100, 60)
    roi, plane = visible_roi([panel], 0, "slice", BOUNDS, ISOTROPIC)
    half_y = (abs(s) * 100 + abs(c) * 60) / 2
    half_x = (abs(c) * 100 + abs(s) * 60) / 2
    assert plane == "xy"
    assert roi.offset[1:] == (math.floor(200 - half_y + 1e-9), math.floor(250 - half_x + 1e-9))
    assert roi.end[1:] == (math.ceil(200 + half_y - 1e-9), math.ceil(250 + half_x - 1e-9))
    assert (roi.offset[0], roi.shape[0]) == (50, 1)


@pytest.mark.parametrize(("degrees", "plane"), [(30, "xy"), (44, "xy"), (46, "xz"), (80, "xz")])
def test_a_tilted_panel_takes_the_plane_it_is_nearest_to(degrees: int, plane: str) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    tilted = Panel((50.5, 200.5, 250.5), (0, 0, 1), (s, c, 0), 100, 60)
    roi, found = visible_roi([tilted], 0, "slice", BOUNDS, ISOTROPIC)
    assert found == plane
    assert roi.shape[0 if plane == "xy" else 1] == 1


def test_the_nearest_plane_is_judged_in_nm_not_in_voxels() -> None:
    # 60 degrees from xy in nm; in voxels, with thick slices, it would look nearly flat.
    c, s = math.cos(math.radians(60)), math.sin(math.radians(60))
    tilted = Panel((50.5, 200.5, 250.5), (0, 0, 1), (s / 10, c, 0), 100, 60)
    assert visible_roi([tilted], 0, "slice", BOUNDS, THICK)[1] == "xz"


def test_an_anisotropic_volume_has_few_slices_where_voxels_are_thick() -> None:
    roi, plane = visible_roi([xz(thickness=10.0)], 0, "slice", BOUNDS, THICK)
    assert plane == "xz"
    assert roi == Roi((47, 200, 200), (7, 1, 100))


def test_a_box_is_bounded_by_what_all_panels_show() -> None:
    roi, plane = visible_roi([xy(), xz(height=40), yz(width=20)], 1, "box", BOUNDS, ISOTROPIC)
    assert plane == "xz"
    assert roi == Roi((30, 170, 200), (41, 60, 100))


def test_a_single_panel_is_as_deep_as_its_shorter_side_in_nm() -> None:
    roi, _ = visible_roi([xy((50.0, 200.0, 250.0))], 0, "box", BOUNDS, ISOTROPIC)
    assert roi == Roi((20, 170, 200), (60, 60, 100))
    roi, _ = visible_roi([xy((50.0, 200.0, 250.0))], 0, "box", BOUNDS, THICK)
    assert roi == Roi((47, 170, 200), (6, 60, 100))


def test_a_view_beside_the_volume_is_refused_with_where_it_is() -> None:
    with pytest.raises(InvalidInputError, match=r"x 600 to 699.*x 0 to 499") as caught:
        visible_roi([xy((50.0, 200.0, 650.0))], 0, "slice", BOUNDS, ISOTROPIC)
    assert caught.value.kind == ErrorKind.ROI_OUT_OF_BOUNDS
    with pytest.raises(InvalidInputError, match="z -1"):
        visible_roi([xy((-0.5, 200.0, 250.0))], 0, "slice", BOUNDS, ISOTROPIC)


def test_unknown_modes_and_panels_are_refused() -> None:
    for panels, active, mode in (([xy()], 0, "cube"), ([xy()], 1, "slice"), ([], 0, "box")):
        with pytest.raises(InvalidInputError):
            visible_roi(panels, active, mode, BOUNDS, ISOTROPIC)


GOOD = {"centre": [1, 2, 3], "right": [0, 0, 1], "down": [0, 1, 0], "width": 10, "height": 5.5}


def test_a_view_is_read_from_json() -> None:
    panels, active = parse_view({"panels": [GOOD, GOOD], "active": 1})
    assert active == 1
    assert panels[0] == Panel((1.0, 2.0, 3.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), 10.0, 5.5)


@pytest.mark.parametrize(
    "view",
    [
        None,
        [],
        {"panels": []},
        {"panels": [GOOD], "active": 1},
        {"panels": [GOOD], "active": -1},
        {"panels": [GOOD], "active": True},
        {"panels": ["x"]},
        {"panels": [{**GOOD, "centre": [1, 2]}]},
        {"panels": [{**GOOD, "centre": [1, 2, "3"]}]},
        {"panels": [{**GOOD, "centre": [1, 2, math.nan]}]},
        {"panels": [{**GOOD, "centre": [1, 2, 1e300]}]},
        {"panels": [{**GOOD, "right": [0, 0, 0]}]},
        {"panels": [{**GOOD, "width": 0}]},
        {"panels": [{**GOOD, "height": -3}]},
        {"panels": [{**GOOD, "width": True}]},
    ],
)
def test_a_view_that_makes_no_sense_is_refused(view: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_view(view)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
