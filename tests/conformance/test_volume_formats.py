"""One contract for every kind of volume; the truth is written by other libraries than ours."""

import json
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr
from google_bucket import GOOGLE_BUCKET
from PIL import Image

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
)
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.sources.volume import open_volume

SHAPE = (40, 50, 70)
CHUNK = (16, 20, 32)
VOXEL_SIZE = (8.0, 4.0, 4.0)


def truth() -> np.ndarray:
    """Every value differs from its neighbours, so that a swapped axis shows."""
    z, y, x = np.indices(SHAPE)
    return (1 + (z * 7 + y * 3 + x) % 250).astype(np.uint8)


def halved(array: np.ndarray) -> np.ndarray:
    means = array.astype(float).reshape(20, 2, 25, 2, 35, 2).mean((1, 3, 5))
    return np.rint(means).astype(array.dtype)


class VolumeContract:
    """What holds for every format and every place."""

    place = "local"
    file = "volume.data"
    dataset: str | None = None
    voxel_size = VOXEL_SIZE
    stored_levels = 1
    first_chunk = ""
    """The file with voxel (0, 0, 0)."""

    def write(self, folder: Path) -> None:
        raise NotImplementedError

    def publish(self, folder: Path, request: pytest.FixtureRequest):
        """Write a volume; return (address, settings, how to replace one of its files)."""
        name = f"{folder.name}-{type(self).__name__}"
        if self.place == "http":
            web = request.getfixturevalue("web")
            self.write(web.root / name)
            address, settings = f"{web.address}/{name}", CloudSettings()
            return address, settings, lambda path, data: change(web.root / name / path, data)
        if self.place == "google":
            root = request.getfixturevalue("google")
            self.write(root / name)
            address = f"gs://{GOOGLE_BUCKET}/{name}"
            return address, CloudSettings(), lambda path, data: change(root / name / path, data)
        local = folder / self.file
        self.write(local)
        if self.place == "local":
            return str(local), CloudSettings(), lambda path, data: change(local / path, data)
        s3 = request.getfixturevalue("s3")
        s3.upload(local, name)
        settings = CloudSettings(endpoint_url=s3.endpoint)
        return s3.url(name), settings, lambda path, data: s3.put(f"{name}/{path}", data)

    @pytest.fixture
    def own(self, tmp_path, request):
        """A volume for one test, to be damaged."""
        return self.publish(tmp_path, request)

    @pytest.fixture(scope="class")
    def shared(self, tmp_path_factory, request):
        """A volume for all tests that only read."""
        return self.publish(tmp_path_factory.mktemp("shared"), request)

    @pytest.fixture
    def volume(self, shared):
        return open_volume(shared[0], dataset=self.dataset, cloud=shared[1])

    def test_whole_volume_reads_as_written(self, volume):
        voxels = volume.read(volume.bounds)
        assert volume.bounds == Roi((0, 0, 0), SHAPE)
        assert voxels.dtype == volume.dtype == np.uint8
        assert voxels.flags.c_contiguous
        np.testing.assert_array_equal(voxels, truth())

    def test_region_across_chunks_reads_as_written(self, volume):
        roi = Roi((13, 17, 30), (7, 11, 13))
        np.testing.assert_array_equal(volume.read(roi), truth()[roi.slices()])

    def test_levels_have_their_voxel_size_and_shape(self, volume):
        assert volume.levels[0].voxel_size == pytest.approx(self.voxel_size)
        assert volume.levels[0].shape == SHAPE
        assert volume.stored_levels == self.stored_levels
        assert len(volume.levels) >= 2
        for index, level in enumerate(volume.levels):
            assert level.level == index
            assert volume.read(volume.level_bounds(index), index).shape == level.shape

    def test_all_levels_cover_the_same_extent(self, volume):
        extent = np.multiply(SHAPE, volume.levels[0].voxel_size)
        for level in volume.levels:
            edges = np.multiply(level.shape, level.voxel_size)
            assert np.all(np.abs(edges - extent) < level.voxel_size)

    @pytest.mark.parametrize(
        "roi",
        [
            Roi((0, 0, 0), (41, 1, 1)),
            Roi((-1, 0, 0), (2, 1, 1)),
            Roi((0, 0, 70), (1, 1, 1)),
        ],
    )
    def test_region_outside_is_refused(self, volume, roi):
        with pytest.raises(InvalidInputError, match="not inside volume") as error:
            volume.read(roi)
        assert error.value.kind is ErrorKind.ROI_OUT_OF_BOUNDS

    def test_chunk_that_was_never_written_is_empty(self, own):
        address, cloud, replace = own
        replace(self.first_chunk, None)
        volume = open_volume(address, dataset=self.dataset, cloud=cloud)
        assert not volume.read(Roi((0, 0, 0), (2, 2, 2))).any()
        elsewhere = Roi((38, 40, 60), (2, 10, 10))
        np.testing.assert_array_equal(volume.read(elsewhere), truth()[elsewhere.slices()])

    def test_corrupt_chunk_is_an_error_and_not_zeros(self, own):
        address, cloud, replace = own
        replace(self.first_chunk, b"this is no chunk")
        volume = open_volume(address, dataset=self.dataset, cloud=cloud)
        with pytest.raises(ResourceError, match="cannot be read") as error:
            volume.read(Roi((0, 0, 0), (2, 2, 2)))
        assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
        elsewhere = Roi((38, 40, 60), (2, 10, 10))
        np.testing.assert_array_equal(volume.read(elsewhere), truth()[elsewhere.slices()])

    def test_contrast_describes_the_voxels(self, volume):
        contrast = volume.contrast()
        assert contrast.low < contrast.mean < contrast.high
        assert contrast.mean == pytest.approx(truth().mean(), rel=0.05)
        assert volume.contrast() is contrast

    def test_what_is_not_there_names_what_is(self, shared):
        address, cloud, _ = shared
        with pytest.raises(NotFoundError, match="nearest folder that exists") as error:
            open_volume(address, dataset="no/such/array", cloud=cloud)
        assert error.value.kind is ErrorKind.PATH_NOT_FOUND
        assert "no/such/array" in str(error.value)


