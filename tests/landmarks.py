"""One volume with a bright box, written in every format and dialect by others than ourselves.

And labels of the box, in four formats.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import numpy.typing as npt
import tensorstore as ts
import tifffile
import zarr
from PIL import Image

Array = npt.NDArray[Any]

SHAPE = (24, 48, 64)
SIZE = (16.0, 8.0, 8.0)
"""nm."""
BOX = ((8, 12), (16, 24), (40, 52))
"""The bright voxels, begin and end, z, y, x; they lie on whole voxels of every level."""
CORNER = (320.0, 160.0, 80.0)
"""Where metadata that know of a translation put the first corner, nm."""
LEVELS = 3
DARK, BRIGHT = 40, 220


def levels() -> list[Array]:
    """Return the pyramid: means over 2 x 2 x 2 voxels, which are sharp here."""
    voxels = np.full(SHAPE, DARK, np.uint8)
    voxels[tuple(slice(*side) for side in BOX)] = BRIGHT
    return [voxels[:: 2**k, :: 2**k, :: 2**k].copy() for k in range(LEVELS)]


def ids(dtype: str) -> list[Array]:
    """Return the labels: background and, in the box, an id that needs all of the type's bytes."""
    return [np.where(v == BRIGHT, box_id(dtype), 0).astype(dtype) for v in levels()]


def box_id(dtype: str) -> int:
    return int(2 ** (8 * np.dtype(dtype).itemsize - 3) + 5)


def size_of(level: int) -> list[float]:
    return [edge * 2**level for edge in SIZE]


def middle(level: int) -> list[float]:
    """Return where the middle of the first voxel of a level lies."""
    return [c + edge / 2 for c, edge in zip(CORNER, size_of(level), strict=True)]


@dataclass(frozen=True)
class Landmark:
    """A way to write the volume."""

    write: Callable[[Path], Path]
    """Returns the path to open."""
    stored: int = LEVELS
    has_size: bool = True
    corner: tuple[float, float, float] | None = None
    """Where the metadata put the first corner; None: they do not say."""


def _ngff(
    flips: tuple[int, int, int] = (1, 1, 1), order: str = "zyx", nm: float = 1.0, shift: bool = True
) -> dict[str, Any]:
    unit = {1.0: "nanometer", 1e-3: "micrometer"}[nm]
    datasets = []
    for k, voxels in enumerate(levels()):
        scale, at = size_of(k), middle(k)
        for axis, sign in enumerate(flips):
            if sign < 0:
                at[axis] += scale[axis] * (voxels.shape[axis] - 1)
                scale[axis] *= -1
        axes = ["zyx".index(name) for name in order]
        steps = [{"type": "scale", "scale": [scale[i] * nm for i in axes]}]
        if shift:
            steps.append({"type": "translation", "translation": [at[i] * nm for i in axes]})
        datasets.append({"path": f"s{k}", "coordinateTransformations": steps})
    axes_ = [{"name": name, "type": "space", "unit": unit} for name in order]
    return {"version": "0.4", "name": "em", "axes": axes_, "datasets": datasets}


def _zarr(
    folder: Path,
    multiscale: dict[str, Any],
    arrays: list[Array],
    zarr_format: int = 2,
    shards: bool = False,
) -> Path:
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if zarr_format == 3:
        attributes = {"ome": {"version": "0.5", **attributes}}
    group = zarr.create_group(folder, zarr_format=zarr_format, attributes=attributes)  # type: ignore[arg-type]
    for k, voxels in enumerate(arrays):
        more: dict[str, Any] = {"shards": (16, 16, 16)} if shards else {}
        array = group.create_array(
            f"s{k}", shape=voxels.shape, chunks=(8, 8, 8), dtype=voxels.dtype, **more
        )
        array[...] = voxels
    return folder


def _ome04(folder: Path) -> Path:
    return _zarr(folder, _ngff(), levels())


def _ome05_shards(folder: Path) -> Path:
    return _zarr(folder, _ngff(), levels(), 3, shards=True)


def _ome_in_micrometres_x_first(folder: Path) -> Path:
    return _zarr(folder, _ngff(order="xyz", nm=1e-3), [v.T for v in levels()])


def _ome_flipped(folder: Path) -> Path:
    return _zarr(folder, _ngff((1, -1, -1)), [v[:, ::-1, ::-1] for v in levels()])


