"""A region in one go, in four quarters and in any order gives the same objects, voxel by voxel."""

from pathlib import Path

import cc3d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perfect_maps import ellipsoids, f1_scores, perfect_maps
from stand_in_network import Blobs, Grey, Source, cloudy
from torch import nn

from segmentation_backend.geometry import Roi
from segmentation_backend.inference import runner
from segmentation_backend.inference.blocks import Recipe, segment_blocks
from segmentation_backend.inference.grid import BlockGrid, Tiling
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.runner import BlockOptions, segment_region
from segmentation_backend.inference.stitching import region_labels
from segmentation_backend.models.registry import default_model
from segmentation_backend.models.weights import load
from segmentation_backend.sources.synthetic import synthetic_em

TILING = Tiling(side=96, halo=32)
PARAMETERS = InferenceParameters(min_size=40, min_extent=2)
SHAPES = {"slice": (6, 150, 170), "stack": (75, 90, 75), "orthoplane": (52, 70, 75)}
VOLUMES = {mode: cloudy(shape, 1, 4.0) for mode, shape in SHAPES.items()}


def compute(mode, plane, roi, order=None):
    """Return the results of a region's blocks, by index, from a run of its own."""
    bounds = Roi((0, 0, 0), SHAPES[mode])
    source = Source(VOLUMES[mode], bounds)
    blocks = BlockGrid(bounds, mode, plane, TILING).blocks(roi)
    if order is not None:
        order.shuffle(blocks)
    recipe = Recipe(Blobs(), Grey(), PARAMETERS)
    return {r.block.index: r for r in segment_blocks(source.read, blocks, recipe)}


def quarters(roi, axes, cut):
    """Return a region cut in four along two axes."""
    parts = [roi]
    for axis, at in zip(axes, cut, strict=True):
        halves = []
        for part in parts:
            low, high = list(part.offset), list(part.end)
            middle = low[axis] + max(0, min(at, part.shape[axis]))
            halves.append(Roi.from_bounds(low, [*high[:axis], middle, *high[axis + 1 :]]))
            halves.append(Roi.from_bounds([*low[:axis], middle, *low[axis + 1 :]], high))
        parts = halves
    return [part for part in parts if not part.is_empty]