def change(file: Path, data: bytes | None) -> None:
    assert file.is_file(), f"the test expects a chunk at {file}"
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)


def write_n5(folder: Path, array: np.ndarray, attributes: dict) -> None:
    """Write z,y,x voxels as N5 does, x first, through tensorstore alone."""
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{folder}/"},
        "metadata": {
            "dimensions": list(array.shape[::-1]),
            "blockSize": list(CHUNK[::-1]),
            "dataType": array.dtype.name,
            "compression": {"type": "gzip"},
            **attributes,
        },
    }
    ts.open(spec, create=True).result().write(array.T).result()


def ngff(paths: list[str], version: str) -> dict:
    """Return a multiscale whose levels are shifted as NGFF asks: positions are centres."""
    datasets = []
    for index, path in enumerate(paths):
        scale = [edge * 2**index for edge in VOXEL_SIZE]
        shift = [(a - b) / 2 for a, b in zip(scale, VOXEL_SIZE, strict=True)]
        steps = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": path, "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    return {"version": version, "name": "em", "axes": axes, "datasets": datasets}


def write_zarr_pyramid(folder: Path, zarr_format: int) -> None:
    version = "0.4" if zarr_format == 2 else "0.5"
    multiscale = ngff(["s0", "s1"], version)
    attributes = (
        {"multiscales": [multiscale]}
        if zarr_format == 2
        else {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    )
    group = zarr.create_group(folder, zarr_format=zarr_format, attributes=attributes)
    for name, voxels in (("s0", truth()), ("s1", halved(truth()))):
        array = group.create_array(name, shape=voxels.shape, chunks=CHUNK, dtype=voxels.dtype)
        array[:] = voxels


class TestZarr2Array(VolumeContract):
    voxel_size = (10.0, 10.0, 10.0)
    first_chunk = "0.0.0"

    def write(self, folder):
        array = zarr.create_array(folder, shape=SHAPE, chunks=CHUNK, dtype=np.uint8, zarr_format=2)
        array[:] = truth()

    def test_voxel_size_is_said_to_be_assumed(self, volume):
        assert volume.voxel_size_is_assumed


class TestZarr3Array(TestZarr2Array):
    first_chunk = "c/0/0/0"

    def write(self, folder):
        array = zarr.create_array(folder, shape=SHAPE, chunks=CHUNK, dtype=np.uint8, zarr_format=3)
        array[:] = truth()


class TestZarr3Shards(TestZarr2Array):
    first_chunk = "c/0/0/0"

    def write(self, folder):
        array = zarr.create_array(
            folder, shape=SHAPE, chunks=(8, 10, 16), shards=CHUNK, dtype=np.uint8, zarr_format=3
        )
        array[:] = truth()


class Pyramid(VolumeContract):
    stored_levels = 2

    def test_stored_level_reads_as_written(self, volume):
        assert volume.levels[1].voxel_size == (16, 8, 8)
        coarse = volume.read(volume.level_bounds(1), 1)
        np.testing.assert_array_equal(coarse, halved(truth()))

    def test_voxel_size_is_not_assumed(self, volume):
        assert not volume.voxel_size_is_assumed


class TestOmeZarr04(Pyramid):
    first_chunk = "s0/0.0.0"

    def write(self, folder):
        write_zarr_pyramid(folder, 2)


class TestOmeZarr05(Pyramid):
    first_chunk = "s0/c/0/0/0"

    def write(self, folder):
        write_zarr_pyramid(folder, 3)


class TestOpenOrganelleContainer(Pyramid):
    """Several images in one container, one of them named."""

    dataset = "recon-1/em/fibsem-uint8"
    first_chunk = "recon-1/em/fibsem-uint8/s0/0.0.0"

    def write(self, folder):
        zarr.create_group(folder, zarr_format=2)
        write_zarr_pyramid(folder / "recon-1/em/fibsem-uint8", 2)
        write_zarr_pyramid(folder / "recon-1/labels/mito_seg", 2)

    def test_container_lists_its_images(self, shared):
        with pytest.raises(InvalidInputError, match="holds 2 images") as error:
            open_volume(shared[0], cloud=shared[1])
        assert "recon-1/em/fibsem-uint8, recon-1/labels/mito_seg" in str(error.value)


class TestN5Array(VolumeContract):
    first_chunk = "0/0/0"

    def write(self, folder):
        resolution = {"dimensions": [4.0, 4.0, 8.0], "unit": "nm"}
        write_n5(folder, truth(), {"pixelResolution": resolution})


class TestN5Pyramid(Pyramid):
    first_chunk = "s0/0/0/0"

    def write(self, folder):
        write_n5(folder / "s0", truth(), {})
        write_n5(folder / "s1", halved(truth()), {})
        attributes = {
            "axes": ["x", "y", "z"],
            "units": ["nm", "nm", "nm"],
            "pixelResolution": {"dimensions": [4.0, 4.0, 8.0], "unit": "nm"},
            "scales": [[1, 1, 1], [2, 2, 2]],
        }
        (folder / "attributes.json").write_text(json.dumps(attributes))


class TestPrecomputed(Pyramid):
    sharding: ClassVar[dict] = {}
    first_chunk = "4_4_8/0-32_0-20_0-16"

    def write(self, folder):
        for index, voxels in enumerate((truth(), halved(truth()))):
            spec = {
                "driver": "neuroglancer_precomputed",
                "kvstore": {"driver": "file", "path": f"{folder}/"},
                "multiscale_metadata": {
                    "type": "image",
                    "data_type": "uint8",
                    "num_channels": 1,
                },
                "scale_metadata": {
                    "size": list(voxels.shape[::-1]),
                    "resolution": [4 * 2**index, 4 * 2**index, 8 * 2**index],
                    "encoding": "raw",
                    "chunk_size": list(CHUNK[::-1]),
                    **({"sharding": self.sharding} if self.sharding else {}),
                },
            }
            ts.open(spec, create=True).result()[..., 0].write(voxels.T).result()


class TestZarr3ShardedPyramid(Pyramid):
    """OME-NGFF 0.5 in shards, as newer published volumes are."""

    first_chunk = "s0/c/0/0/0"

    def write(self, folder):
        ome = {"version": "0.5", "multiscales": [ngff(["s0", "s1"], "0.5")]}
        group = zarr.create_group(folder, zarr_format=3, attributes={"ome": ome})
        for name, voxels in (("s0", truth()), ("s1", halved(truth()))):
            array = group.create_array(
                name, shape=voxels.shape, chunks=(8, 10, 16), shards=CHUNK, dtype=voxels.dtype
            )
            array[:] = voxels


class TestPrecomputedShards(TestPrecomputed):
    sharding: ClassVar[dict] = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 0,
        "minishard_bits": 1,
        "shard_bits": 1,
        "hash": "identity",
        "data_encoding": "gzip",
        "minishard_index_encoding": "gzip",
    }
    first_chunk = "4_4_8/0.shard"

    # One shard holds many chunks, so that losing a file loses more than the first corner.
    def test_chunk_that_was_never_written_is_empty(self, own):
        address, cloud, replace = own
        replace(self.first_chunk, None)
        volume = open_volume(address, dataset=self.dataset, cloud=cloud)
        assert not volume.read(Roi((0, 0, 0), (2, 2, 2))).any()

    def test_corrupt_chunk_is_an_error_and_not_zeros(self, own):
        address, cloud, replace = own
        replace(self.first_chunk, b"this is no shard")
        volume = open_volume(address, dataset=self.dataset, cloud=cloud)
        with pytest.raises(ResourceError, match="cannot be read"):
            volume.read(Roi((0, 0, 0), (2, 2, 2)))


