"""Which labels fit which image, and what a volume over labels is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr

from app.zarr_view import group_document
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    SegmentationError,
)
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.sources.labels import LABEL_DTYPES, open_labels
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.sources.volume import open_volume
from segmentation_backend.workspace import EditContext, Workspace
from segmentation_backend.workspace.bases import BaseRecord, adopt_base, open_base
from segmentation_backend.workspace.published import read_beside

IMAGE = (40, 100, 120)
ANA = EditContext("ana")


def write(
    folder: Path,
    shape: Coordinate,
    voxel_size: VoxelSize | None,
    translation: VoxelSize | None = None,
    dtype: str = "uint16",
) -> str:
    """Write an OME-Zarr with one level; without a voxel size a bare array."""
    path = folder if voxel_size is None else folder / "s0"
    array = zarr.create_array(path, shape=shape, chunks=(32,) * 3, dtype=dtype, zarr_format=2)
    array[2:10, 5:30, 5:40] = 1
    array[2:10, 5:30, 40:60] = 2
    if voxel_size is not None:
        steps: list[dict[str, Any]] = [{"type": "scale", "scale": list(voxel_size)}]
        if translation is not None:
            steps.append({"type": "translation", "translation": list(translation)})
        axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
        datasets = [{"path": "s0", "coordinateTransformations": steps}]
        multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    return str(folder)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    write(tmp_path / "em.zarr", IMAGE, (8, 4, 4), dtype="uint8")
    write(tmp_path / "bare.zarr", IMAGE, None, dtype="uint8")
    opened = Workspace(tmp_path / "data")
    yield opened
    opened.close()


def register(workspace: Workspace, labels: str, image: str = "em.zarr", name: str = "cell") -> Any:
    return workspace.register(name, str(workspace.data_dir.parent / image), labels=labels)


@pytest.mark.parametrize(
    ("shape", "voxel_size", "translation"),
    [
        (IMAGE, (8, 4, 4), None),
        (IMAGE, (8, 4, 4), (0, 0, 0)),
        (IMAGE, (8, 4, 4), (4, 2, 2)),  # written as the corner's place
        ((40, 50, 60), (8, 8, 8), (0, 2, 2)),  # centres, as NGFF asks
        ((40, 50, 60), (8, 8, 8), (0, 0, 0)),  # the shift of the coarser level forgotten
        ((80, 100, 120), (4, 4, 4), None),  # finer than the image
        ((20, 60, 60), (8, 4, 4), None),  # a part of it, from the same corner
        ((41, 101, 121), (8, 4, 4), None),
    ],
)
def test_labels_from_the_same_corner_lie_on_the_image(
    workspace: Workspace,
    tmp_path: Path,
    shape: Coordinate,
    voxel_size: VoxelSize,
    translation: VoxelSize | None,
) -> None:
    labels = write(tmp_path / "l.zarr", shape, voxel_size, translation)
    info = register(workspace, labels)
    assert info.bounds == Roi((0, 0, 0), shape)
    assert info.voxel_size == voxel_size
    assert info.label_levels[0].shape == shape
    assert info.levels[0].shape == IMAGE
    assert workspace.volume("cell") == info
    assert info.to_json()["labels"] == {"source": labels, "dtype": "uint16"}
    assert workspace.at("cell").root_at((5, 10, 10)) == 1


@pytest.mark.parametrize(
    ("shape", "voxel_size", "translation", "named"),
    [
        (IMAGE, (8, 4, 4), (800, 0, 0), r"begin \(800, 0, 0\) nm"),
        (IMAGE, (8, 4, 4), (0, 0, -480), "outside of it"),
        (IMAGE, (8, 8, 8), None, "along y"),
        ((1, 2, 2), (320, 160, 160), None, "along z"),
        (IMAGE, (0.1, 0.1, 0.1), None, "along z"),
    ],
)
def test_labels_that_lie_elsewhere_are_refused(
    workspace: Workspace,
    tmp_path: Path,
    shape: Coordinate,
    voxel_size: VoxelSize,
    translation: VoxelSize | None,
    named: str,
) -> None:
    labels = write(tmp_path / "l.zarr", shape, voxel_size, translation)
    with pytest.raises(InvalidInputError, match=named) as error:
        register(workspace, labels)
    assert error.value.kind == ErrorKind.INVALID_PARAMETER
    assert workspace.volumes() == []


def test_labels_without_a_voxel_size_have_that_of_the_level_with_their_shape(
    workspace: Workspace, tmp_path: Path
) -> None:
    labels = write(tmp_path / "l.zarr", (40, 50, 60), None)
    assert register(workspace, labels).voxel_size == (8, 8, 8)
    other = write(tmp_path / "m.zarr", (40, 51, 62), None)
    with pytest.raises(InvalidInputError, match="do not say how large"):
        register(workspace, other, name="other")


def test_an_image_without_a_voxel_size_is_paired_by_shape_too(
    workspace: Workspace, tmp_path: Path
) -> None:
    labels = write(tmp_path / "l.zarr", IMAGE, (8, 4, 4))
    info = register(workspace, labels, "bare.zarr")
    assert info.voxel_size == info.levels[0].voxel_size
    assert workspace.at("cell").root_at((5, 10, 10)) == 1
    with pytest.raises(InvalidInputError, match="register the image with its voxel_size"):
        register(workspace, write(tmp_path / "m.zarr", (9, 9, 9), (8, 4, 4)), "bare.zarr", "other")


def test_the_offset_of_a_precomputed_volume_counts(workspace: Workspace, tmp_path: Path) -> None:
    for name, offset in (("l", 0), ("m", 100)):
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{tmp_path / name}/"},
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": "uint64",
                "num_channels": 1,
            },
            "scale_metadata": {
                "size": [60, 50, 40],
                "resolution": [8, 8, 8],
                "voxel_offset": [offset, 0, 0],
                "encoding": "compressed_segmentation",
                "compressed_segmentation_block_size": [8, 8, 8],
                "chunk_size": [64, 64, 64],
            },
        }
        ts.open(spec, create=True).result()[offset : offset + 60, :50, :40, 0].write(9).result()
    assert register(workspace, str(tmp_path / "l")).voxel_size == (8, 8, 8)
    assert workspace.at("cell").root_at((5, 10, 10)) == 9
    with pytest.raises(InvalidInputError, match="802"):
        register(workspace, str(tmp_path / "m"), name="other")


@pytest.mark.parametrize(
    ("shape", "voxel_size", "translation", "offset"),
    [
        ((20, 50, 60), (8, 4, 4), (64, 80, 40), (8, 20, 10)),
        ((20, 50, 60), (8, 4, 4), (66, 81, 38.5), (8, 20, 10)),  # to the nearest voxel
        ((20, 25, 60), (8, 8, 4), (64, 82, 40), (8, 10, 10)),  # coarser, centres
        ((10, 40, 50), (8, 4, 4), (0, 0, -16), (0, 0, -4)),  # begins before the image
        (IMAGE, (8, 4, 4), (0, 0, -9), (0, 0, -2)),
    ],
)
def test_labels_of_a_part_lie_where_their_metadata_say(
    workspace: Workspace,
    tmp_path: Path,
    shape: Coordinate,
    voxel_size: VoxelSize,
    translation: VoxelSize,
    offset: Coordinate,
) -> None:
    info = register(workspace, write(tmp_path / "l.zarr", shape, voxel_size, translation))
    assert info.labels.offset == offset
    assert info.bounds.shape == tuple(a + b for a, b in zip(shape, offset, strict=True))
    z, y, x = (a + b for a, b in zip((5, 10, 35), offset, strict=True))
    found = workspace.at("cell")
    assert [found.root_at((z, y, v)) for v in (x, x + 10)] == [1, 2]
    if min(offset) >= 0:
        begin = Roi((0, 0, 0), (2, 5, 5)).shift(offset)
        assert not found.read(begin).any()
        assert not found.read(Roi((0, 0, 0), (1, 1, 1))).any()
    # Somebody else opens it, and edits: nothing moves.
    again = Workspace(workspace.data_dir)
    assert again.volume("cell") == info
    again.merge("cell", ids=[1, 2], points=None, edit=ANA)
    assert again.at("cell").root_at((z, y, x + 10)) == 1
    again.close()


@pytest.mark.parametrize(
    ("offset", "is_coarse_stored"),
    [((8, 20, 10), True), ((7, 21, 3), False), ((72, 0, 48), True), ((0, -6, -66), True)],
)
def test_labels_of_a_part_are_placed_voxel_for_voxel(
    tmp_path: Path, offset: Coordinate, is_coarse_stored: bool
) -> None:
    """As base and beside, at every level, in the box around them and before and after it."""
    write(tmp_path / "em.zarr", (120, 120, 120), (8, 8, 8), dtype="uint8")
    own = np.random.default_rng(0).integers(1, 2**40, (40, 50, 70), dtype=np.uint64)
    # Marked, so that it shows whether level 1 is the stored one or computed.
    coarse = own[::2, ::2, ::2] + 2**41
    labels = pyramid(tmp_path / "l.zarr", [own, coarse], [o * 8.0 for o in offset])
    image = open_volume(str(tmp_path / "em.zarr"))
    record = adopt_base(labels, image, CloudSettings())
    assert record.offset == offset
    base = open_base(BaseRecord.from_json(record.to_json()), CloudSettings(), tmp_path / "caches")
    placed = [on_image(own, offset), None]
    if is_coarse_stored:
        z, y, x = (o // 2 for o in offset)
        placed[1] = on_image(coarse, (z, y, x))
    for level, expected in enumerate(placed):
        whole = Roi((0, 0, 0), base.levels[level].shape)
        found = read_beside(base, whole, level)
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
        else:
            # Its voxels lie between those of the image's level: the mode of the level below.
            z, y, x = (-(-side // 2) for side in placed[0].shape)
            assert found.shape == (z, y, x)
            assert found.max() < 2**41
            assert not found[: offset[0] // 2].any()
    workspace = Workspace(tmp_path / "data")
    info = register(workspace, labels)
    assert info.bounds.shape == placed[0].shape
    np.testing.assert_array_equal(workspace.cutout("cell", info.bounds), placed[0])
    workspace.close()


def pyramid(folder: Path, levels: list[np.ndarray], translation: list[float]) -> str:
    """Write an OME-Zarr of 8 nm whose first voxel's corner is at `translation` + half a voxel."""
    datasets = []
    for number, voxels in enumerate(levels):
        array = zarr.create_array(
            folder / f"s{number}",
            shape=voxels.shape,
            chunks=(32, 48, 64),
            dtype=voxels.dtype,
            zarr_format=2,
        )
        array[...] = voxels
        edge = 8.0 * 2**number
        shift = [by + (edge - 8.0) / 2 for by in translation]
        steps = [{"type": "scale", "scale": [edge] * 3}]
        steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": f"s{number}", "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    return str(folder)


