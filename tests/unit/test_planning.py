"""Regions: clipped, put on the right level, refused when too large."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.sources.volume import Contrast
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.planning import (
    SegmentationPlan,
    check_budget,
    plan_region,
    plan_sections,
)
from segmentation_backend.workspace.resampling import to_level_zero


def volume(shape=(64, 512, 512), voxel_size=(4.0, 4.0, 4.0)) -> VolumeInfo:
    levels = plan_levels(shape, voxel_size)
    return VolumeInfo(
        name="cell",
        source="cell.zarr",
        dtype="uint8",
        bounds=Roi((0, 0, 0), shape),
        levels=levels,
        label_levels=levels,
        contrast=Contrast(128.0, 30.0, 20.0, 230.0),
        voxel_size_is_assumed=False,
    )


def test_a_region_is_clipped_to_the_volume() -> None:
    roi, _, _ = plan_region(volume(), Roi((-5, -5, 500), (100, 20, 100)), "stack", "xy", None, 4.0)
    assert roi == Roi((0, 0, 500), (64, 15, 12))


def test_the_level_nearest_the_models_voxel_size_is_read() -> None:
    _, scale, level_roi = plan_region(
        volume(), Roi((10, 100, 101), (1, 200, 201)), "slice", "xy", None, 10.0
    )
    assert scale.level == 1
    assert level_roi == Roi((5, 50, 50), (1, 100, 101))


def test_a_named_level_wins() -> None:
    _, scale, _ = plan_region(volume(), Roi((0, 0, 0), (1, 9, 9)), "slice", "xy", 0, 10.0)
    assert scale.level == 0


@pytest.mark.parametrize(
    ("roi", "mode", "plane", "level", "kind"),
    [
        (Roi((99, 0, 0), (1, 9, 9)), "slice", "xy", None, ErrorKind.ROI_OUT_OF_BOUNDS),
        (Roi((0, 0, 0), (2, 9, 9)), "slice", "xy", None, ErrorKind.INVALID_PARAMETER),
        (Roi((0, 0, 0), (1, 9, 9)), "slice", "yz", None, ErrorKind.INVALID_PARAMETER),
        (Roi((0, 0, 0), (1, 9, 9)), "slab", "xy", None, ErrorKind.INVALID_PARAMETER),
        (Roi((0, 0, 0), (1, 9, 9)), "slice", "zz", None, ErrorKind.INVALID_PARAMETER),
        (Roi((0, 0, 0), (1, 9, 9)), "slice", "xy", 17, ErrorKind.INVALID_PARAMETER),
    ],
)
def test_what_cannot_be_segmented_is_refused(roi, mode, plane, level, kind) -> None:
    with pytest.raises(InvalidInputError) as caught:
        plan_region(volume(), roi, mode, plane, level, 10.0)
    assert caught.value.kind == kind


def planned(**changes: object) -> SegmentationPlan:
    plan = SegmentationPlan(
        volume="cell",
        roi=Roi((1, 2, 3), (1, 20, 30)),
        mode="slice",
        plane="xy",
        level=1,
        level_voxel_size=(8.0, 8.0, 8.0),
        level_roi=Roi((0, 1, 1), (1, 10, 16)),
        model="mitoglance-small",
        existing="fill-empty",
        parameters=replace(InferenceParameters(), confidence_thr=0.4),
    )
    return replace(plan, **changes)  # type: ignore[arg-type]


def test_a_region_over_the_budget_says_its_size_the_limit_and_the_way_out() -> None:
    check_budget(planned(level_roi=Roi((0, 0, 0), (100, 100, 100))), 10**6)
    with pytest.raises(InvalidInputError, match=r"1000 × 1000 × 1000.*limit is 1\.0.*Zoom in"):
        check_budget(planned(level_roi=Roi((0, 0, 0), (1000, 1000, 1000))), 10**6)


def test_sections_count_each_for_itself_however_far_they_lie_apart() -> None:
    apart = planned(level_roi=Roi((0, 0, 0), (900, 100, 100)), sections=(3, 1700))
    assert apart.voxels == 20_000
    check_budget(apart, 10**6)
    with pytest.raises(InvalidInputError, match=r"2 sections of 1 × 100 × 100.*fewer sections"):
        check_budget(apart, 10**4)


def test_a_plan_survives_json() -> None:
    for plan in (
        planned(),
        planned(polygon=((1.5, 2.0), (9.25, 3.0), (4.0, 8.0))),
        planned(sections=(1, 4, 5)),
    ):
        assert SegmentationPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_each_section_is_a_plan_of_its_own() -> None:
    plan = planned(
        roi=Roi((3, 0, 0), (8, 20, 20)),
        level_roi=Roi((1, 0, 0), (5, 10, 10)),
        sections=(3, 4, 10),
        polygon=((0.0, 0.0), (9.0, 0.0), (0.0, 9.0)),
    )
    each = plan.by_section((4.0, 4.0, 4.0))
    assert [one.roi.offset[0] for one in each] == [3, 4, 10]
    assert [one.level_roi.offset[0] for one in each] == [1, 2, 5]
    assert {one.roi.shape for one in each} == {(1, 20, 20)}
    assert {(one.sections, one.polygon) for one in each} == {(None, plan.polygon)}
    assert planned().by_section((4.0, 4.0, 4.0)) == [planned()]


TRIANGLE = ((10.0, 10.0), (40.0, 10.0), (10.0, 40.0))


@pytest.mark.parametrize(
    ("mode", "sections", "polygon", "says"),
    [
        ("slice", [3, 64], None, "Section 64 lies outside the volume cell.* are 0 to 63"),
        ("stack", [3, 5], None, "has no gaps.* ask for 3-5"),
        ("slice", None, ((600.0, 600.0), (640.0, 600.0), (600.0, 640.0)), "polygon lies outside"),
    ],
)
def test_what_is_drawn_or_named_elsewhere_is_refused(mode, sections, polygon, says) -> None:
    with pytest.raises(InvalidInputError, match=says):
        plan_sections(volume(), Roi((5, 0, 0), (1, 512, 512)), mode, "xy", polygon, sections)


def test_a_region_is_cut_to_a_polygon_and_stands_where_sections_say() -> None:
    seen = Roi((5, 0, 0), (1, 512, 512))
    assert plan_sections(volume(), seen, "slice", "xy", TRIANGLE, None) == (
        Roi((5, 10, 10), (1, 30, 30)),
        None,
    )
    box, each = plan_sections(volume(), seen, "slice", "xy", TRIANGLE, [9, 2, 9])
    assert (box, each) == (Roi((2, 10, 10), (8, 30, 30)), (2, 9))
    assert plan_sections(volume(), seen, "slice", "xy", None, [9]) == (
        Roi((9, 0, 0), (1, 512, 512)),
        None,
    )
    box, each = plan_sections(volume(), seen, "stack", "xy", None, [8, 9, 10])
    assert (box, each) == (Roi((8, 0, 0), (3, 512, 512)), None)
    across = Roi((0, 0, 7), (64, 512, 1))
    box, _ = plan_sections(volume(), across, "slice", "yz", TRIANGLE, None)
    assert box == Roi((10, 10, 7), (30, 30, 1))


@given(
    factor=st.tuples(*[st.sampled_from([1, 2, 4])] * 3),
    offset=st.tuples(*[st.integers(0, 40)] * 3),
    shape=st.tuples(*[st.integers(1, 30)] * 3),
)
def test_every_fine_voxel_takes_the_label_of_the_coarse_voxel_around_it(
    factor, offset, shape
) -> None:
    coarse_size = tuple(4.0 * f for f in factor)
    roi = Roi(offset, shape)
    level_roi = roi.downscale(factor)
    coarse = np.arange(1, level_roi.size + 1, dtype=np.uint32).reshape(level_roi.shape)
    fine = to_level_zero(coarse, level_roi, coarse_size, roi, (4.0, 4.0, 4.0))
    for axis_index in np.ndindex(*shape):
        where = tuple(
            (o + i) // f - lo
            for o, i, f, lo in zip(offset, axis_index, factor, level_roi.offset, strict=True)
        )
        assert fine[axis_index] == coarse[where]
        if sum(axis_index) > 20:
            break