class Zipped(VolumeContract):
    """An array store in one file; what is wrong with a chunk is wrong with the archive."""

    file = "volume.zip"
    arrays: ClassVar[type[VolumeContract]]

    def write(self, folder):
        content = folder.with_suffix(".content")
        self.arrays().write(content)
        shutil.make_archive(str(folder.with_suffix("")), "zip", content)

    def publish(self, folder, request):
        if self.place == "local":
            return super().publish(folder, request)
        self.write(folder / self.file)
        name = f"{type(self).__name__}-{folder.name}.zip"
        if self.place == "http":
            web = request.getfixturevalue("web")
            shutil.copy(folder / self.file, web.root / name)
            return f"{web.address}/{name}", CloudSettings(), None
        if self.place == "google":
            root = request.getfixturevalue("google")
            shutil.copy(folder / self.file, root / name)
            return f"gs://{GOOGLE_BUCKET}/{name}", CloudSettings(), None
        s3 = request.getfixturevalue("s3")
        s3.put(name, (folder / self.file).read_bytes())
        return s3.url(name), CloudSettings(endpoint_url=s3.endpoint), None

    def test_chunk_that_was_never_written_is_empty(self, tmp_path):
        self.write(tmp_path / "a.zip")
        change(tmp_path / "a.content" / self.first_chunk, None)
        shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path / "a.content")
        volume = open_volume(str(tmp_path / "b.zip"))
        assert not volume.read(Roi((0, 0, 0), (2, 2, 2))).any()

    def test_corrupt_chunk_is_an_error_and_not_zeros(self, tmp_path):
        self.write(tmp_path / "a.zip")
        data = bytearray((tmp_path / "a.zip").read_bytes())
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            member = archive.getinfo(self.first_chunk)
            begin = member.header_offset + 30 + len(member.filename)
            data[begin : begin + member.compress_size] = b"?" * member.compress_size
        (tmp_path / "b.zip").write_bytes(data)
        with pytest.raises(ResourceError, match="cannot be read"):
            open_volume(str(tmp_path / "b.zip")).read(Roi((0, 0, 0), (2, 2, 2)))


