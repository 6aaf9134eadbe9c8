"""A region segmented beside another: what was found in two goes is what is found in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy import ndimage

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.confidence import PARTS
from segmentation_backend.sources.synthetic import synthetic_em
from segmentation_backend.workspace import EditContext, GreyRange, SegmentationPlan, Workspace
from segmentation_backend.workspace.drawn_regions import across, check_polygon
from segmentation_backend.workspace.heat_maps import map_in
from segmentation_backend.workspace.segmentation import _remote_chunk

SHAPE = (40, 112, 112)
WHOLE = Roi((0, 0, 0), SHAPE)
SIZE = (10.0, 10.0, 10.0)
ANA = EditContext("ana")
EM = synthetic_em(SHAPE, seed=1).em


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Volumes with the same image: their blocks are computed once for all of this module."""
    folder = tmp_path_factory.mktemp("regions")
    np.savez(folder / "cell.npz", em=EM)
    opened = Workspace(folder / "data")
    opened.register("cell", str(folder / "cell.npz"), dataset="em", voxel_size=SIZE)
    image = opened.volume("cell").source
    names = ("parts", "edited", "rehearsed", "slices", "shown", "votes", "drawn", "listed", "alone")
    for name in (*names, "panned", "at-once", "mapped", "eroded"):
        opened.register(name, image, voxel_size=SIZE)
    opened.segment(plan(opened, "cell", WHOLE), ANA)
    yield opened
    opened.close()


def plan(
    workspace: Workspace, name: str, roi: Roi, mode: str = "stack", **options: object
) -> SegmentationPlan:
    return workspace.plan_segmentation(name, roi, mode=mode, **options)  # type: ignore[arg-type]


def parts(cuts: tuple[int, int, int]) -> list[Roi]:
    """Return the eight parts of the volume that three planes make."""
    spans = [((0, cut), (cut, end)) for cut, end in zip(cuts, SHAPE, strict=True)]
    return [Roi.from_bounds([a for a, _ in part], [b for _, b in part]) for part in product(*spans)]


def busiest(labels: np.ndarray, axis: int) -> int:
    """Return where a plane across an axis cuts the most objects."""
    sections = np.moveaxis(labels, axis, 0)
    cut = [
        len(np.intersect1d(a[(a > 0) & (b > 0)], b[(a > 0) & (b > 0)]))
        for a, b in pairwise(sections)
    ]
    return int(np.argmax(cut)) + 1


