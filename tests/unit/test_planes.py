"""Sections of any size go through tiles of one size without a seam."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import (
    Tiling,
    normalise,
    predict_maps,
    predict_tiles,
    segment_slice,
)
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig


@dataclass(frozen=True)
class Grey:
    mean: float = 0.0
    std: float = 1.0


class Threshold(nn.Module):
    """Bright is foreground; knows no centres. Remembers the shapes it was given."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x, render_steps=2, interpolate_ins=True):
        self.shapes.append(tuple(x.shape))
        coarse = x if interpolate_ins else x[..., ::4, ::4]
        return {
            "sem_logits": 4 * x,
            "ctr_hmp": torch.zeros_like(coarse),
            "offsets": torch.cat([coarse, -coarse], 1),
        }


class Context(nn.Module):
    """Every map depends on a window of 33 x 33 pixels."""

    def forward(self, x, render_steps=2, interpolate_ins=True):
        mean = nn.functional.avg_pool2d(x, 33, 1, 16, count_include_pad=True)
        coarse = mean if interpolate_ins else nn.functional.avg_pool2d(mean, 4)
        return {"sem_logits": mean, "ctr_hmp": coarse, "offsets": torch.cat([coarse, coarse], 1)}


TILING = Tiling(side=96, halo=32)


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("shape", [(96, 96), (97, 300), (250, 131), (40, 200)])
def test_tiles_equal_the_whole_section(fine, shape):
    section = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    parameters = InferenceParameters(fine_boundaries=fine)
    tiled = predict_maps(section, Context(), parameters, TILING)
    whole = predict_maps(section, Context(), parameters, Tiling(side=1024))
    for name in ("probability", "centres", "offsets"):
        np.testing.assert_allclose(getattr(tiled, name), getattr(whole, name), atol=1e-5)


def test_tiles_of_a_real_network_equal_the_whole_section():
    torch.manual_seed(1)
    config = MitoNetConfig(
        stem_width=4,
        stage_widths=(4, 4, 8, 8),
        stage_blocks=(1, 1, 1, 1),
        aspp_rates=(2,),
        semantic_width=8,
        instance_width=8,
        semantic_skip_widths=(4, 4),
        instance_skip_widths=(4, 4),
        point_width=8,
        render_points=10**9,  # a fixed number of refined pixels would depend on the tile
    )
    network = MitoNet(config).eval()
    section = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    parameters = InferenceParameters()
    tiled = predict_maps(section, network, parameters, Tiling(side=512, halo=192))
    whole = predict_maps(section, network, parameters, Tiling(side=1024))
    for name in ("probability", "centres", "offsets"):
        np.testing.assert_allclose(getattr(tiled, name), getattr(whole, name), atol=1e-4)


def test_an_object_across_tiles_is_one():
    section = np.full((100, 400), -1.0, np.float32)
    section[40:60, 10:390] = 1
    objects = segment_slice(section, Threshold(), Grey(), InferenceParameters(), TILING)
    np.testing.assert_array_equal(objects, section > 0)


def test_all_tiles_have_one_shape_that_the_network_accepts():
    network = Threshold()
    tiling = Tiling(side=256, halo=32, padding_factor=128)
    predict_maps(np.zeros((300, 700), np.float32), network, InferenceParameters(), tiling)
    assert set(network.shapes) == {(1, 1, 256, 256)}
    assert len(network.shapes) == 2 * 4
    network.shapes.clear()
    predict_maps(np.zeros((100, 131), np.float32), network, InferenceParameters(), tiling)
    assert network.shapes == [(1, 1, 128, 256)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32])
def test_every_grey_scale_gives_the_same_objects(dtype):
    rng = np.random.default_rng(0)
    section = (rng.normal(100, 4, (64, 64))).round()
    section[20:40, 20:40] += 20
    image = section.astype(dtype)
    contrast = Grey(float(image.mean()), float(image.std()))
    objects = segment_slice(image, Threshold(), contrast, InferenceParameters(min_area=200))
    assert objects.max() == 1
    assert objects[30, 30] == 1


def test_a_flat_volume_does_not_divide_by_zero():
    assert not normalise(np.full((8, 8), 7, np.uint8), Grey(7, 0)).any()