def on_image(voxels: np.ndarray, offset: Coordinate) -> np.ndarray:
    """Return background with the labels at an offset; what lies before the corner is cut off."""
    cut = voxels[tuple(slice(max(0, -o), None) for o in offset)]
    return np.pad(cut, [(max(0, o), 0) for o in offset])


def test_the_labels_of_another_tool_lie_on_the_image_in_nanometres(
    workspace: Workspace, tmp_path: Path
) -> None:
    write(tmp_path / "crop.zarr", IMAGE, (8, 4, 4), (804, 402, 202), dtype="uint8")
    labels = write(tmp_path / "l.zarr", (20, 25, 30), (16, 8, 8), (808, 404, 204))
    info = register(workspace, labels, "crop.zarr")
    assert info.origin == (800, 400, 200)
    assert info.labels.offset == (0, 0, 0)
    document = group_document("cell", info.label_levels, info.origin)
    scales = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    first = scales[0]["coordinateTransformations"]
    assert first[0]["scale"] == [16, 8, 8]
    assert first[1]["translation"] == [808, 404, 204]


@pytest.mark.parametrize("dtype", LABEL_DTYPES)
def test_all_integers_are_labels(tmp_path: Path, dtype: str) -> None:
    labels = open_labels(write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8), dtype=dtype))
    assert labels.dtype == np.dtype(dtype)
    assert labels.chunks == ((32, 32, 32),)
    found = labels.read(Roi((5, 10, 39), (1, 1, 2)), 0)
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == [[[1, 2]]]


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_anything_else_is_not(workspace: Workspace, tmp_path: Path, dtype: str) -> None:
    with pytest.raises(FormatError, match=dtype) as error:
        register(workspace, write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8), dtype=dtype))
    assert error.value.kind == ErrorKind.UNSUPPORTED_DTYPE