def draw_region(data, mode, plane):
    shape = SHAPES[mode]
    low, high = [], []
    for axis, side in enumerate(shape):
        thin = mode == "slice" and axis == {"xy": 0, "xz": 1, "yz": 2}[plane]
        low.append(data.draw(st.integers(0, side - 1 if thin else side // 3)))
        high.append(low[-1] + 1 if thin else data.draw(st.integers(side * 2 // 3, side)))
    return Roi.from_bounds(low, high)


CASES = [(m, p) for m in ("slice", "stack") for p in ("xy", "xz", "yz")] + [("orthoplane", "xy")]


@pytest.mark.parametrize(("mode", "plane"), CASES)
def test_quarters_and_orders_make_no_difference(mode, plane):
    @settings(
        max_examples={"slice": 8, "stack": 3, "orthoplane": 2}[mode],
        deadline=None,
        derandomize=True,
    )
    @given(data=st.data())
    def check(data):
        roi = draw_region(data, mode, plane)
        axes = {"xy": (1, 2), "xz": (0, 2), "yz": (0, 1)}[plane]
        cut = [data.draw(st.integers(0, roi.shape[axis])) for axis in axes]
        whole = compute(mode, plane, roi)
        parts = {}
        for part in quarters(roi, axes, cut):
            for index, result in compute(mode, plane, part, data.draw(st.randoms())).items():
                known = parts.setdefault(index, result)
                np.testing.assert_array_equal(known.labels, result.labels)
                np.testing.assert_array_equal(known.probability, result.probability)
        assert set(parts) == set(whole)
        # Objects are numbered in the order of their first voxels: equal sets, equal numbers.
        expected = region_labels(list(whole.values()), roi)
        np.testing.assert_array_equal(region_labels(list(parts.values()), roi), expected)
        assert expected.max() > 1 or roi.size < 4000

    check()


@pytest.mark.parametrize(("mode", "plane"), CASES)
def test_a_part_of_a_region_is_the_region_cut(mode, plane):
    """Within one part, what touches the rest elsewhere may be several objects, never others."""
    bounds = Roi((0, 0, 0), SHAPES[mode])
    whole = region_labels(list(compute(mode, plane, bounds).values()), bounds)
    middle = Roi.from_bounds([s // 4 for s in bounds.shape], [s * 3 // 4 for s in bounds.shape])
    part = region_labels(list(compute(mode, plane, middle).values()), middle)
    cut = whole[middle.slices()]
    np.testing.assert_array_equal(part > 0, cut > 0)
    owners = np.unique(np.stack([part[part > 0], cut[part > 0]]), axis=1)
    assert len(np.unique(owners[0])) == owners.shape[1]


@pytest.mark.parametrize("mode", ["slice", "stack"])
def test_stitched_blocks_are_the_objects_of_the_whole(mode):
    """With a network that looks at a few pixels only, seams must leave no trace at all."""
    bounds = Roi((0, 0, 0), SHAPES[mode])
    source = Source(VOLUMES[mode], bounds)
    parameters = InferenceParameters(semantic_only=True, min_area=0, min_size=0, min_extent=0)
    recipe = Recipe(Blobs(tile_share=0.0), Grey(), parameters)
    blocks = BlockGrid(bounds, mode, "xy", TILING).blocks(bounds)
    found = region_labels(list(segment_blocks(source.read, blocks, recipe)), bounds)
    one = Tiling(side=256, halo=32)
    (*results,) = segment_blocks(
        source.read, BlockGrid(bounds, mode, "xy", one).blocks(bounds), recipe
    )
    whole = region_labels(results, bounds)
    np.testing.assert_array_equal(found > 0, whole > 0)
    if mode == "slice":
        assert len(blocks) > 6 * 12
        np.testing.assert_array_equal(found, whole)
        for labels in found:
            pieces = cc3d.connected_components((labels > 0).astype(np.uint8), connectivity=8)
            assert pieces.max() == len(np.unique(labels)) - 1


class Knowing(nn.Module):
    """Is shown labels instead of an image, and says what a perfect network would of that tile."""

    def forward(self, x, render_steps=2, interpolate_ins=True):
        maps = perfect_maps(np.rint(x[0, 0].numpy()).astype(np.int64))
        odds = np.clip(maps.probability, 1e-4, 1 - 1e-4)
        logits = np.log(odds / (1 - odds))
        return {
            "sem_logits": torch.from_numpy(logits)[None, None],
            "ctr_hmp": torch.from_numpy(maps.centres)[None, None],
            "offsets": torch.from_numpy(maps.offsets)[None],
        }


@pytest.mark.parametrize("mode", ["stack", "orthoplane"])
def test_seams_cost_no_objects(mode):
    """Through many small blocks a perfect network's objects come out as they do in one."""
    bounds = Roi((0, 0, 0), (40, 270, 100))
    truth = ellipsoids(bounds.shape, 24, seed=2)
    recipe = Recipe(Knowing(), Grey(0.0, 1.0))
    scores = []
    for tiling, count in ((Tiling(), 1), (Tiling(side=192, halo=64), 4)):
        blocks = BlockGrid(bounds, mode, "xy", tiling).blocks(bounds)
        assert len(blocks) >= count
        results = list(segment_blocks(lambda roi: truth[roi.slices()], blocks, recipe))
        scores.append(f1_scores(truth, region_labels(results, bounds)))
    (whole_50, whole_75), (f50, f75) = scores
    assert f50 >= max(0.97, whole_50 - 0.01)
    assert f75 >= whole_75 - 0.05


@pytest.mark.parametrize("mode", ["slice", "stack"])
def test_the_embedded_model_gives_the_same_objects_in_quarters(mode, tmp_path):
    bounds = Roi((0, 0, 0), (3, 760, 96))
    em = synthetic_em(bounds.shape, 6, (10.0, 10.0, 10.0)).em
    source = Source(em, bounds)
    spec = default_model(Path(tmp_path))
    network = load(spec, Path(tmp_path))
    grey = Grey(float(em.mean()), float(em.std()))
    parameters = InferenceParameters(min_size=40, min_extent=1)

    def run(roi):
        results = {}
        found = segment_region(
            source.read, roi, network, spec, grey, "xy", mode, parameters,
            lambda share, text: None, bounds=bounds,
            options=BlockOptions(on_block=lambda r: results.setdefault(r[0].block.index, r[0])),
        )  # fmt: skip
        return found.labels, results

    roi = Roi((1, 300, 10), (1 if mode == "slice" else 2, 400, 80))
    whole, _ = run(roi)
    assert whole.max() > 1
    gathered = {}
    for part in quarters(roi, (1, 2), (230, 40)):
        labels, results = run(part)
        np.testing.assert_array_equal(labels > 0, whole[part.slices(roi.offset)] > 0)
        gathered |= results
    assert len(gathered) == 2
    np.testing.assert_array_equal(region_labels(list(gathered.values()), roi), whole)


def shaped(
    monkeypatch, known, mode, plane, roi, parameters, tiling=TILING, network=None, order=None
):
    """Return the labels of a region through `segment_region`, from blocks of a small grid."""

    def plan(bounds, mode, plane, network, spec):
        return BlockGrid(bounds, mode, "xy" if mode == "orthoplane" else plane, tiling)

    def blocks(read, blocks, recipe, cache, tell):
        # What blocks come to does not depend on the region: see above.
        for block in blocks:
            key = (mode, plane, block.core)
            if key not in known:
                (known[key],) = segment_blocks(read, [block], recipe)
            yield (known[key],)

    monkeypatch.setattr(runner, "plan_grid", plan)
    monkeypatch.setattr(runner, "segment_products", blocks)
    bounds = Roi((0, 0, 0), SHAPES[mode])
    source = Source(VOLUMES[mode], bounds)
    return segment_region(
        source.read, roi, network or Blobs(), default_model(Path()), Grey(), plane, mode,
        parameters, lambda share, text: None, bounds=bounds, options=BlockOptions(centre=order),
    ).labels  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "plane"), [("slice", "xy"), ("stack", "xz"), ("orthoplane", "xy")]
)
def test_shaped_objects_know_no_seams_and_no_parts(mode, plane, monkeypatch):
    """Filled, eroded and dilated: a region in parts, and from another corner, is the region."""

    known = {}

    @settings(max_examples=3, deadline=None, derandomize=True)
    @given(
        steps=st.tuples(st.integers(0, 5), st.integers(0, 5)), fill=st.booleans(), data=st.data()
    )
    def check(steps, fill, data):
        wanted = InferenceParameters(
            min_size=40, min_extent=2, label_erosion=steps[0], label_dilation=steps[1],
            fill_holes_in_segmentation=fill,
        )  # fmt: skip
        roi = draw_region(data, mode, plane)
        whole = shaped(monkeypatch, known, mode, plane, roi, wanted)
        corner = tuple(map(float, roi.offset))
        np.testing.assert_array_equal(
            shaped(monkeypatch, known, mode, plane, roi, wanted, order=corner), whole
        )
        axes = {"xy": (1, 2), "xz": (0, 2)}[plane]
        cut = [data.draw(st.integers(0, roi.shape[axis])) for axis in axes]
        for part in quarters(roi, axes, cut):
            found = shaped(monkeypatch, known, mode, plane, part, wanted)
            expected = whole[part.slices(roi.offset)]
            np.testing.assert_array_equal(found > 0, expected > 0)

    check()


@settings(max_examples=6, deadline=None, derandomize=True)
@given(erode=st.integers(0, 5), dilate=st.integers(0, 5), fill=st.booleans())
def test_shaped_blocks_are_the_shaped_whole(erode, dilate, fill):
    """With a network that looks at a few pixels only, many blocks are as one, voxel by voxel."""
    wanted = InferenceParameters(
        semantic_only=True, min_area=0, min_size=0, min_extent=0, label_erosion=erode,
        label_dilation=dilate, fill_holes_in_segmentation=fill,
    )  # fmt: skip
    bounds = Roi((0, 0, 0), SHAPES["slice"])
    with pytest.MonkeyPatch.context() as patch:
        whole, parts = (
            shaped(patch, {}, "slice", "xy", bounds, wanted, tiling, Blobs(tile_share=0.0))
            for tiling in (Tiling(side=256, halo=32), TILING)
        )
    assert whole.max() > 1
    np.testing.assert_array_equal(parts, whole)
