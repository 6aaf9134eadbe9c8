"""Files become pyramids that other programs read too, or nothing at all."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr
from PIL import Image

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
)
from segmentation_backend.sources import importing, journal
from segmentation_backend.sources.importing import import_image
from segmentation_backend.sources.volume import open_volume

DATA = Path(__file__).parents[2] / "../shared/data"
FIB25 = DATA / "fibsem_fly_fib25/volume_250.npz"
SHAPE = (70, 66, 130)


def ramp(shape=SHAPE, dtype=np.uint8):
    z, y, x = np.indices(shape)
    return ((z * 7 + y * 3 + x) % 250).astype(dtype)


def as_npy(folder, array):
    np.save(folder / "em.npy", array)
    return folder / "em.npy"


def as_fortran_npy(folder, array):
    return as_npy(folder, np.asfortranarray(array))


def as_npz(folder, array):
    np.savez_compressed(folder / "em.npz", em=array, names=np.array(["a"]))
    return folder / "em.npz"


def as_fortran_npz(folder, array):
    np.savez(folder / "em.npz", em=np.asfortranarray(array))
    return folder / "em.npz"


def as_tiff(folder, array):
    tifffile.imwrite(folder / "em.tif", array, photometric="minisblack")
    return folder / "em.tif"


def as_compressed_tiff(folder, array):
    tifffile.imwrite(
        folder / "em.tiff", array, photometric="minisblack", compression="zlib", tile=(32, 32)
    )
    return folder / "em.tiff"


def as_imagej_tiff(folder, array):
    tifffile.imwrite(folder / "em.tif", array, imagej=True, metadata={"axes": "TYX"})
    return folder / "em.tif"


def as_tiff_folder(folder, array):
    planes = folder / "planes"
    planes.mkdir()
    for index, plane in enumerate(array):
        # Without padding: plane 10 must not come before plane 2.
        tifffile.imwrite(planes / f"em_{index}.tif", plane)
    (planes / "notes.txt").write_text("focus drifts after plane 40")
    return planes


def as_hdf5(folder, array):
    with h5py.File(folder / "em.h5", "w") as file:
        file.create_dataset("volumes/raw", data=array[None], chunks=(1, 16, 16, 16))
        file.create_dataset("history", data=np.zeros(4))
    return folder / "em.h5"


def as_zarr(folder, array):
    stored = zarr.create_array(
        folder / "em.zarr", shape=array.shape, chunks=(32, 32, 32), dtype=array.dtype
    )
    stored[:] = array
    return folder / "em.zarr"


def as_mrc(folder, array):
    with mrcfile.new(folder / "em.mrc") as file:
        file.set_data(array.astype(np.int8) if array.dtype == np.uint8 else array)
    # As IMOD marks bytes that are not signed.
    data = bytearray((folder / "em.mrc").read_bytes())
    data[152:160] = np.array([1146047817, 0], "<i4").tobytes()
    (folder / "em.mrc").write_bytes(data)
    return folder / "em.mrc"


def as_png_folder(folder, array):
    planes = folder / "pngs"
    planes.mkdir()
    for index, plane in enumerate(array):
        Image.fromarray(plane).save(planes / f"em_{index}.png")
    return planes


def as_zip(folder, array):
    return Path(shutil.make_archive(str(folder / "em"), "zip", as_zarr(folder, array)))


WRITERS = [
    as_npy,
    as_fortran_npy,
    as_npz,
    as_fortran_npz,
    as_tiff,
    as_compressed_tiff,
    as_imagej_tiff,
    as_tiff_folder,
    as_hdf5,
    as_mrc,
    as_png_folder,
    as_zarr,
    as_zip,
]


@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_arrives_voxel_for_voxel(tmp_path, writer):
    truth = ramp()
    path = import_image(writer(tmp_path, truth), tmp_path / "out/em.zarr")
    volume = open_volume(str(path))
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", ">u2", "f8"])
def test_dtypes_are_kept_but_doubles(tmp_path, dtype):
    truth = ramp((5, 6, 7), dtype)
    volume = open_volume(str(import_image(as_npy(tmp_path, truth), tmp_path / "a.zarr")))
    wanted = np.dtype("float32") if dtype == "f8" else np.dtype(dtype).newbyteorder("=")
    assert volume.dtype == wanted
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    source = as_npy(folder, ramp())
    return import_image(source, folder / "em.zarr", voxel_size=(40.0, 20.0, 20.0))


def test_result_is_read_by_zarr_python(imported):
    group = zarr.open_group(imported, mode="r")
    assert group.metadata.zarr_format == 3
    multiscale = group.attrs["ome"]["multiscales"][0]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"nanometer"}
    np.testing.assert_array_equal(group["0"][:], ramp())
    assert group["0"].chunks == (64, 64, 64)
    assert group["0"].metadata.dimension_names == ("z", "y", "x")


def test_result_is_read_by_tensorstore(imported):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{imported}/0/"}}
    np.testing.assert_array_equal(ts.open(spec).result().read().result(), ramp())


def test_levels_are_area_means_toward_isotropy(imported):
    group = zarr.open_group(imported, mode="r")
    fine, coarse = group["0"][:].astype(float), group["1"][:]
    assert coarse.shape == (70, 33, 65)
    means = fine.reshape(70, 33, 2, 65, 2).mean((2, 4))
    assert np.abs(coarse - means).max() <= 0.5
    assert group["2"].shape == (35, 17, 33)


def test_levels_lie_where_ngff_says_centres_are(imported):
    group = zarr.open_group(imported, mode="r")
    for dataset in group.attrs["ome"]["multiscales"][0]["datasets"]:
        scale, shift = dataset["coordinateTransformations"]
        centres = (np.array(scale["scale"]) - [40, 20, 20]) / 2
        np.testing.assert_allclose(shift["translation"], centres)


def test_all_levels_are_opened_again(imported):
    volume = open_volume(str(imported))
    assert volume.stored_levels == len(volume.levels) == 3
    assert volume.levels[0].voxel_size == (40, 20, 20)
    assert not volume.voxel_size_is_assumed


def test_voxel_size_that_was_assumed_stays_assumed(tmp_path):
    path = import_image(as_npy(tmp_path, ramp((5, 6, 7))), tmp_path / "a.zarr")
    volume = open_volume(str(path))
    assert volume.levels[0].voxel_size == (10, 10, 10)
    assert volume.voxel_size_is_assumed
    assert not open_volume(str(path), voxel_size=(8, 8, 8)).voxel_size_is_assumed


def imagej(path, unit, spacing=0.03):
    tifffile.imwrite(
        path,
        ramp((4, 5, 6)),
        imagej=True,
        resolution=(1 / 0.005, 1 / 0.006),
        metadata={"axes": "ZYX", "spacing": spacing, "unit": unit},
    )


def ome(path, unit):
    sizes = {f"PhysicalSize{a}": v for a, v in (("Z", 0.03), ("Y", 0.006), ("X", 0.005))}
    units = {f"PhysicalSize{a}Unit": unit for a in "ZYX"}
    tifffile.imwrite(path, ramp((4, 5, 6)), ome=True, metadata={"axes": "ZYX", **sizes, **units})


@pytest.mark.parametrize(
    ("write", "unit"),
    [(imagej, "micron"), (imagej, "um"), (imagej, "\\u00B5m"), (ome, "µm"), (ome, "um")],
)
def test_voxel_size_comes_from_tiff_metadata(tmp_path, write, unit):
    write(tmp_path / "em.ome.tif", unit)
    volume = open_volume(str(import_image(tmp_path / "em.ome.tif", tmp_path / "a.zarr")))
    assert volume.levels[0].voxel_size == pytest.approx((30, 6, 5), rel=1e-3)
    assert not volume.voxel_size_is_assumed


@pytest.mark.parametrize(("unit", "spacing"), [("pixel", 1), ("inch", 1), ("um", 0), ("um", "x")])
def test_senseless_tiff_metadata_are_as_good_as_none(tmp_path, unit, spacing):
    imagej(tmp_path / "em.tif", unit, spacing)
    volume = open_volume(str(import_image(tmp_path / "em.tif", tmp_path / "a.zarr")))
    assert volume.voxel_size_is_assumed


@pytest.mark.parametrize(
    ("name", "value"), [("element_size_um", (0.03, 0.006, 0.005)), ("resolution", (30, 6, 5))]
)
def test_voxel_size_comes_from_hdf5_attributes(tmp_path, name, value):
    with h5py.File(tmp_path / "em.h5", "w") as file:
        file.create_dataset("raw", data=ramp((4, 5, 6))).attrs[name] = value
    volume = open_volume(str(import_image(tmp_path / "em.h5", tmp_path / "a.zarr")))
    assert volume.levels[0].voxel_size == pytest.approx((30, 6, 5))


def test_argument_wins_over_the_file(tmp_path):
    imagej(tmp_path / "em.tif", "um")
    path = import_image(tmp_path / "em.tif", tmp_path / "a.zarr", voxel_size=(7, 7, 7))
    assert open_volume(str(path)).levels[0].voxel_size == (7, 7, 7)


def two_arrays(folder, kind):
    arrays = {"em": ramp((4, 5, 6)), "truth": ramp((4, 5, 6)) + 1}
    if kind == "npz":
        np.savez(folder / "two.npz", **arrays)
    else:
        with h5py.File(folder / "two.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return folder / f"two.{kind}"


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_one_of_several_arrays_must_be_named(tmp_path, kind):
    path = two_arrays(tmp_path, kind)
    with pytest.raises(InvalidInputError, match=r"em \(4, 5, 6\), truth") as error:
        import_image(path, tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.INVALID_PARAMETER
    with pytest.raises(NotFoundError, match="it holds em"):
        import_image(path, tmp_path / "a.zarr", dataset="raw")
    made = import_image(path, tmp_path / "a.zarr", dataset="/truth")
    volume = open_volume(str(made))
    np.testing.assert_array_equal(volume.read(volume.bounds), ramp((4, 5, 6)) + 1)


def test_single_picture_is_a_stack_of_one(tmp_path):
    tifffile.imwrite(tmp_path / "em.tif", ramp((1, 40, 50))[0])
    volume = open_volume(str(import_image(tmp_path / "em.tif", tmp_path / "a.zarr")))
    assert volume.bounds.shape == (1, 40, 50)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((4, 5, 6), np.uint64), ErrorKind.UNSUPPORTED_DTYPE),
        (np.zeros((4, 5, 6), bool), ErrorKind.UNSUPPORTED_DTYPE),
        (np.zeros((4, 5, 6), np.complex64), ErrorKind.UNSUPPORTED_DTYPE),
        (np.zeros((5, 6), np.uint8), ErrorKind.UNSUPPORTED_RANK),
        (np.zeros((2, 4, 5, 6), np.uint8), ErrorKind.UNSUPPORTED_RANK),
        (np.zeros((0, 5, 6), np.uint8), ErrorKind.UNSUPPORTED_RANK),
    ],
)
@pytest.mark.parametrize("writer", [as_npy, as_npz])
def test_what_is_no_image_is_refused_and_leaves_nothing(tmp_path, writer, array, kind):
    path = writer(tmp_path, array)
    with pytest.raises(FormatError) as error:
        import_image(path, tmp_path / "out" / "a.zarr")
    assert error.value.kind is kind
    assert not (tmp_path / "out").exists()


def test_colour_pictures_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "em.tif", np.zeros((40, 50, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="s=3") as error:
        import_image(tmp_path / "em.tif", tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.UNSUPPORTED_RANK


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".tif", ".h5"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"II*\x00", b"\x93NUMPY\x01\x00", b"?" * 99]
)
def test_damaged_files_are_refused_by_name(tmp_path, suffix, content):
    path = tmp_path / f"em{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="em") as error:
        import_image(path, tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT


# A hole in plain voxels cannot be told from black ones, so that TIFF is only cut off.
@pytest.mark.parametrize("writer", [as_npz, as_compressed_tiff, as_hdf5, as_imagej_tiff])
@pytest.mark.parametrize("hole", [0, 200_000])
def test_damaged_stack_leaves_nothing(tmp_path, writer, hole):
    voxels = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    path = writer(tmp_path, voxels)
    data = path.read_bytes()
    keep = hole and writer is not as_imagej_tiff
    path.write_bytes(data[:200_000] + (bytes(hole) + data[400_000:] if keep else b""))
    with pytest.raises(FormatError) as error:
        import_image(path, tmp_path / "out" / "a.zarr")
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT
    assert not list(tmp_path.glob("out/*"))


def test_planes_that_differ_are_refused_by_file(tmp_path):
    folder = as_tiff_folder(tmp_path, ramp((4, 5, 6)))
    tifffile.imwrite(folder / "em_2.tif", np.zeros((5, 7), np.uint8))
    with pytest.raises(FormatError, match=r"em_2\.tif is \(5, 7\)"):
        import_image(folder, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_unknown_kind_of_file_lists_the_known(tmp_path):
    (tmp_path / "em.doc").write_bytes(b"doc")
    with pytest.raises(FormatError, match=r"\.npz, \.npy, \.tif"):
        import_image(tmp_path / "em.doc", tmp_path / "a.zarr")


def test_missing_file_names_the_nearest_folder(tmp_path):
    with pytest.raises(NotFoundError, match=str(tmp_path)) as error:
        import_image(tmp_path / "no/em.tif", tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.PATH_NOT_FOUND


def test_existing_destination_is_kept(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ConflictError) as error:
        import_image(as_npy(tmp_path, ramp((4, 5, 6))), tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.NAME_TAKEN
    assert list((tmp_path / "a.zarr").iterdir()) == []


def test_progress_grows_to_one(tmp_path):
    seen = []
    import_image(
        as_npy(tmp_path, ramp()), tmp_path / "a.zarr", progress=lambda f, m: seen.append((f, m))
    )
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert seen[0][1] == "Plane 64 of 70."


def test_import_that_is_stopped_leaves_nothing(tmp_path):
    def stop(fraction, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_image(as_npy(tmp_path, ramp()), tmp_path / "out/a.zarr", progress=stop)
    assert list((tmp_path / "out").iterdir()) == []


def test_full_disk_is_named(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(journal.os, "rename", full)
    with pytest.raises(ResourceError, match="Free some space") as error:
        import_image(as_npy(tmp_path, ramp((4, 5, 6))), tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.DISK_FULL
    assert not (tmp_path / "a.zarr").exists()


def test_memory_stays_bounded(tmp_path, monkeypatch):
    shape = (96, 512, 512)
    path = tmp_path / "em.npz"
    np.savez_compressed(path, em=np.zeros(shape, np.uint8))
    monkeypatch.setattr(importing, "_SLAB_BYTES", 2**21)
    tracemalloc.start()
    try:
        import_image(path, tmp_path / "a.zarr")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < np.prod(shape) / 2
    assert open_volume(str(tmp_path / "a.zarr")).bounds.shape == shape


KILLED = """
import sys
from pathlib import Path
from segmentation_backend.sources import importing, journal
journal._EVERY_S, importing._SLAB_BYTES = 0, 2**19
note = journal.ImportJournal.note

