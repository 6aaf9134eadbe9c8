"""A region is read with a margin inside the volume, and only its own labels come back."""

import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from stand_in_network import Blobs
from torch import nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference import planes
from segmentation_backend.inference.cache import BlockCache
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.runner import BlockOptions, segment_region, warm_up
from segmentation_backend.models.registry import find_model


class Threshold(nn.Module):
    """Bright is foreground; knows no centres."""

    def forward(self, x, render_steps=2, interpolate_ins=True):
        coarse = torch.zeros_like(x[..., ::4, ::4])
        return {"sem_logits": 4 * x, "ctr_hmp": coarse, "offsets": torch.cat([coarse, coarse], 1)}


@dataclass(frozen=True)
class Grey:
    mean: float = 128.0
    std: float = 40.0


class Source:
    """A volume that remembers what was read and refuses what lies outside."""

    def __init__(self, shape=(40, 90, 100)):
        self.bounds = Roi((0, 0, 0), shape)
        self.array = np.full(shape, 60, np.uint8)
        z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
        for cz, cy, cx in ((20, 30, 30), (20, 60, 60), (20, 60, 90)):
            self.array[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 12**2] = 220
        self.read_boxes = []

    def read(self, roi):
        assert self.bounds.encloses(roi)
        self.read_boxes.append(roi)
        return self.array[roi.slices()]


def run(source, roi, tmp_path, plane="xy", mode="slice", progress=lambda share, text: None, **more):
    parameters = InferenceParameters(**more)
    spec = find_model("mitoglance_small", tmp_path)
    return segment_region(
        source.read, roi, Threshold(), spec, Grey(), plane, mode, parameters, progress,
        bounds=source.bounds,
    ).labels  # fmt: skip


@pytest.mark.parametrize(
    ("plane", "roi"),
    [
        ("xy", Roi((20, 10, 10), (1, 70, 60))),
        ("xz", Roi((5, 30, 10), (30, 1, 60))),
        ("yz", Roi((5, 10, 60), (30, 60, 1))),
    ],
)
def test_a_slice_of_any_plane_has_the_shape_of_its_region(plane, roi, tmp_path):
    source = Source()
    labels = run(source, roi, tmp_path, plane)
    assert labels.shape == roi.shape
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels > 0, source.array[roi.slices()] > 128)
    assert labels.max() >= 1


def test_what_is_read_is_the_block_and_never_beyond_the_volume(tmp_path):
    source = Source()
    run(source, Roi((20, 40, 0), (1, 20, 60)), tmp_path)
    assert source.read_boxes == [Roi((20, 0, 0), (1, 90, 100))]


def test_the_margin_decides_what_an_object_at_the_edge_is(tmp_path):
    source = Source()
    # Two profiles in the region that are one just outside of it.
    source.array[20, 10:14, 10:40] = source.array[20, 10:30, 10:14] = 220
    source.array[20, 10:30, 36:40] = 220
    labels = run(source, Roi((20, 16, 8), (1, 14, 40)), tmp_path, semantic_only=True)
    left, right = labels[0, 2, 3], labels[0, 2, 29]
    assert left == right > 0


@pytest.mark.parametrize("plane", ["xy", "xz", "yz"])
def test_a_stack_gives_the_same_objects_along_any_axis(plane, tmp_path):
    source = Source()
    roi = Roi((4, 10, 10), (32, 75, 65))
    labels = run(source, roi, tmp_path, plane, "stack")
    assert labels.shape == roi.shape
    assert labels.max() == 2
    assert labels[16, 20, 20] != labels[16, 50, 50]
    truth = source.array[roi.slices()] > 128
    overlap = ((labels > 0) & truth).sum() / ((labels > 0) | truth).sum()
    assert overlap > 0.97


def test_sections_of_slice_mode_have_objects_of_their_own(tmp_path):
    labels = run(Source(), Roi((18, 20, 20), (3, 30, 30)), tmp_path)
    ids = [set(np.unique(section)) - {0} for section in labels]
    assert all(ids)
    assert not ids[0] & ids[1]
    assert set.union(*ids) == set(range(1, int(labels.max()) + 1))


def test_stuff_is_one_object_in_all_blocks(tmp_path):
    source, roi = Source(), Roi((18, 20, 20), (3, 30, 30))
    stuff = replace(find_model("mitoglance_small", tmp_path), thing_list=())
    labels = segment_region(
        source.read, roi, Threshold(), stuff, Grey(), "xy", "slice", InferenceParameters(),
        lambda share, text: None, bounds=source.bounds,
    ).labels  # fmt: skip
    np.testing.assert_array_equal(labels, source.array[roi.slices()] > 128)


def test_a_region_cuts_objects_and_drops_none_of_their_voxels(tmp_path):
    source = Source()
    wide = run(source, Roi((20, 10, 10), (1, 70, 90)), tmp_path)
    cut = run(source, Roi((20, 10, 10), (1, 70, 69)), tmp_path)
    assert cut.max() == 3  # one column of the sphere at x 90 begins at x 78
    np.testing.assert_array_equal(cut > 0, wide[..., :69] > 0)


def test_progress_follows_each_section_and_ends_at_one(tmp_path):
    told = []
    run(
        Source(), Roi((10, 10, 10), (5, 40, 40)), tmp_path,
        progress=lambda share, text: told.append((share, text)),
    )  # fmt: skip
    assert [share for share, _ in told] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert told[1][1] == "Block 2 of 5"


