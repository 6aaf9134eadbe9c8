"""Metadata that are broken, or made to do harm, are refused in words; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from segmentation_backend.errors import FormatError, NotFoundError
from segmentation_backend.sources.labels import open_labels
from segmentation_backend.sources.volume import open_volume

AXES = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
ARRAY = {
    "zarr_format": 2,
    "shape": [8, 8, 8],
    "chunks": [4, 4, 4],
    "dtype": "|u1",
    "compressor": None,
    "fill_value": 0,
    "order": "C",
    "filters": None,
}
INFO = {
    "@type": "neuroglancer_multiscale_volume",
    "type": "image",
    "data_type": "uint8",
    "num_channels": 1,
}
SCALE = {
    "key": "s0",
    "size": [8, 8, 8],
    "resolution": [4, 4, 4],
    "chunk_sizes": [[4, 4, 4]],
    "encoding": "raw",
}
N5 = {
    "dimensions": [8, 8, 8],
    "blockSize": [4, 4, 4],
    "dataType": "uint8",
    "compression": {"type": "raw"},
}


def group(path: object = "s0", **transform: Any) -> dict[str, Any]:
    step = {"type": "scale", "scale": [4, 4, 4], **transform}
    datasets = [{"path": path, "coordinateTransformations": [step]}]
    return {"multiscales": [{"version": "0.4", "axes": AXES, "datasets": datasets}]}


def moved(by: float) -> dict[str, Any]:
    document = group()
    steps = document["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    steps.append({"type": "translation", "translation": [by, 0, 0]})
    return document


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


HOSTILE: dict[str, tuple[str, Any]] = {
    "huge shape": ("s0/.zarray", {**ARRAY, "shape": [2**40, 8, 8]}),
    "negative side": ("s0/.zarray", {**ARRAY, "shape": [-8, 8, 8]}),
    "side that overflows": ("s0/.zarray", {**ARRAY, "shape": [2**70, 8, 8]}),
    "no side": ("s0/.zarray", {**ARRAY, "shape": [0, 8, 8]}),
    "zero chunk": ("s0/.zarray", {**ARRAY, "chunks": [0, 4, 4]}),
    "negative chunk": ("s0/.zarray", {**ARRAY, "chunks": [-4, 4, 4]}),
    "huge chunk": ("s0/.zarray", {**ARRAY, "chunks": [2**20, 2**20, 2**20]}),
    "level at itself": (".zattrs", group("")),
    "level at a dot": (".zattrs", group("./.")),
    "level above": (".zattrs", group("../em/s0")),
    "level above in the middle": (".zattrs", group("s0/../../em/s0")),
    "absolute level": (".zattrs", group("/etc")),
    "level at another server": (".zattrs", group("http://169.254.169.254/latest/meta-data")),
    "level in another format": (".zattrs", group("s0|zip:")),
    "level with a query": (".zattrs", group("s0?token=1")),
    "level without an end": (".zattrs", group("a" * 5000)),
    "level that is a number": (".zattrs", group(7)),
    "levels without an end": (
        ".zattrs",
        {"multiscales": [{"axes": AXES, "datasets": [{"path": "s0"}] * 1000}]},
    ),
    "scale of 0": (".zattrs", group(scale=[0, 4, 4])),
    "scale that is no number": (".zattrs", group(scale=[float("nan"), 4, 4])),
    "endless scale": (".zattrs", group(scale=[float("inf"), 4, 4])),
    "scale as large as a country": (".zattrs", group(scale=[1e15, 4, 4])),
    "scale of words": (".zattrs", group(scale=["4", 4, 4])),
    "endless translation": (".zattrs", moved(float("-inf"))),
    "translation out of this world": (".zattrs", moved(1e300)),
    "unknown transformation": (".zattrs", group(type="affine")),
    "JSON too deep": (".zattrs", nested(200_000)),
    "JSON too long": (".zattrs", '{"a": "' + "x" * 2**24 + '"}'),
    "number too long": (".zattrs", '{"a": ' + "9" * 10_000 + "}"),
    "n5 negative block": ("n5/s0/attributes.json", {**N5, "blockSize": [-4, 4, 4]}),
    "n5 huge block": ("n5/s0/attributes.json", {**N5, "blockSize": [2**30, 2**30, 1]}),
    "n5 resolution of 0": (
        "n5/s0/attributes.json",
        {**N5, "pixelResolution": {"dimensions": [0, 4, 4], "unit": "nm"}},
    ),
    "precomputed key above": ("info", {**INFO, "scales": [{**SCALE, "key": "../../secret"}]}),
    "precomputed key elsewhere": ("info", {**INFO, "scales": [{**SCALE, "key": "http://10.0.0.1"}]}),
    "precomputed scale that is none": ("info", {**INFO, "scales": ["s0"]}),
    "precomputed huge": ("info", {**INFO, "scales": [{**SCALE, "size": [2**40, 8, 8]}]}),
    "precomputed zero chunk": ("info", {**INFO, "scales": [{**SCALE, "chunk_sizes": [[0, 4, 4]]}]}),
    "precomputed resolution": (
        "info",
        {**INFO, "scales": [{**SCALE, "resolution": [float("nan"), 4, 4]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_are_refused(tmp_path: Path, name: str) -> None:
    file, content = HOSTILE[name]
    folder = tmp_path / "em"
    if file != "info" and not file.startswith("n5"):
        zarr.create_array(
            folder / "s0", shape=(8, 8, 8), chunks=(4, 4, 4), dtype="u1", zarr_format=2
        )
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(group()))
        assert open_volume(str(folder)).stored_levels == 1
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content if isinstance(content, str) else json.dumps(content))
    source = str(folder / "n5") if file.startswith("n5") else str(folder)
    for opener in (open_volume, open_labels):
        with pytest.raises(FormatError) as error:
            opener(source)
        assert len(str(error.value)) < 2000


def test_consolidated_metadata_that_point_above_are_passed_over(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "secret", shape=(8, 8, 8), dtype="u1", zarr_format=2)
    folder = tmp_path / "em"
    folder.mkdir()
    listed = {"../secret/.zarray": {}, "a/../../secret/.zarray": {}}
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zmetadata").write_text(json.dumps({"metadata": listed}))
    with pytest.raises((FormatError, NotFoundError), match="no image"):
        open_volume(str(folder))


def test_an_ome_tiff_does_not_open_the_files_it_names(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "secret.ome.tif", np.full((4, 5, 6), 7, np.uint8))
    path = tmp_path / "in" / "em.ome.tif"
    path.parent.mkdir()
    uuids = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="../secret.ome.tif">urn:uuid:1</UUID>'
        "</TiffData>"
        for z in range(4)
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:0">'
        '<Image ID="Image:0"><Pixels DimensionOrder="XYZCT" ID="Pixels:0" SizeX="6" SizeY="5" '
        f'SizeZ="4" SizeC="1" SizeT="1" Type="uint8">{uuids}</Pixels></Image></OME>'
    )
    tifffile.imwrite(path, np.zeros((5, 6), np.uint8), description=xml, metadata=None)
    with pytest.raises(FormatError, match="announces 120 voxels and holds 30"):
        open_volume(str(path))


def test_a_chunk_of_an_hdf5_file_has_a_bound(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "em.h5", "w") as file:
        file.create_dataset("em", (2048, 2048, 2048), "u1", chunks=(1024, 1024, 1024 + 1))
    with pytest.raises(FormatError, match="too large"):
        open_volume(str(tmp_path / "em.h5"))