def test_what_is_not_a_number_is_mean_grey():
    image = np.array([[1.0, np.nan, np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(normalise(image, Grey(1, 1)), np.zeros((1, 4)))


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_a_batch_changes_neither_maps_nor_shapes(batch):
    tiles = list(np.random.default_rng(0).normal(size=(5, 64, 96)).astype(np.float32))
    network = Threshold()
    maps = list(predict_tiles(iter(tiles), network, InferenceParameters(), batch))
    assert set(network.shapes) == {(batch, 1, 64, 96)}
    assert len(maps) == 5
    for tile, found in zip(tiles, maps, strict=True):
        np.testing.assert_allclose(found.probability, 1 / (1 + np.exp(-4 * tile)), rtol=1e-5)
        np.testing.assert_array_equal(found.offsets[0], tile[::4, ::4])


def test_of_several_classes_all_but_the_background_are_foreground():
    class Three(Threshold):
        def forward(self, x, render_steps=2, interpolate_ins=True):
            output = super().forward(x, render_steps, interpolate_ins)
            return {**output, "sem_logits": torch.cat([-x, x, x], 1)}

    tile = np.linspace(-2, 2, 32 * 32, dtype=np.float32).reshape(32, 32)
    (maps,) = predict_tiles([tile], Three(), InferenceParameters())
    expected = 2 * np.exp(tile) / (np.exp(-tile) + 2 * np.exp(tile))
    np.testing.assert_allclose(maps.probability, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: o.pop("offsets"), "offsets"),
        (lambda o: o.update(ctr_hmp=o["ctr_hmp"][..., 1:]), "ctr_hmp have shape"),
        (lambda o: o.update(sem_logits=o["sem_logits"] * torch.nan), "not numbers"),
        (lambda o: o.update(sem_logits=3), "sem_logits"),
    ],
)
def test_an_answer_that_is_no_panoptic_one_is_refused(change, words):
    class Broken(Threshold):
        def forward(self, x, render_steps=2, interpolate_ins=True):
            output = super().forward(x, render_steps, interpolate_ins)
            change(output)
            return output

    with pytest.raises(FormatError, match=words) as caught:
        list(predict_tiles([np.zeros((32, 32), np.float32)], Broken(), InferenceParameters()))
    assert caught.value.kind == ErrorKind.MODEL_OUTPUT_INVALID


class Narrow(Threshold):
    """Has memory for so many tiles at once."""

    def __init__(self, room, error=None):
        super().__init__()
        self.room = room
        self.error = error or torch.OutOfMemoryError("out of memory")

    def forward(self, x, render_steps=2, interpolate_ins=True):
        if len(x) > self.room:
            raise self.error
        return super().forward(x, render_steps, interpolate_ins)


def test_out_of_memory_halves_the_batch_and_says_so(caplog):
    tiles = list(np.random.default_rng(0).normal(size=(11, 32, 32)).astype(np.float32))
    network = Narrow(2)
    maps = list(predict_tiles(tiles, network, InferenceParameters(), batch=8))
    roomy = list(predict_tiles(tiles, Threshold(), InferenceParameters(), batch=8))
    assert set(network.shapes) == {(2, 1, 32, 32)}
    for a, b in zip(maps, roomy, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
    assert "batches of 2 tiles" in caplog.text
    assert "batches of 4 tiles" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_machines_own_memory_may_be_short_too(error):
    tiles = list(np.random.default_rng(0).normal(size=(5, 32, 32)).astype(np.float32))
    told = []
    network = Narrow(2, error)
    maps = list(predict_tiles(tiles, network, InferenceParameters(), 8, told.append))
    assert len(maps) == 5
    assert told == ["batches of 2, since memory is short"]
    with pytest.raises(ResourceError, match="memory of this machine"):
        list(predict_tiles(tiles, Narrow(0, error), InferenceParameters(), 4))


def test_another_error_of_the_network_is_not_taken_for_a_lack_of_memory():
    broken = Narrow(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(FormatError, match=r"it fails .*mat1") as caught:
        list(predict_tiles([np.zeros((32, 32), np.float32)], broken, InferenceParameters(), 4))
    assert caught.value.kind == ErrorKind.MODEL_OUTPUT_INVALID


def test_a_tile_that_does_not_fit_is_an_error_with_a_way_out():
    with pytest.raises(ResourceError, match="smaller model") as caught:
        list(predict_tiles([np.zeros((32, 32), np.float32)], Narrow(0), InferenceParameters(), 4))
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_maps_as_the_cpu():
    torch.manual_seed(0)
    network = MitoNet(MitoNetConfig(render_points=64)).eval()
    tiles = list(np.random.default_rng(0).normal(size=(11, 128, 128)).astype(np.float32))
    slow = list(predict_tiles(tiles, network, InferenceParameters()))
    fast = list(predict_tiles(tiles, network.cuda(), InferenceParameters()))
    for a, b in zip(slow, fast, strict=True):
        assert np.abs(a.probability - b.probability).mean() < 0.01
        assert np.abs(a.centres - b.centres).mean() < 0.01