def note_and_wait(self, level):
    note(self, level)
    self.wait()

journal.ImportJournal.note = note_and_wait
importing.import_image(
    Path(sys.argv[1]), Path(sys.argv[2]), progress=lambda f, m: print(m, flush=True)
)
"""


@pytest.mark.parametrize(
    ("writer", "stop", "first"), [(as_npy, "Plane 128", 64), (as_png_folder, "Level 1", 200)]
)
def test_killed_import_goes_on_where_it_was(tmp_path, writer, stop, first, monkeypatch):
    monkeypatch.setattr(importing, "_SLAB_BYTES", 2**19)
    source = writer(tmp_path, ramp((200, 130, 140)))
    expected = import_image(source, tmp_path / "expected" / "a.zarr")
    made = tmp_path / "a.zarr"
    command = [sys.executable, "-c", KILLED, source, made]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith(stop):
            assert process.poll() is None
        process.kill()
    assert not made.exists()
    assert (tmp_path / ".a.zarr.partial" / "import.json").is_file()
    read = []
    opened = importing.open_stack

    def watched(*args):
        stack = opened(*args)
        return replace(stack, read=lambda box: read.append(box.offset[0]) or stack.read(box))

    monkeypatch.setattr(importing, "open_stack", watched)
    assert import_image(source, made) == made
    # What was written before the kill is not read again.
    assert min(read, default=200) >= first
    files = {f.relative_to(expected): f.read_bytes() for f in expected.rglob("*") if f.is_file()}
    assert files == {f.relative_to(made): f.read_bytes() for f in made.rglob("*") if f.is_file()}
    assert not (tmp_path / ".a.zarr.partial").exists()


def test_import_of_another_source_does_not_go_on(tmp_path, monkeypatch):
    partial = tmp_path / ".a.zarr.partial"
    with journal.ImportJournal(partial, "another") as other:
        other.note(0)
        other.save()
        (partial / "0").mkdir()
        (partial / "0" / "zarr.json").write_text("{}")
        with pytest.raises(ConflictError, match="being written by another import"):
            import_image(as_npy(tmp_path, ramp((4, 5, 6))), tmp_path / "a.zarr")
        assert (partial / "0" / "zarr.json").exists()
    volume = open_volume(str(import_image(tmp_path / "em.npy", tmp_path / "a.zarr")))
    np.testing.assert_array_equal(volume.read(volume.bounds), ramp((4, 5, 6)))


def test_blocks_count_only_when_they_are_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_EVERY_S", 0)
    gate, asked = threading.Event(), threading.Event()

    def slow(descriptor):
        asked.set()
        assert gate.wait(10)

    monkeypatch.setattr(journal, "_sync", slow)
    with journal.ImportJournal(tmp_path / "partial", "one") as unfinished:
        unfinished.note(0)
        assert asked.wait(10)
        # The import goes on meanwhile; these two come with the next sync.
        unfinished.note(0)
        unfinished.note(0)
        assert not (tmp_path / "partial" / "import.json").exists()
        gate.set()
        unfinished.wait()
        assert json.loads((tmp_path / "partial" / "import.json").read_text())["done"] == {"0": 1}


def test_disk_that_fails_while_it_is_synced_takes_the_import_back(tmp_path, monkeypatch):
    def failing(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(journal, "_sync", failing)
    monkeypatch.setattr(journal, "_EVERY_S", 0)
    with pytest.raises(ResourceError) as error:
        import_image(as_npy(tmp_path, ramp()), tmp_path / "a.zarr")
    assert error.value.kind is ErrorKind.DISK_FULL
    assert not list(tmp_path.glob("*a.zarr*"))


@pytest.mark.skipif(not FIB25.is_file(), reason="the FIB-SEM cube is not on this machine")
def test_real_fib_sem_is_imported(tmp_path):
    path = import_image(FIB25, tmp_path / "fib.zarr", dataset="em", voxel_size=(10, 10, 10))
    volume = open_volume(str(path))
    with np.load(FIB25) as arrays:
        truth = arrays["em"]
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)
    assert [level.shape for level in volume.levels] == [(250,) * 3, (125,) * 3, (63,) * 3]
    assert volume.contrast().mean == pytest.approx(truth.mean(), abs=2)