def test_a_file_cannot_be_read_in_place(workspace: Workspace, tmp_path: Path) -> None:
    np.savez(tmp_path / "l.npz", labels=np.ones(IMAGE, np.uint8))
    with pytest.raises(InvalidInputError, match="zarr, N5 or precomputed"):
        register(workspace, str(tmp_path / "l.npz"))
    with pytest.raises(NotFoundError):
        register(workspace, str(tmp_path / "nowhere.zarr"))
    assert workspace.volumes() == []


def test_a_name_stands_for_one_image_and_one_base(workspace: Workspace, tmp_path: Path) -> None:
    labels = write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8))
    first = register(workspace, labels)
    assert register(workspace, labels) == first
    for other in (None, write(tmp_path / "m.zarr", (40, 50, 60), (8, 8, 8))):
        with pytest.raises(ConflictError) as error:
            register(workspace, other)  # type: ignore[arg-type]
        assert error.value.kind == ErrorKind.NAME_TAKEN


def test_a_list_of_volumes_waits_for_no_labels(workspace: Workspace, tmp_path: Path) -> None:
    labels = write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8))
    register(workspace, labels)
    (tmp_path / "l.zarr").rename(tmp_path / "away.zarr")
    again = Workspace(workspace.data_dir)
    assert [info.name for info in again.volumes()] == ["cell"]
    assert again.head("cell") == 0
    with pytest.raises(NotFoundError):
        again.at("cell").root_at((5, 10, 10))
    (tmp_path / "away.zarr").rename(tmp_path / "l.zarr")
    assert again.at("cell").root_at((5, 10, 10)) == 1
    again.close()