class TestZippedOmeZarr(Zipped, TestOmeZarr05):
    arrays = TestOmeZarr05


class TestZippedN5OnS3(Zipped, TestN5Pyramid):
    arrays = TestN5Pyramid
    place = "s3"


class TestZippedOmeZarrOnGoogle(Zipped, TestOmeZarr05):
    arrays = TestOmeZarr05
    place = "google"

    def test_a_folder_in_the_archive_is_opened_by_its_address(self, shared):
        for address in (f"{shared[0]}/s0", f"zarr3://{shared[0]}/s0", f"{shared[0]}|zip:s0|zarr3:"):
            volume = open_volume(address)
            np.testing.assert_array_equal(volume.read(volume.bounds), truth())


class TestZippedOmeZarrOverHttp(Zipped, TestOmeZarr05):
    arrays = TestOmeZarr05
    place = "http"

    def test_server_that_gives_no_parts_is_named(self, web, tmp_path):
        self.write(tmp_path / "a.zip")
        # An archive as large as a part that is asked for is read whole anyway.
        with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
            archive.writestr("filler", bytes(2**17))
        shutil.copy(tmp_path / "a.zip", web.root / "large.zip")
        volume = open_volume(f"{web.address}/large.zip")
        np.testing.assert_array_equal(volume.read(volume.bounds), truth())
        web.gives_parts = False
        try:
            with pytest.raises(FormatError, match=r"no parts of a file.*Download"):
                open_volume(f"{web.address}/large.zip", cache_bytes=1)
        finally:
            web.gives_parts = True