def assert_same_objects(one: np.ndarray, other: np.ndarray) -> None:
    assert np.array_equal(one > 0, other > 0)
    pairs = np.unique(np.stack([one[one > 0], other[one > 0]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_eight_parts_in_any_order_are_one_go(workspace: Workspace) -> None:
    whole = workspace.cutout("cell", WHOLE)
    assert len(np.unique(whole)) > 4
    z, y, x = (busiest(whole, axis) for axis in range(3))
    todo = parts((z, y, x))
    for number in np.random.default_rng(3).permutation(len(todo)):
        workspace.segment(plan(workspace, "parts", todo[number]), ANA)
    assert_same_objects(whole, workspace.cutout("parts", WHOLE))
    # Once more over what is there already: the same again.
    workspace.segment(plan(workspace, "parts", todo[2]), ANA)
    assert_same_objects(whole, workspace.cutout("parts", WHOLE))
    for _ in range(len(todo) + 1):
        workspace.undo("parts", ANA)
    assert not workspace.cutout("parts", WHOLE).any()


def test_how_sure_the_network_was_is_kept_with_each_object(workspace: Workspace) -> None:
    objects = workspace.objects("cell")
    sure = [o.confidence for o in objects]
    assert all(c is not None and 5000 < c.probability < PARTS for c in sure)
    # Stacks are seen in one plane, which agrees with itself.
    assert {c.agreement for c in sure if c is not None} == {PARTS}
    least = workspace.objects("cell", sort="probability", limit=2)
    assert [o.confidence for o in least] == sorted(c for c in sure if c is not None)[:2]
    one, other = (int(o.root) for o in objects[:2])
    workspace.merge("cell", ids=[one, other], points=None, edit=ANA)
    probability = workspace.object("cell", one).to_json()["probability"]
    assert min(o.to_json()["probability"] for o in objects[:2]) < probability < 1
    workspace.undo("cell", ANA)
    assert workspace.objects("cell") == objects


def test_a_job_that_finds_too_many_objects_says_so_and_changes_nothing(
    workspace: Workspace,
) -> None:
    before = workspace.head("cell")
    count = len(workspace.objects("cell"))
    few = {"maximum_objects_per_class": count - 1}
    with pytest.raises(InvalidInputError, match=f"There are {count} objects") as caught:
        workspace.segment(plan(workspace, "cell", WHOLE, parameters=few), ANA)
    assert caught.value.kind == ErrorKind.TOO_MANY_OBJECTS
    assert workspace.head("cell") == before


def test_what_is_eroded_in_parts_is_the_whole_eroded(workspace: Workspace) -> None:
    one_step = {"label_erosion": 1}
    whole = workspace.cutout("cell", WHOLE)
    for part in parts((19, 50, 61))[::3]:
        workspace.segment(plan(workspace, "eroded", part, parameters=one_step), ANA)
        expected = ndimage.binary_erosion(whole > 0, border_value=1)[part.slices()]
        assert np.array_equal(workspace.cutout("eroded", part) > 0, expected)


def test_what_a_person_touched_is_neither_replaced_nor_joined(workspace: Workspace) -> None:
    cut = busiest(workspace.cutout("cell", WHOLE), 2)
    left, right = Roi((0, 0, 0), (40, 112, cut)), Roi((0, 0, cut), (40, 112, 112 - cut))
    workspace.segment(plan(workspace, "edited", left), ANA)
    before = workspace.cutout("edited", left)
    touching = [int(i) for i in np.unique(before[:, :, -1]) if i]
    assert len(touching) >= 2
    merged = workspace.merge("edited", ids=touching[:2], points=None, edit=EditContext("bob"))
    workspace.segment(plan(workspace, "edited", right), ANA)
    (root,) = merged.added_roots
    assert workspace.object("edited", root).bbox.end[2] == cut
    workspace.segment(plan(workspace, "edited", WHOLE), ANA)
    kept = np.isin(before, touching[:2])
    assert (workspace.cutout("edited", left)[kept] == root).all()
    workspace.segment(plan(workspace, "edited", WHOLE, existing="replace-all"), ANA)
    assert_same_objects(workspace.cutout("cell", WHOLE), workspace.cutout("edited", WHOLE))


def test_a_rehearsal_says_what_a_run_then_does(workspace: Workspace) -> None:
    half = parts((20, 112, 112))[0]
    first = workspace.rehearse(plan(workspace, "rehearsed", half))
    assert workspace.head("rehearsed") == 0
    done = workspace.segment(plan(workspace, "rehearsed", half), ANA)
    assert (first.added, first.removed, first.kept) == (len(done.added_roots), 0, 0)
    again = workspace.rehearse(plan(workspace, "rehearsed", WHOLE))
    assert again.removed == first.added
    filled = workspace.rehearse(plan(workspace, "rehearsed", WHOLE, existing="fill-empty"))
    assert (filled.removed, filled.kept) == (0, first.added)
    assert filled.added < again.added
    assert workspace.head("rehearsed") == 1


def test_a_section_beside_another_one_goes_on_in_its_plane_only(workspace: Workspace) -> None:
    x = busiest(workspace.cutout("cell", Roi((9, 0, 0), (1, 112, 112))), 2)
    for roi in (Roi((9, 0, 0), (1, 112, x)), Roi((9, 0, x), (1, 112, 112 - x))):
        workspace.segment(plan(workspace, "slices", roi, "slice"), ANA)
    workspace.segment(plan(workspace, "slices", Roi((10, 0, 0), (1, 112, 112)), "slice"), ANA)
    ninth, tenth = (workspace.cutout("slices", Roi((z, 0, 0), (1, 112, 112))) for z in (9, 10))
    assert np.intersect1d(ninth[:, :, x - 1], ninth[:, :, x]).any()
    assert set(np.unique(ninth)) & set(np.unique(tenth)) == {0}


def test_a_shown_range_is_what_the_network_takes_for_black_and_white(workspace: Workspace) -> None:
    roi = Roi((5, 0, 0), (1, 112, 112))
    shown = GreyRange(float(np.percentile(EM, 1)), float(np.percentile(EM, 99)))
    done = workspace.segment(plan(workspace, "shown", roi, "slice", grey_range=shown), ANA)
    assert done.added_roots
    mean, deviation = 0.57571, 0.12765
    contrast = done.provenance["contrast"]
    assert contrast["mean"] == pytest.approx(shown.low + mean * (shown.high - shown.low))
    assert contrast["std"] == pytest.approx(deviation * (shown.high - shown.low))
    found = workspace.cutout("shown", roi)
    inverted = workspace.data_dir.parent / "inverted.npz"
    np.savez(inverted, em=255 - EM)
    workspace.register("inverted", str(inverted), dataset="em", voxel_size=SIZE)
    turned = GreyRange(255 - shown.low, 255 - shown.high)
    workspace.segment(plan(workspace, "inverted", roi, "slice", grey_range=turned), ANA)
    assert_same_objects(found, workspace.cutout("inverted", roi))


def test_an_object_is_as_sure_as_its_voxels_on_the_map(workspace: Workspace) -> None:
    plane = plan(workspace, "mapped", Roi((20, 0, 0), (1, 112, 112)), "slice")
    workspace.segment(plane, ANA)  # what is cached without maps is computed again for them
    asked = replace(plane, keep_maps=True)
    show = workspace.show_found(asked, "run-1")
    workspace.segment(asked, ANA, show=show)
    assert (show.blocks, show.maps.blocks) == (0, 1)
    shares = (map_in(workspace.data_dir, "run-1", "probability", plane.roi) - 1.0) / 254
    labels = workspace.cutout("mapped", plane.roi)
    objects = workspace.objects("mapped")
    assert len(objects) > 1
    for found in objects:
        mean = shares[labels == found.root].mean()
        assert found.to_json()["probability"] == pytest.approx(mean, abs=0.005)
    assert shares[labels == 0].mean() < 0.2
    heat = map_in(workspace.data_dir, "run-1", "centres", plane.roi)
    assert heat.max() > heat[labels == 0].mean()


def test_three_planes_vote(workspace: Workspace) -> None:
    roi = Roi((0, 0, 0), (40, 64, 64))
    done = workspace.segment(plan(workspace, "votes", roi, "orthoplane"), ANA)
    agreements = [o.to_json()["agreement"] for o in workspace.objects("votes")]
    assert all(2 / 3 - 0.001 <= share <= 1 for share in agreements)
    assert min(agreements) < 1
    assert done.provenance["mode"] == "orthoplane"
    voted = workspace.cutout("votes", roi) > 0
    stacked = workspace.cutout("cell", roi) > 0
    assert (voted & stacked).sum() > 0.6 * min(voted.sum(), stacked.sum()) > 0


def test_only_chunks_that_are_fetched_are_kept_while_a_region_is_read(workspace: Workspace) -> None:
    info, image = workspace.volume("cell"), workspace.image("cell")
    assert _remote_chunk(image, info, 0) is None
    remote = replace(info, source="s3://bucket/cell.zarr")
    chunk = _remote_chunk(image, remote, 0)
    assert chunk is not None
    assert all(1 <= side <= 512 for side in chunk)
    computed = replace(image, stored_levels=1)
    assert _remote_chunk(computed, remote, 1) is None


def in_plane(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(mask, labels, 0)


def test_a_polygon_and_what_lies_around_it_are_one_go(workspace: Workspace) -> None:
    whole = workspace.cutout("cell", WHOLE)
    wedge = [(0.0, 0.0), (112.0, 0.0), (112.0, 40.0), (0.0, 90.0)]
    rest = [(0.0, 112.0), (0.0, 90.0), (112.0, 40.0), (112.0, 112.0)]
    inside = across(check_polygon(wedge), 0, WHOLE)
    cut = whole * (inside ^ np.roll(inside, 1, axis=2))
    assert len(np.unique(cut)) > 2, "objects lie across the edge"
    first = plan(workspace, "drawn", WHOLE, polygon=wedge)
    assert first.roi == Roi((0, 0, 0), (40, 112, 90))
    rehearsed = workspace.rehearse(first)
    done = workspace.segment(first, ANA)
    assert rehearsed.added == len(done.added_roots)
    assert_same_objects(in_plane(inside, whole), workspace.cutout("drawn", WHOLE))
    workspace.segment(plan(workspace, "drawn", WHOLE, polygon=rest), ANA)
    assert_same_objects(whole, workspace.cutout("drawn", WHOLE))
    # The edge again, in the other way of looking: nothing outside of the polygon is touched.
    before = workspace.cutout("drawn", WHOLE)
    small = [(20.0, 20.0), (90.0, 30.0), (30.0, 90.0)]
    again = plan(workspace, "drawn", Roi((9, 0, 0), (1, 112, 112)), "slice", polygon=small)
    workspace.segment(again, ANA)
    after = workspace.cutout("drawn", WHOLE)
    outside = np.broadcast_to(~across(check_polygon(small), 0, WHOLE), SHAPE)
    assert np.array_equal(before[outside] > 0, after[outside] > 0)
    assert not np.array_equal(before, after)


def test_listed_sections_are_each_for_themselves_and_one_operation(workspace: Workspace) -> None:
    said: list[tuple[float, str]] = []
    listed = plan(workspace, "listed", WHOLE, "slice", plane="xz", sections=[9, 10, 70])
    assert (listed.roi, listed.voxels) == (Roi((0, 9, 0), (40, 62, 112)), 3 * 40 * 112)
    done = workspace.segment(listed, ANA, lambda share, sentence: said.append((share, sentence)))
    assert workspace.head("listed") == done.operation_id == 1
    assert done.provenance["sections"] == [9, 10, 70]
    assert ("Section 10 (2 of 3)") in [sentence for _, sentence in said]
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    found = workspace.cutout("listed", WHOLE)
    assert set(np.flatnonzero(found.any(axis=(0, 2)))) == {9, 10, 70}
    ids = [set(np.unique(found[:, y])) - {0} for y in (9, 10, 70)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(done.added_roots)
    for y in (9, 10, 70):
        alone = plan(workspace, "alone", Roi((0, y, 0), (40, 1, 112)), "slice", plane="xz")
        workspace.segment(alone, ANA)
        assert_same_objects(workspace.cutout("alone", alone.roi), found[:, y : y + 1])
    again = workspace.rehearse(listed)
    assert (again.added, again.removed, again.kept) == (len(done.added_roots),) * 2 + (0,)
    workspace.undo("listed", ANA)
    assert not workspace.cutout("listed", WHOLE).any()


def test_filling_what_is_empty_goes_on_with_what_is_there(workspace: Workspace) -> None:
    """Views that overlap, one after the other, as when somebody pans."""
    roi = Roi((9, 0, 0), (1, 112, 112))
    for offset, width in ((0, 60), (40, 60), (20, 92)):
        part = Roi((9, 0, offset), (1, 112, width))
        workspace.segment(plan(workspace, "panned", part, "slice", existing="fill-empty"), ANA)
    workspace.segment(plan(workspace, "at-once", roi, "slice"), ANA)
    assert_same_objects(workspace.cutout("at-once", roi), workspace.cutout("panned", roi))
    assert (
        workspace.rehearse(plan(workspace, "panned", roi, "slice", existing="fill-empty")).added
        == 0
    )
