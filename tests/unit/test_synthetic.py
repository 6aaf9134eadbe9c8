"""The synthetic volume is deterministic, true to its labels, and looks as EM should."""

from hashlib import sha256
from time import process_time

import numpy as np
import pytest
from scipy import ndimage

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.sources.synthetic import SyntheticVolume, synthetic_em

SMALL = (48, 128, 128)


@pytest.fixture(scope="module")
def volume():
    return synthetic_em(SMALL, seed=3)


def digest(volume: SyntheticVolume) -> str:
    return sha256(volume.em.tobytes() + volume.mitochondria.tobytes()).hexdigest()


def test_same_seed_gives_the_same_voxels(volume):
    assert digest(synthetic_em(SMALL, seed=3)) == digest(volume)


def test_another_seed_gives_another_volume(volume):
    other = synthetic_em(SMALL, seed=4)
    assert digest(other) != digest(volume)
    assert np.mean(other.em != volume.em) > 0.5


def test_arrays_have_the_promised_types_and_shapes(volume):
    assert (volume.em.dtype, volume.em.shape) == (np.uint8, SMALL)
    assert (volume.mitochondria.dtype, volume.mitochondria.shape) == (np.uint64, SMALL)
    assert volume.voxel_size == (10.0, 10.0, 10.0)


def test_grey_values_fill_the_middle_of_the_range(volume):
    assert 90 < volume.em.mean() < 180
    assert 15 < volume.em.std() < 50
    assert np.mean((volume.em == 0) | (volume.em == 255)) < 0.01


def test_each_mitochondrion_is_one_piece_and_touches_no_other(volume):
    pieces, count = ndimage.label(volume.mitochondria > 0)
    pairs = np.unique(np.stack([pieces.ravel(), volume.mitochondria.ravel()]), axis=1)
    assert count == len(np.unique(volume.mitochondria)) - 1
    assert pairs.shape[1] == count + 1


def test_mitochondria_have_realistic_number_and_size():
    volume = synthetic_em((64, 192, 192), seed=1)
    roots, voxels = np.unique(volume.mitochondria, return_counts=True)
    assert 8 <= len(roots) - 1 <= 120
    assert 0.03 < voxels[1:].sum() / volume.em.size < 0.2
    assert np.median(voxels[1:]) > 500
    thickest = ndimage.distance_transform_edt(volume.mitochondria > 0).max()
    assert 60 / 2 / 10 < thickest < 400 / 2 / 10 + 3


def test_mitochondria_can_be_told_from_cytoplasm():
    # The network must find something to learn: membranes darken the rim of every instance.
    volume = synthetic_em(SMALL, seed=8)
    inside = volume.mitochondria > 0
    rim = inside & ~ndimage.binary_erosion(inside)
    around = ndimage.binary_dilation(inside, iterations=4) & ~ndimage.binary_dilation(inside)
    assert volume.em[rim].mean() < volume.em[around].mean() - 8


def test_looks_differ_between_seeds():
    contrasts = []
    for seed in range(6):
        volume = synthetic_em((32, 96, 96), seed=seed)
        inside = ndimage.binary_erosion(volume.mitochondria > 0, iterations=2)
        if inside.any():
            grey = volume.em.astype(float)
            contrasts.append(grey[inside].mean() - np.median(grey[volume.mitochondria == 0]))
    assert np.ptp(contrasts) > 15


def test_voxel_size_scales_the_tissue_not_the_voxels():
    fine = synthetic_em((32, 128, 128), seed=2, voxel_size=(10, 5, 5))
    thick = synthetic_em((8, 128, 128), seed=2, voxel_size=(40, 10, 10))
    assert fine.em.shape == (32, 128, 128)
    assert fine.mitochondria.any()
    assert thick.mitochondria.any()
    assert fine.voxel_size == (10, 5, 5)


@pytest.mark.parametrize("shape", [(1, 64, 64), (5, 1, 33), (17, 31, 129), (1, 1, 1)])
def test_odd_shapes_are_drawn(shape):
    assert synthetic_em(shape, seed=1).em.shape == shape


def test_default_volume_takes_a_few_seconds():
    start = process_time()
    synthetic_em(seed=0)
    # 4 s on an idle core; the bound leaves room for a slow or shared machine.
    assert process_time() - start < 12


@pytest.mark.parametrize(
    ("shape", "voxel_size"),
    [((0, 8, 8), (10, 10, 10)), ((8, -1, 8), (10, 10, 10)), ((8, 8, 8), (0, 10, 10))],
)
def test_impossible_volumes_are_refused(shape, voxel_size):
    with pytest.raises(InvalidInputError, match="at least 1") as error:
        synthetic_em(shape, voxel_size=voxel_size)
    assert error.value.kind is ErrorKind.INVALID_PARAMETER
