"""Archives and files that unpack to more than they may: an error, never memory, never black."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorstore as ts
import tifffile
from hostile_sizes import BOMB, BOX, CHUNK, MB, SIDE, WHOLE
from hostile_web import HostileWeb, array, growth_below, hostile_web, zeros_packed

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources import hdf5
from segmentation_backend.sources.importing import import_image
from segmentation_backend.sources.labels import open_labels
from segmentation_backend.sources.volume import open_volume


@pytest.fixture
def web() -> Iterator[HostileWeb]:
    with hostile_web() as running:
        yield running


def zipped(path: Path, chunk: bytes, method: int = zipfile.ZIP_DEFLATED, **more: Any) -> str:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("em/.zarray", array(**more), zipfile.ZIP_STORED)
        file.writestr("em/0.0.0", chunk)
    return str(path)


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", bytes(BOMB))
    with growth_below(72 * MB), pytest.raises(FormatError, match="unpacks to 167772160") as error:
        open_volume(path)
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT


def test_a_member_that_says_it_is_smaller_gives_no_more_than_that(tmp_path: Path) -> None:
    size = BOMB + 123_457
    path = Path(zipped(tmp_path / "a.zip", bytes(size)))
    data = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", CHUNK))
    path.write_bytes(data)
    with growth_below(72 * MB):
        open_volume(str(path)).read(BOX)


@pytest.mark.parametrize("case", ["small", "lzma", "encrypted"])
def test_a_member_that_would_be_left_out_is_refused_and_not_shown_empty(
    tmp_path: Path, case: str
) -> None:
    side = 256
    method = zipfile.ZIP_LZMA if case == "lzma" else zipfile.ZIP_DEFLATED
    chunk = b"\7" * side**3 if case == "small" else b"\7" * CHUNK
    sides = [side if case == "small" else SIDE] * 3
    path = Path(zipped(tmp_path / "a.zip", chunk, method, shape=sides, chunks=sides))
    if case == "encrypted":
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\1\2")
        data[at + 8] |= 1
        path.write_bytes(data)
    words = "encrypted" if case == "encrypted" else "packed too small"
    with pytest.raises(FormatError, match=f"'0.0.0' that is {words}.*zip -0"):
        open_volume(f"{path}/em")


def test_a_list_of_members_that_is_too_long_is_not_read(web: HostileWeb, tmp_path: Path) -> None:
    path = Path(zipped(tmp_path / "a.zip", bytes(CHUNK)))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\5\6")
    data[at + 12 : at + 16] = struct.pack("<I", 2**31)
    web.files = {"a.zip": bytes(data)}
    path.write_bytes(data)
    for address in (str(path), f"{web.address}/a.zip"):
        with growth_below(72 * MB), pytest.raises(FormatError, match="list of members"):
            open_volume(address)


# ---- files of chunks -----------------------------------------------------------------------------

SHAPE = (70, 90, 100)


def stored(folder: Path, driver: str, **metadata: Any) -> str:
    """Write an array in chunks of 32 voxels a side, of which those at an end are smaller."""
    spec = {"driver": driver, "kvstore": f"file://{folder}/", "create": True}
    ts.open(spec | metadata).result().write(voxels(driver)).result()
    return str(folder)


def voxels(driver: str) -> Any:
    z, y, x = np.indices(SHAPE)
    truth = (1 + (z * 7 + y * 3 + x) % 250).astype(np.uint8)
    if driver == "neuroglancer_precomputed":
        return truth.T[..., None]
    return truth.T if driver == "n5" else truth


def zarr3_metadata(encoding: str, codecs: list[Any]) -> dict[str, Any]:
    grid = {"name": "regular", "configuration": {"chunk_shape": [32] * 3}}
    return {
        "shape": SHAPE,
        "data_type": "uint8",
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": encoding},
        "codecs": [{"name": "bytes"}, *codecs],
    }


ZARR2 = {"shape": SHAPE, "chunks": [32] * 3, "dtype": "|u1"}
N5 = {"dimensions": SHAPE[::-1], "blockSize": [32] * 3, "dataType": "uint8"}
BLOSC = {"cname": "lz4", "clevel": 1, "shuffle": 0}
SCALE = {
    "size": SHAPE[::-1],
    "voxel_offset": [5, 6, 7],
    "resolution": [4, 4, 4],
    "chunk_size": [32] * 3,
    "encoding": "raw",
}

# The file of the chunk at voxel 40, 70, 10.
STORED: dict[str, tuple[str, dict[str, Any], str]] = {
    "zarr 2": ("zarr", {"metadata": ZARR2 | {"dimension_separator": "."}}, "1.2.0"),
    "zarr 2 blosc": (
        "zarr",
        {"metadata": ZARR2 | {"dimension_separator": "/", "compressor": BLOSC | {"id": "blosc"}}},
        "1/2/0",
    ),
    "zarr 3": ("zarr3", {"metadata": zarr3_metadata("default", [])}, "c/1/2/0"),
    "zarr 3 blosc": (
        "zarr3",
        {"metadata": zarr3_metadata("v2", [{"name": "blosc", "configuration": {"cname": "lz4"}}])},
        "1.2.0",
    ),
    "n5": ("n5", {"metadata": N5 | {"compression": {"type": "gzip"}}}, "0/2/1"),
    "n5 blosc": ("n5", {"metadata": N5 | {"compression": BLOSC | {"type": "blosc"}}}, "0/2/1"),
    "precomputed": (
        "neuroglancer_precomputed",
        {
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": SCALE,
        },
        "4_4_4/5-37_70-96_39-71",
    ),
}


def blosc_claiming(size: int, packed: int) -> bytes:
    return struct.pack("<BBBBIII", 2, 1, 0, 1, size, 2**16, packed)


@pytest.mark.parametrize("flipped", [(), ("z", "x")])
@pytest.mark.parametrize("name", STORED)
def test_the_file_of_a_chunk_is_looked_at_before_it_is_read(
    tmp_path: Path, name: str, flipped: tuple[str, ...]
) -> None:
    driver, metadata, key = STORED[name]
    path = stored(tmp_path / "em", driver, **metadata)
    volume = open_volume(path, flipped=flipped)
    z, y, x = (SHAPE[0] - 41, 70, SHAPE[2] - 11) if flipped else (40, 70, 10)
    there, elsewhere = Roi((z, y, x), (1, 1, 1)), Roi((0, 0, 40), (3, 3, 3))
    truth = voxels("zarr")[::-1, :, ::-1] if flipped else voxels("zarr")
    # Nothing is in memory yet but what is damaged nowhere.
    file = Path(path, key)
    assert file.is_file()
    if "blosc" in name:
        head = struct.pack(">HH3I", 0, 3, 32, 32, 32) if driver == "n5" else b""
        file.write_bytes(head + blosc_claiming(2**31 - 1, 1000) + bytes(984))
    else:
        with file.open("r+b") as opened:
            opened.truncate(300 * MB)
    with growth_below(72 * MB), pytest.raises(ResourceError, match=f"{key} (has|unpacks)") as error:
        volume.read(there)
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    np.testing.assert_array_equal(volume.read(elsewhere), truth[elsewhere.slices()])
    with pytest.raises(FormatError, match=f"{key} (has|unpacks)") as corrupt:
        open_labels(path, flipped=flipped).read(there, 0)
    assert corrupt.value.kind is ErrorKind.CORRUPT_CHUNK


def test_a_file_under_a_computed_level_is_looked_at_too(tmp_path: Path) -> None:
    driver, metadata, key = STORED["zarr 3"]
    path = stored(tmp_path / "em", driver, **metadata)
    volume = open_volume(path)
    assert len(volume.levels) > volume.stored_levels == 1
    with Path(path, key).open("r+b") as opened:
        opened.truncate(300 * MB)
    assert volume.read(Roi((0, 0, 0), (4, 4, 4)), 1).any()
    with pytest.raises(ResourceError, match=f"{key} has"):
        volume.read(volume.level_bounds(1), 1)


# ---- files ---------------------------------------------------------------------------------------


def test_a_strip_of_a_tiff_unpacks_to_a_plane_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "em.tif"
    plane = np.zeros((64, 64), np.uint8)
    tifffile.imwrite(path, plane, compression="zlib", rowsperstrip=64, metadata=None)
    bomb = zeros_packed(BOMB, 15)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        places = [
            (tag.valueoffset, len(bomb)),
            (file.pages[0].tags["StripOffsets"].valueoffset, len(data)),
        ]
    changed = bytearray(data)
    for at, value in places:
        changed[at : at + 4] = struct.pack("<I", value)
    path.write_bytes(bytes(changed) + bomb)
    with growth_below(72 * MB), pytest.raises(ResourceError, match="unpack to more than"):
        open_volume(str(path)).read(Roi((0, 0, 0), (1, 8, 8)))
    with pytest.raises(FormatError, match="unpack to more than"):
        import_image(path, tmp_path / "a.zarr")


def test_tiles_that_are_larger_than_their_plane_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "em.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="zlib", tile=(64, 64))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags["TileWidth"].valueoffset
    data[at : at + 2] = struct.pack("<H", 2**16 - 16)
    path.write_bytes(data)
    with pytest.raises(ResourceError, match="strips or tiles"):
        open_volume(str(path)).read(Roi((0, 0, 0), (1, 8, 8)))


def test_a_chunk_of_an_hdf5_file_unpacks_to_a_chunk_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5, "_ROOM_BYTES", 2**22)
    with h5py.File(tmp_path / "em.h5", "w") as file:
        array = file.create_dataset("em", WHOLE, "u1", chunks=WHOLE, compression="gzip")
        array.id.write_direct_chunk((0, 0, 0), zeros_packed(BOMB, 15))
        whole = file.create_dataset("fine", (70, 70, 70), "u1", chunks=(32,) * 3, compression=1)
        whole[...] = 7
    volume = open_volume(str(tmp_path / "em.h5"), dataset="em")
    with growth_below(72 * MB), pytest.raises(ResourceError, match="unpack to more than"):
        volume.read(BOX)
    fine = open_volume(str(tmp_path / "em.h5"), dataset="fine")
    assert (fine.read(fine.bounds) == 7).all()


def test_a_compressed_array_must_be_all_there(tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1, 1), np.uint8))
    for shape, is_fortran, words in (
        ((4, 2**20, 2**20), False, "ends .* bytes early"),
        ((2**40, 1, 1), True, "ends .* bytes early"),
    ):
        path = tmp_path / "em.npz"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
            file.open("em.npy", "w") as member,
        ):
            said = {**header, "shape": shape, "fortran_order": is_fortran}
            np.lib.format.write_array_header_1_0(member, said)
            member.write(bytes(1000))
        with pytest.raises(FormatError, match=words):
            import_image(path, tmp_path / "a.zarr")


def test_a_plane_of_a_folder_that_is_larger_than_the_first_is_not_decoded(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_0.tif", np.zeros((64, 64), np.uint8))
    large = np.zeros((16 * 1024, 10 * 1024), np.uint8)
    tifffile.imwrite(tmp_path / "a_1.tif", large, compression="zlib")
    del large
    with growth_below(72 * MB), pytest.raises(FormatError, match=r"a_1\.tif is \(16384, 10240\)"):
        import_image(tmp_path, tmp_path / "out.zarr")