def _ome_without_translation(folder: Path) -> Path:
    return _zarr(folder, _ngff(shift=False), levels())


def _ome_zipped(folder: Path) -> Path:
    _zarr(folder, _ngff(), levels(), 3)
    return Path(shutil.make_archive(str(folder), "zip", folder))


def _daisy(folder: Path) -> Path:
    """One array whose `offset` is the corner, as funlib has it."""
    attributes = {"resolution": list(SIZE), "offset": list(CORNER), "units": ["nm"] * 3}
    array = zarr.create_array(
        folder, shape=SHAPE, chunks=(8, 8, 8), dtype="u1", zarr_format=2, attributes=attributes
    )
    array[...] = levels()[0]
    return folder


def _n5(
    folder: Path,
    group: dict[str, Any],
    arrays: list[Array],
    each: Callable[[int], dict[str, Any]] = lambda k: {},
) -> Path:
    for k, voxels in enumerate(arrays):
        spec = {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{folder}/s{k}/"},
            "metadata": {
                "dimensions": list(voxels.shape[::-1]),
                "blockSize": [8, 8, 8],
                "dataType": voxels.dtype.name,
                "compression": {"type": "gzip"},
                **each(k),
            },
        }
        ts.open(spec, create=True).result().write(voxels.T).result()
    (folder / "attributes.json").write_text(json.dumps(group))
    return folder


_FACTORS = [[2**k] * 3 for k in range(LEVELS)]


def _transform(level: int, flip: int = 1) -> dict[str, Any]:
    scale, at = size_of(level), middle(level)
    if flip < 0:
        at[1] += scale[1] * (SHAPE[1] // 2**level - 1)
        scale[1] *= -1
    return {"axes": ["z", "y", "x"], "scale": scale, "translate": at, "units": ["nm"] * 3}


def _cosem(folder: Path, flip: int = 1, voxels: list[Array] | None = None) -> Path:
    datasets = [{"path": f"s{k}", "transform": _transform(k, flip)} for k in range(LEVELS)]
    group = {
        "axes": ["x", "y", "z"],
        "units": ["nm", "nm", "nm"],
        "pixelResolution": {"dimensions": list(SIZE[::-1]), "unit": "nm"},
        "scales": _FACTORS,
        "multiscales": [{"datasets": datasets}],
    }
    arrays = [v[:, ::flip] for v in voxels or levels()]
    return _n5(folder, group, arrays, lambda k: {"transform": _transform(k, flip)})


def _cosem_flipped(folder: Path) -> Path:
    """Stored upside down, and said to be so."""
    return _cosem(folder, -1)


def _n5_viewer(folder: Path) -> Path:
    resolution = {"dimensions": list(SIZE[::-1]), "unit": "nm"}
    return _n5(folder, {"downsamplingFactors": _FACTORS, "pixelResolution": resolution}, levels())


def _big_data_viewer(folder: Path) -> Path:
    group = {"resolution": list(SIZE[::-1]), "units": "nm", "multiScale": True}
    return _n5(folder, group, levels(), lambda k: {"downsamplingFactors": [2**k] * 3})


def _paintera(folder: Path) -> Path:
    place = {"resolution": list(SIZE[::-1]), "units": "nm", "offset": middle(0)[::-1]}
    more = {"multiScale": True, "painteraData": {"type": "raw"}}
    return _n5(folder, {**place, **more}, levels(), lambda k: {"downsamplingFactors": [2**k] * 3})


def _precomputed(folder: Path, arrays: list[Array] | None = None, **more: Any) -> Path:
    kind, encoding = ("segmentation", "compressed_segmentation") if arrays else ("image", "raw")
    if arrays:
        more["compressed_segmentation_block_size"] = [8, 8, 8]
    for k, voxels in enumerate(arrays or levels()):
        edges = size_of(k)
        begin = [round(c / edge) for c, edge in zip(CORNER, edges, strict=True)]
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {
                "type": kind, "data_type": voxels.dtype.name, "num_channels": 1,
            },
            "scale_metadata": {
                "size": list(voxels.shape[::-1]),
                "voxel_offset": begin[::-1],
                "resolution": edges[::-1],
                "encoding": encoding,
                "chunk_size": [8, 8, 8],
                **more,
            },
        }  # fmt: skip
        ts.open(spec, create=True).result()[..., 0].write(voxels.T).result()
    return folder


