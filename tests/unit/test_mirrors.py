"""Test-time augmentation: the mean of what a network makes of a tile and of its mirror images."""

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference.exact_parameters import ExactParameters
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import Tiling, predict_maps, predict_tiles
from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig

PLAIN = InferenceParameters()
MEAN = InferenceParameters(test_time_augmentation=True)


class Leaning(nn.Module):
    """Takes the pixel above and to the left for its own, and points down and to the right."""

    def __init__(self, classes=1):
        super().__init__()
        self.classes = classes
        self.calls = 0

    def forward(self, x, render_steps=2, interpolate_ins=True):
        self.calls += 1
        moved = torch.roll(x, (1, 1), (2, 3))
        coarse = moved if interpolate_ins else nn.functional.avg_pool2d(moved, 4)
        logits = torch.cat([(k + 1) * moved for k in range(self.classes)], 1)
        offsets = torch.cat([coarse + 2, coarse + 5], 1)
        return {"sem_logits": logits, "ctr_hmp": coarse, "offsets": offsets}


@pytest.fixture(scope="module")
def tiles():
    return list(np.random.default_rng(0).normal(size=(3, 32, 48)).astype(np.float32))


def predicted(tiles, network, parameters, **more):
    return list(predict_tiles(iter(tiles), network, parameters, **more))


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("fine", [True, False])
def test_maps_are_the_mean_of_those_of_every_mirror_image(tiles, fine, batch):
    parameters = InferenceParameters(fine_boundaries=fine, test_time_augmentation=True)
    found = predicted(tiles, Leaning(), parameters, batch=batch)
    assert len(found) == len(tiles)
    plain = InferenceParameters(fine_boundaries=fine)
    for tile, maps in zip(tiles, found, strict=True):
        wanted = []
        for axes in ((), (0,), (1,), (0, 1)):
            (seen,) = predicted([np.flip(tile, axes).copy()], Leaning(), plain)
            back = np.flip(seen.offsets, [a + 1 for a in axes]).copy()
            for axis in axes:
                back[axis] *= -1
            wanted.append((np.flip(seen.probability, axes), np.flip(seen.centres, axes), back))
        means = [np.mean(np.stack(parts), 0) for parts in zip(*wanted, strict=True)]
        np.testing.assert_allclose(maps.probability, means[0], atol=1e-6)
        np.testing.assert_allclose(maps.centres, means[1], atol=1e-6)
        np.testing.assert_allclose(maps.offsets, means[2], atol=1e-6)
        assert {m.dtype for m in (maps.probability, maps.centres, maps.offsets)} == {
            np.dtype(np.float32)
        }


def test_what_leans_to_one_side_leans_no_more(tiles):
    (alone,) = predicted(tiles[:1], Leaning(), PLAIN)
    (mean,) = predicted(tiles[:1], Leaning(), MEAN)
    (mirrored,) = predicted([tiles[0][::-1].copy()], Leaning(), MEAN)
    assert np.abs(alone.offsets.mean((1, 2)) - [2, 5]).max() < 0.2
    assert np.abs(mean.offsets.mean((1, 2))).max() < 1e-5
    np.testing.assert_allclose(mirrored.probability[::-1], mean.probability, atol=1e-6)
    np.testing.assert_allclose(-mirrored.offsets[0, ::-1], mean.offsets[0], atol=1e-6)


def test_every_class_of_a_network_is_averaged(tiles):
    (alone,) = predicted(tiles[:1], Leaning(3), PLAIN, channels=3)
    (mean,) = predicted(tiles[:1], Leaning(3), MEAN, channels=3)
    assert mean.probability.shape == alone.probability.shape == (3, 32, 48)
    np.testing.assert_allclose(mean.probability.sum(0), 1, atol=1e-5)
    (flipped,) = predicted([tiles[0][:, ::-1].copy()], Leaning(3), MEAN, channels=3)
    np.testing.assert_allclose(flipped.probability[:, :, ::-1], mean.probability, atol=1e-6)


def test_it_is_off_unless_asked_for(tiles):
    assert not PLAIN.test_time_augmentation
    once, four = Leaning(), Leaning()
    predicted(tiles, once, PLAIN)
    predicted(tiles, four, MEAN)
    assert (once.calls, four.calls) == (3, 12)


def test_a_section_and_its_mirror_image_have_the_same_objects_of_a_real_network():
    torch.manual_seed(3)
    network = MitoNet(MitoNetConfig(render_points=10**9)).eval()
    section = np.random.default_rng(1).normal(size=(64, 96)).astype(np.float32)
    one = predict_maps(section, network, MEAN, Tiling(side=128))
    other = predict_maps(section[::-1, ::-1].copy(), network, MEAN, Tiling(side=128))
    np.testing.assert_allclose(other.probability[::-1, ::-1], one.probability, atol=1e-5)
    np.testing.assert_allclose(-other.offsets[:, ::-1, ::-1], one.offsets, atol=1e-3)


def test_empanada_has_no_such_thing():
    with pytest.raises(InvalidInputError, match="test_time_augmentation must be False"):
        ExactParameters.of(
            InferenceParameters(test_time_augmentation=True, min_area=0, match_ioa_thr=0.25)
        )
