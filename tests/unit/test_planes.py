"""Sections of any size go through tiles of one size without a seam."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import (
    Tiling,
    _spans,
    normalise,
    predict_maps,
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


@given(length=st.integers(1, 900), side=st.sampled_from([96, 160, 256]))
def test_cores_cover_every_pixel_once_and_tiles_reach_around_them(length, side):
    tiling = Tiling(side=side, halo=32)
    spans = _spans(length, tiling)
    edges = [0] + [span.core_end for span in spans]
    assert [span.core_start for span in spans] == edges[:-1]
    assert edges[-1] == length
    assert edges == sorted(set(edges))
    for span in spans:
        assert span.start % 16 == 0
        assert span.start <= max(span.core_start - 30, 0)
        assert span.core_end <= span.start + side
        assert span.core_end == length or span.core_end <= span.start + side - 30


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