def _precomputed_shards(folder: Path) -> Path:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 2,
        "minishard_bits": 1,
        "shard_bits": 1,
        "hash": "murmurhash3_x86_128",
        "data_encoding": "gzip",
        "minishard_index_encoding": "gzip",
    }
    return _precomputed(folder, sharding=sharding)


def _tiff(folder: Path) -> Path:
    path = folder.with_suffix(".tif")
    metadata = {"axes": "ZYX", "spacing": SIZE[0] / 1000, "unit": "um"}
    resolution = (1000 / SIZE[2], 1000 / SIZE[1])
    tifffile.imwrite(path, levels()[0], imagej=True, resolution=resolution, metadata=metadata)
    return path


def _hdf5(folder: Path) -> Path:
    path = folder.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", data=levels()[0], chunks=(8, 8, 8))
        array.attrs["resolution"], array.attrs["offset"] = SIZE, CORNER
    return path


def _mrc(folder: Path) -> Path:
    path = folder.with_suffix(".mrc")
    with mrcfile.new(path) as file:
        file.set_data(levels()[0].astype(np.uint16))
        file.voxel_size = tuple(edge * 10 for edge in SIZE[::-1])
    return path


def _npy(folder: Path) -> Path:
    np.save(folder.with_suffix(".npy"), np.asfortranarray(levels()[0]))
    return folder.with_suffix(".npy")


def _png(folder: Path) -> Path:
    folder.mkdir()
    for index, plane in enumerate(levels()[0]):
        Image.fromarray(plane).save(folder / f"plane{index}.png")
    return folder


LANDMARKS = {
    "ome04": Landmark(_ome04, corner=CORNER),
    "ome05-shards": Landmark(_ome05_shards, corner=CORNER),
    "ome-um-x-first": Landmark(_ome_in_micrometres_x_first, corner=CORNER),
    "ome-flipped": Landmark(_ome_flipped, corner=CORNER),
    "ome-no-translation": Landmark(_ome_without_translation),
    "ome-zipped": Landmark(_ome_zipped, corner=CORNER),
    "daisy": Landmark(_daisy, 1, corner=CORNER),
    "n5-cosem": Landmark(_cosem, corner=CORNER),
    "n5-flipped": Landmark(_cosem_flipped, corner=CORNER),
    "n5-viewer": Landmark(_n5_viewer),
    "n5-bigdataviewer": Landmark(_big_data_viewer),
    "n5-paintera": Landmark(_paintera, corner=CORNER),
    "precomputed": Landmark(_precomputed, corner=CORNER),
    "precomputed-shards": Landmark(_precomputed_shards, corner=CORNER),
    "tiff": Landmark(_tiff, 1),
    "hdf5": Landmark(_hdf5, 1, corner=CORNER),
    "mrc": Landmark(_mrc, 1),
    "npy": Landmark(_npy, 1, has_size=False),
    "png": Landmark(_png, 1, has_size=False),
}

LABELS = {
    "mito-zarr2": ("zarr", ">u8", lambda folder: _zarr(folder, _ngff(), ids(">u8"))),
    "mito-zarr3": ("zarr", "u2", lambda folder: _zarr(folder, _ngff(), ids("u2"), 3, shards=True)),
    "mito-n5": ("n5", "u8", lambda folder: _cosem(folder, voxels=ids("u8"))),
    "mito-precomputed": ("precomputed", "u4", lambda folder: _precomputed(folder, ids("u4"))),
}
"""By name: the catalogue's word for the format, the type, and how to write them into a folder."""


def dataset(name: str, place: str, em: str = "ome04") -> dict[str, Any]:
    """Return what a catalogue says of the image `em` and all labels, which are below a place."""
    layers = [
        {"name": labels, "url": f"{place}/{labels}", "format": form}
        for labels, (form, _, _) in LABELS.items()
    ]
    image = {"name": "em", "url": f"{place}/{em}", "format": "zarr"}
    return {"name": name, "em": [image], "labels": layers}


def write_catalogue(data_dir: Path, datasets: list[dict[str, Any]]) -> None:
    """Make datasets known to a data directory."""
    (data_dir / "catalogue").mkdir(parents=True, exist_ok=True)
    document = {"format": "mitoglance-catalogue/1", "datasets": datasets}
    (data_dir / "catalogue/own.json").write_text(json.dumps(document))
