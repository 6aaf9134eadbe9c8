"""3D networks go through the same blocks, stitching and cache as the others."""

import numpy as np
import pytest
import torch
from scripted_networks import BoundaryNetwork
from stand_in_network import Grey, Source, cloudy

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference.cache import BlockCache
from segmentation_backend.inference.cubes import CubeGrid
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.runner import BlockOptions, plan_grid, segment_region
from segmentation_backend.models.registry import ModelKind, ModelSpec, Origin

SPEC = ModelSpec(
    "edges", "", "", 10.0, Origin.FILE, "edges.pth", kind=ModelKind.AFFINITY, padding_factor=16
)
BOUNDS = Roi((0, 0, 0), (30, 150, 40))
CLOUDS = cloudy(BOUNDS.shape, size=3.0)


class Counted(BoundaryNetwork):
    """Knows how often it was asked."""

    def __init__(self, channels=3):
        super().__init__(channels)
        self.calls = 0

    def forward(self, block):
        self.calls += 1
        return super().forward(block)


def run(roi, network=None, mode="stack", cache=None, **more):
    options = BlockOptions(cache=cache, identity={} if cache else None, voxel_size=(10, 10, 10))
    with torch.inference_mode():
        return segment_region(
            Source(CLOUDS, BOUNDS).read, roi, network or Counted(), SPEC, Grey(), "xy", mode,
            InferenceParameters(min_size=30, min_extent=2), lambda share, text: None,
            bounds=BOUNDS, options=options, **more,
        ).labels  # fmt: skip


def same_objects(one, other):
    np.testing.assert_array_equal(one > 0, other > 0)
    pairs = np.unique(np.stack([one[one > 0], other[one > 0]]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_part_of_a_region_has_the_objects_of_the_whole(channels, tmp_path):
    cache = BlockCache(tmp_path)
    network = Counted(channels)
    whole = run(BOUNDS, network, cache=cache)
    assert whole.shape == BOUNDS.shape
    assert whole.max() > 5
    grid = plan_grid(BOUNDS, "stack", "xy", network, SPEC)
    seam = grid.block((0, 1, 0)).core.offset[1]
    across = np.intersect1d(whole[:, seam - 1], whole[:, seam])
    assert (across > 0).any(), "an object goes through the face between two blocks"
    calls = network.calls
    part = Roi((3, seam - 20, 5), (20, 40, 30))
    assert same_objects(run(part, network, cache=cache), whole[part.slices()])
    assert network.calls == calls, "both blocks were known"
    section = Roi((9, 0, 0), (1, 150, 40))
    assert same_objects(run(section, Counted(channels), "slice"), whole[9:10])


def test_cubes_have_one_size_and_cover_the_level_once():
    for context in (0, 1, 30, 60):

        class Valid(torch.nn.Module):
            def forward(self, block, margin=context):
                inner = slice(margin, block.shape[-1] - margin)
                return block[:, :, inner, inner, inner]

        bounds = Roi((4, 0, 0), (130, 70, 300))
        grid = CubeGrid.of(bounds, Valid(), 16)
        count = np.zeros(bounds.shape, np.uint8)
        for block in grid.blocks(bounds):
            count[block.core.slices(bounds.offset)] += 1
            assert len({*block.tile.shape, grid.tiling.side}) == 1
            seen = block.tile.grow([-context] * 3)
            assert seen.encloses(block.box)
            assert bounds.encloses(block.reach)
        assert (count == 1).all()


def test_votes_of_planes_are_refused():
    with pytest.raises(InvalidInputError, match="all three dimensions"):
        run(BOUNDS, mode="orthoplane")


@pytest.mark.parametrize(
    ("error", "kind", "refusal"),
    [
        (RuntimeError("sizes of tensors must match"), FormatError, ErrorKind.MODEL_OUTPUT_INVALID),
        (MemoryError(), ResourceError, ErrorKind.OUT_OF_MEMORY),
    ],
)
def test_a_network_that_cannot_be_run_says_why(error, kind, refusal):
    class Broken(torch.nn.Module):
        def forward(self, block):
            raise error

    with pytest.raises(kind) as caught:
        run(BOUNDS, Broken())
    assert caught.value.kind == refusal