class ImageFile(VolumeContract):
    """A file that is no chunk store, read in place."""

    voxel_size = (10.0, 10.0, 10.0)
    damage = ""
    """The file to cut in half, where the image is a folder."""

    # A file has all its voxels, or is damaged.
    test_chunk_that_was_never_written_is_empty = None

    def test_many_threads_read_at_once(self, shared):
        volume = open_volume(shared[0], dataset=self.dataset, cache_bytes=0)
        boxes = [Roi((z, 5, 7), (4, 40, 60)) for z in range(36)]
        with ThreadPoolExecutor(8) as threads:
            found = threads.map(volume.read, boxes)
        for box, voxels in zip(boxes, found, strict=True):
            np.testing.assert_array_equal(voxels, truth()[box.slices()])

    def test_corrupt_chunk_is_an_error_and_not_zeros(self, tmp_path):
        path = tmp_path / self.file
        self.write(path)
        volume = open_volume(str(path), dataset=self.dataset)
        victim = path / self.damage if self.damage else path
        victim.write_bytes(victim.read_bytes()[:60])
        with pytest.raises(ResourceError, match="cannot be read") as error:
            volume.read(volume.bounds)
        assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE

    def test_what_is_not_there_names_what_is(self, shared):
        with pytest.raises((InvalidInputError, NotFoundError), match=r"no/such/array"):
            open_volume(shared[0], dataset="no/such/array")


class TestNpyFile(ImageFile):
    file = "em.npy"

    def write(self, folder):
        np.save(folder, truth())


class TestFortranNpyFile(ImageFile):
    file = "em.npy"

    def write(self, folder):
        np.save(folder, np.asfortranarray(truth()))


class TestPlainNpzFile(ImageFile):
    file = "em.npz"
    dataset = "em"

    def write(self, folder):
        np.savez(folder, em=truth(), labels=truth())


class TestTiffFile(ImageFile):
    file = "em.tif"
    voxel_size = VOXEL_SIZE

    def write(self, folder):
        metadata = {"axes": "ZYX", "spacing": 0.008, "unit": "um"}
        tifffile.imwrite(folder, truth(), imagej=True, resolution=(250, 250), metadata=metadata)


class TestCompressedTiffFile(ImageFile):
    file = "em.tiff"

    def write(self, folder):
        tifffile.imwrite(folder, truth(), compression="zlib", photometric="minisblack")