def test_progress_tells_of_sections_within_blocks(tmp_path):
    told = []
    run(
        Source(), Roi((0, 0, 0), (40, 90, 100)), tmp_path, mode="stack",
        progress=lambda share, text: told.append((share, text)),
    )  # fmt: skip
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert told[-1] == (1.0, "Block 1 of 1")
    assert told[6][1] == "Section 7 of 40"


@pytest.mark.parametrize("mode", ["slice", "stack"])
def test_cancelling_stops_reading_and_running(mode, tmp_path):
    source = Source((100, 64, 64))
    done = []

    def cancel(share, text):
        done.append(share)
        if len(done) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(source, Roi((0, 0, 0), (100, 64, 64)), tmp_path, mode=mode, progress=cancel)
    assert len(done) == 3
    assert not [t for t in threading.enumerate() if t.name.startswith("look-ahead") and waits(t)]
    # One block at a time is read while another is computed, and one more may have begun.
    finished = 3 if mode == "slice" else 1
    assert len(source.read_boxes) <= finished + 2


def test_the_network_sees_tiles_of_one_shape_wherever_the_region_lies(tmp_path):
    source = Source((1, 1400, 900))
    network = Blobs()
    spec = find_model("mitoglance_small", tmp_path)
    for offset in ((0, 0, 0), (0, 700, 300), (0, 1000, 500)):
        segment_region(
            source.read, Roi(offset, (1, 400, 400)), network, spec, Grey(), "xy", "slice",
            InferenceParameters(), lambda share, text: None, bounds=source.bounds,
        )  # fmt: skip
    assert set(network.shapes) == {(1, 1, 640, 640)}
    network.shapes.clear()
    warm_up(network, spec)
    assert set(network.shapes) == {(1, 1, 640, 640)}


def test_on_block_gets_every_block_before_progress_hears_of_it(tmp_path):
    source, order = Source((6, 90, 100)), []
    options = BlockOptions(
        centre=(5.5, 40, 40), on_block=lambda r: order.append(r[0].block.index), keep_maps=True
    )
    segment_region(
        source.read, source.bounds, Threshold(), find_model("mitoglance_small", tmp_path), Grey(),
        "xy", "slice", InferenceParameters(), lambda share, text: order.append(share),
        bounds=source.bounds, options=options,
    )  # fmt: skip
    assert order[0::2] == [(z, 0, 0) for z in (5, 4, 3, 2, 1, 0)]
    assert order[1::2] == [n / 6 for n in range(1, 7)]


def test_a_cache_needs_to_know_what_it_keeps(tmp_path):
    source = Source()
    with pytest.raises(InvalidInputError, match="identity"):
        segment_region(
            source.read, source.bounds, Threshold(), find_model("mitoglance_small", tmp_path),
            Grey(), "xy", "stack", InferenceParameters(), lambda share, text: None,
            options=BlockOptions(cache=BlockCache(tmp_path)),
        )  # fmt: skip
    assert not source.read_boxes


def test_a_run_that_is_short_of_memory_says_so_and_finds_the_same(tmp_path, monkeypatch):
    class Narrow(Threshold):
        def forward(self, x, render_steps=2, interpolate_ins=True):
            if len(x) > 2:
                raise MemoryError
            return super().forward(x, render_steps, interpolate_ins)

    def found(network, told):
        return segment_region(
            source.read, roi, network, find_model("mitoglance_small", tmp_path), Grey(), "xy",
            "stack", InferenceParameters(), lambda share, text: told.append(text),
            bounds=source.bounds,
        ).labels  # fmt: skip

    source, roi, told = Source(), Roi((4, 10, 10), (8, 75, 65)), []
    expected = found(Threshold(), [])
    monkeypatch.setitem(planes._BATCH, "cpu", 8)
    np.testing.assert_array_equal(found(Narrow(), told), expected)
    assert told[0] == "Section 1 of 40 (batches of 2, since memory is short)"


def waits(thread):
    """Whether a thread goes on after it had time to end."""
    thread.join(5)
    return thread.is_alive()


def test_a_read_error_is_not_an_empty_result(tmp_path):
    source = Source()

    def broken(roi):
        raise OSError("disk")

    source.read = broken
    with pytest.raises(OSError, match="disk"):
        run(source, Roi((20, 10, 10), (1, 40, 40)), tmp_path)


def test_without_bounds_only_the_region_is_read(tmp_path):
    source = Source()
    roi = Roi((20, 17, 19), (1, 40, 40))
    spec = find_model("mitoglance_small", tmp_path)
    segment_region(
        source.read, roi, Threshold(), spec, Grey(), "xy", "slice", InferenceParameters(),
        lambda share, text: None,
    )  # fmt: skip
    assert source.read_boxes == [roi]


@pytest.mark.parametrize(
    ("roi", "plane", "mode", "kind"),
    [
        (Roi((0, 0, 0), (0, 5, 5)), "xy", "slice", ErrorKind.ROI_EMPTY),
        (Roi((0, 0, 0), (1, 5, 5)), "zx", "slice", ErrorKind.INVALID_PARAMETER),
        (Roi((0, 0, 0), (1, 5, 5)), "xy", "cube", ErrorKind.INVALID_PARAMETER),
    ],
)
def test_a_wrong_request_is_refused_before_reading(roi, plane, mode, kind, tmp_path):
    source = Source()
    with pytest.raises(InvalidInputError) as caught:
        run(source, roi, tmp_path, plane, mode)
    assert caught.value.kind == kind
    assert not source.read_boxes
