"""A bright box lies at the same nanometres in every format, dialect and level."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr
from landmarks import BOX, LANDMARKS, SIZE

from segmentation_backend.sources.importing import import_image
from segmentation_backend.sources.volume import Volume, open_volume


def box_nm(volume: Volume, level: int) -> list[tuple[float, float]]:
    """Return where the bright box begins and ends, nm from the first corner, z, y, x."""
    bright = np.nonzero(volume.read(volume.level_bounds(level), level) > 130)
    return [
        (float(index.min() * edge), float((index.max() + 1) * edge))
        for index, edge in zip(bright, volume.levels[level].voxel_size, strict=True)
    ]


EXPECTED = [(a * edge, b * edge) for (a, b), edge in zip(BOX, SIZE, strict=True)]


@pytest.mark.parametrize("name", LANDMARKS)
def test_the_landmark_is_at_its_nanometre_in_every_level(tmp_path: Path, name: str) -> None:
    landmark = LANDMARKS[name]
    source = landmark.write(tmp_path / "em")
    volume = open_volume(str(source), voxel_size=None if landmark.has_size else SIZE)
    assert not volume.voxel_size_is_assumed
    assert volume.stored_levels == landmark.stored
    assert volume.levels[0].voxel_size == pytest.approx(SIZE)
    for level in range(landmark.stored):
        np.testing.assert_allclose(box_nm(volume, level), EXPECTED, rtol=1e-9)
    # Where nobody says anything, the middle of the first voxel is at 0, as in NGFF.
    corner = landmark.corner or [-edge / 2 for edge in SIZE]
    assert volume.origin == pytest.approx(corner)


@pytest.mark.parametrize("name", ["ome-flipped", "hdf5", "n5-viewer"])
def test_an_import_keeps_place_and_direction(tmp_path: Path, name: str) -> None:
    source = LANDMARKS[name].write(tmp_path / "em")
    before = open_volume(str(source))
    after = open_volume(str(import_image(source, tmp_path / "new.zarr")))
    assert after.origin == pytest.approx(before.origin)
    np.testing.assert_allclose(box_nm(after, 0), EXPECTED)


def scaled(folder: Path, sides: list[int], flip: int) -> None:
    """Write a pyramid along x alone, whose sides are not those of whole coarse voxels."""
    datasets = []
    for k, side in enumerate(sides):
        edge = 4.0 * 2**k
        at = edge / 2 if flip > 0 else sides[0] * 4.0 - edge / 2
        steps = [
            {"type": "scale", "scale": [4, 4, flip * edge]},
            {"type": "translation", "translation": [2, 2, at]},
        ]
        datasets.append({"path": str(k), "coordinateTransformations": steps})
        array = zarr.create_array(
            folder / str(k), shape=(2, 2, side), chunks=(2, 2, 8), dtype="u1", zarr_format=2
        )
        row = np.arange(side) * 2**k + 2**k // 2
        array[...] = np.broadcast_to(row.astype(np.uint8), array.shape)
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
    (folder / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))


@pytest.mark.parametrize(("flip", "flipped"), [(-1, ""), (-1, "x"), (1, "x")])
def test_flipped_levels_that_cannot_be_laid_over_the_finest_are_left_out(
    tmp_path: Path, flip: int, flipped: str
) -> None:
    # 53 voxels; the coarse levels lack 1, 1 and 5 of them, now at the front: half a voxel of
    # level 1, a quarter of level 2, and more than half a voxel of level 3.
    scaled(tmp_path, [53, 26, 13, 6], flip)
    # Whether the file says it, somebody else, or both.
    volume = open_volume(str(tmp_path), flipped=flipped)
    assert volume.origin == (0, 0, 0)
    assert [level.voxel_size[2] for level in volume.levels[: volume.stored_levels]] == [4, 8, 16]
    for level in volume.levels[: volume.stored_levels]:
        row = volume.read(volume.level_bounds(level.level), level.level)[0, 0].astype(float)
        # A voxel's value is the stored column of its middle: 52 at the left, falling.
        middles = 52.5 - (np.arange(len(row)) + 0.5) * 2**level.level
        assert np.abs(row - middles).max() <= 2**level.level / 2 + 0.5


@pytest.mark.parametrize("name", ["n5-cosem", "precomputed", "ome-no-translation", "npy"])
def test_an_axis_that_is_said_to_be_reversed_is_mirrored_where_it_lies(
    tmp_path: Path, name: str
) -> None:
    source = LANDMARKS[name].write(tmp_path / "em")
    size = None if LANDMARKS[name].has_size else SIZE
    plain = open_volume(str(source), voxel_size=size)
    turned = open_volume(str(source), voxel_size=size, flipped=("y",))
    assert (turned.corners, turned.stored_levels) == (plain.corners, plain.stored_levels)
    for level in range(plain.stored_levels):
        extent = plain.bounds.shape[1] * SIZE[1]
        z, (begin, end), x = box_nm(plain, level)
        expected = [z, (extent - end, extent - begin), x]
        np.testing.assert_allclose(box_nm(turned, level), expected)


def test_a_level_of_precomputed_that_begins_earlier_is_cut(tmp_path: Path) -> None:
    """`voxel_offset` is in whole voxels of each level: 6 fine ones are 3 and 1 coarse ones."""
    for k, begin in enumerate((6, 3, 1)):
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                "size": [32 // 2**k, 8, 8],
                "voxel_offset": [begin - (k == 1), 0, 0],
                "resolution": [4 * 2**k, 4, 4],
                "encoding": "raw",
                "chunk_size": [8, 8, 8],
            },
        }
        array = ts.open(spec, create=True).result()[..., 0]
        (low, high), _, _ = ((int(d.inclusive_min), int(d.exclusive_max)) for d in array.domain)
        columns = (np.arange(low, high) * 2**k).astype(np.uint8)
        array.write(np.broadcast_to(columns[:, None, None], (len(columns), 8, 8))).result()
    volume = open_volume(str(tmp_path))
    assert volume.origin == (0, 0, 24)
    assert volume.stored_levels == 3
    # Level 1 began one coarse voxel early; level 2 lies half of its own voxel off and stays.
    assert [volume.read(volume.level_bounds(k), k)[0, 0, 0] for k in range(3)] == [6, 6, 4]