class TestHdf5File(ImageFile):
    file = "em.h5"
    dataset = "volumes/raw"
    voxel_size = VOXEL_SIZE

    def write(self, folder):
        with h5py.File(folder, "w") as file:
            array = file.create_dataset("volumes/raw", data=truth(), chunks=CHUNK)
            array.attrs["resolution"] = VOXEL_SIZE


class TestMrcFile(ImageFile):
    file = "em.mrc"
    voxel_size = VOXEL_SIZE

    def write(self, folder):
        with mrcfile.new(folder) as file:
            file.set_data(truth().astype(np.int8))
            file.voxel_size = (40, 40, 80)
        data = bytearray(folder.read_bytes())
        # IMOD's mark, without the flag of signed bytes.
        data[152:160] = np.array([1146047817, 0], "<i4").tobytes()
        folder.write_bytes(data)


class TestTiffFolder(ImageFile):
    file = "planes"
    damage = "em_11.tif"

    def write(self, folder):
        folder.mkdir()
        for index, plane in enumerate(truth()):
            tifffile.imwrite(folder / f"em_{index}.tif", plane)

    def test_what_is_not_there_names_what_is(self, shared):
        with pytest.raises(NotFoundError, match="nearest folder that exists"):
            open_volume(shared[0], dataset="no/such/array")


class TestPngFolder(TestTiffFolder):
    damage = "em_11.png"

    def write(self, folder):
        folder.mkdir()
        for index, plane in enumerate(truth()):
            Image.fromarray(plane).save(folder / f"em_{index}.png")


class TestOmeZarrOnS3(TestOmeZarr04):
    place = "s3"


class TestN5OnS3(TestN5Pyramid):
    place = "s3"


class TestContainerOnS3(TestOpenOrganelleContainer):
    place = "s3"


class TestOmeZarrOverHttp(TestOmeZarr05):
    place = "http"

    def test_failing_server_is_an_error_and_not_zeros(self, own, web):
        volume = open_volume(own[0], cloud=own[1])
        with web.failing("s0/c/0/0/0"), pytest.raises(ResourceError) as error:
            volume.read(Roi((0, 0, 0), (2, 2, 2)))
        assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
        # It passed: the same volume reads on.
        assert volume.read(Roi((0, 0, 0), (1, 1, 1))) == truth()[0, 0, 0]


class TestOmeZarrOnGoogle(TestOmeZarr04):
    place = "google"


class TestPrecomputedShardsOnGoogle(TestPrecomputedShards):
    place = "google"


class TestContainerOnGoogle(TestOpenOrganelleContainer):
    place = "google"


class TestPrecomputedOverHttp(TestPrecomputed):
    place = "http"


def test_private_bucket_opens_with_keys_and_is_refused_without(s3, tmp_path):
    write_zarr_pyramid(tmp_path / "private", 2)
    s3.upload(tmp_path / "private", "private", public=False)
    keys = CloudSettings(s3.endpoint, "test", "test", "us-east-1")
    volume = open_volume(s3.url("private"), cloud=keys)
    np.testing.assert_array_equal(volume.read(volume.bounds), truth())
    with pytest.raises(ResourceError, match="AWS_ACCESS_KEY_ID") as error:
        open_volume(s3.url("private"), cloud=CloudSettings(s3.endpoint))
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE


def test_unreachable_server_is_named():
    with pytest.raises(ResourceError, match="cannot be reached"):
        open_volume("http://127.0.0.1:9/em.zarr")


def test_document_that_is_too_large_is_not_fetched(s3, tmp_path):
    spaces = b" " * (2**24 + 1)
    s3.put("large.zarr/zarr.json", spaces)
    cloud = CloudSettings(endpoint_url=s3.endpoint)
    with pytest.raises(FormatError, match=r"zarr\.json has more than 16777216 bytes"):
        open_volume(s3.url("large.zarr"), cloud=cloud)
    with zipfile.ZipFile(tmp_path / "large.zip", "w") as archive:
        archive.writestr("zarr.json", spaces)
    with pytest.raises(FormatError, match=r"zarr\.json has more than 16777216 bytes"):
        open_volume(str(tmp_path / "large.zip"))