def test_merging_takes_ids_points_or_both(workspace: Workspace, tmp_path: Path) -> None:
    register(workspace, write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8)))
    points = [(5, 10, 10), (5, 10, 50)]
    wrong: list[tuple[list[int] | None, list[Coordinate] | None]] = [
        (None, None),
        ([1, 2], points[:1]),
        ([2, 1], points),
        ([1, 7], points),
    ]
    for ids, places in wrong:
        with pytest.raises(SegmentationError):
            workspace.merge("cell", ids=ids, points=places, edit=ANA)
    assert workspace.head("cell") == 0
    workspace.merge("cell", ids=[1, 2], points=points, edit=ANA)
    assert workspace.at("cell").root_at(points[1]) == 1


def test_segmenting_replaces_base_objects_only_where_it_may(
    workspace: Workspace, tmp_path: Path
) -> None:
    register(workspace, write(tmp_path / "l.zarr", (40, 50, 60), (8, 8, 8)))
    roi = Roi((0, 0, 0), (1, 50, 60))
    plan = workspace.plan_segmentation("cell", roi)
    assert plan.roi == roi
    # The image's voxels are half as large across, so its level 1 has the labels' grid.
    assert plan.level_voxel_size == (8, 8, 8)
    operation = workspace.segment(plan, ANA)
    view = workspace.at("cell")
    assert view.read(Roi((5, 10, 10), (1, 1, 1))) == 1
    assert all(root >= 2**16 for root in operation.added_roots)
