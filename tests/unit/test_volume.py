"""Opening volumes: what is accepted, what is refused and how it says so."""

import json
import re

import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore as ts
import zarr
from PIL import Image

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
)
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.volume import IMAGE_DTYPES, open_volume


def write(folder, array, zarr_format=2, chunks=None, **more):
    chunks = chunks or tuple(min(32, max(1, side)) for side in array.shape)
    stored = zarr.create_array(
        folder, shape=array.shape, chunks=chunks, dtype=array.dtype, zarr_format=zarr_format, **more
    )
    stored[...] = array
    return str(folder)


def ramp(shape, dtype=np.uint8):
    return (np.arange(np.prod(shape)) % 120).astype(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES)
def test_image_dtypes_read_as_they_are(tmp_path, dtype):
    truth = ramp((5, 6, 7), dtype)
    volume = open_volume(write(tmp_path / "a", truth))
    assert volume.dtype == np.dtype(dtype)
    voxels = volume.read(volume.bounds)
    assert voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(voxels, truth)


def test_float64_is_read_as_float32(tmp_path):
    truth = np.linspace(0, 1, 60).reshape(3, 4, 5)
    volume = open_volume(write(tmp_path / "a", truth))
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.read(volume.bounds), truth.astype(np.float32))


def test_big_endian_voxels_are_read_in_native_order(tmp_path):
    truth = ramp((3, 4, 5), ">u2")
    volume = open_volume(write(tmp_path / "a", truth))
    assert volume.read(volume.bounds).dtype.isnative
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "bool", "complex64", "float16"])
def test_other_dtypes_are_refused_by_name(tmp_path, dtype):
    path = write(tmp_path / "a", np.zeros((3, 4, 5), dtype))
    with pytest.raises(FormatError, match=dtype) as error:
        open_volume(path)
    assert error.value.kind is ErrorKind.UNSUPPORTED_DTYPE


@pytest.mark.parametrize("shape", [(8,), (8, 9), (2, 3, 8, 9)])
def test_other_ranks_are_refused_by_their_shape(tmp_path, shape):
    path = write(tmp_path / "a", np.zeros(shape, np.uint8))
    with pytest.raises(FormatError, match=re.escape(f"{len(shape)} axes")) as error:
        open_volume(path)
    assert error.value.kind is ErrorKind.UNSUPPORTED_RANK


def test_array_without_voxels_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(0, 4, 4), chunks=(1, 4, 4), dtype="u1")
    with pytest.raises(FormatError, match="no voxel"):
        open_volume(str(tmp_path / "a"))


def test_single_time_point_and_channel_are_dropped(tmp_path):
    truth = ramp((1, 1, 5, 6, 7))
    volume = open_volume(write(tmp_path / "a", truth))
    np.testing.assert_array_equal(volume.read(volume.bounds), truth[0, 0])


def test_named_axes_are_put_in_order(tmp_path):
    truth = ramp((7, 6, 5))
    path = write(tmp_path / "a", truth, zarr_format=3, dimension_names=["x", "y", "z"])
    volume = open_volume(path)
    assert volume.bounds.shape == (5, 6, 7)
    np.testing.assert_array_equal(volume.read(volume.bounds), truth.T)


def test_xarray_names_its_axes(tmp_path):
    truth = ramp((7, 6, 5))
    path = write(tmp_path / "a", truth, attributes={"_ARRAY_DIMENSIONS": ["x", "z", "y"]})
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(volume.bounds), truth.transpose(1, 2, 0))


def test_given_voxel_size_overrules_and_is_not_assumed(tmp_path):
    path = write(tmp_path / "a", ramp((5, 6, 7)))
    assert open_volume(path).voxel_size_is_assumed
    assert open_volume(path).levels[0].voxel_size == (10, 10, 10)
    volume = open_volume(path, voxel_size=(40, 6, 6), name="mouse")
    assert (volume.name, volume.levels[0].voxel_size) == ("mouse", (40, 6, 6))
    assert not volume.voxel_size_is_assumed


@pytest.mark.parametrize("size", [(0, 1, 1), (1, -1, 1), (1, float("nan"), 1)])
def test_impossible_voxel_size_is_refused(tmp_path, size):
    with pytest.raises(InvalidInputError, match="positive lengths"):
        open_volume(write(tmp_path / "a", ramp((5, 6, 7))), voxel_size=size)


def pyramid(folder, scales, **multiscale):
    datasets = []
    for index, scale in enumerate(scales):
        write(folder / f"s{index}", ramp([max(1, 32 // scale[a]) for a in range(3)]))
        steps = [{"type": "scale", "scale": list(scale)}]
        datasets.append({"path": f"s{index}", "coordinateTransformations": steps})
    axes = [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    document = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    document["multiscales"][0].update(multiscale)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(document))
    return str(folder)


def test_level_alone_knows_its_voxel_size_from_the_group(tmp_path):
    path = pyramid(tmp_path / "em", [(1, 1, 1), (2, 2, 2)])
    volume = open_volume(path, dataset="s1")
    assert volume.levels[0].voxel_size == (2, 2, 2)
    assert not volume.voxel_size_is_assumed


def test_levels_are_sorted_finest_first(tmp_path):
    path = pyramid(tmp_path / "em", [(4, 4, 4), (1, 1, 1), (2, 2, 2)])
    sizes = [level.voxel_size[0] for level in open_volume(path).levels[:3]]
    assert sizes == [1, 2, 4]


def test_level_that_is_missing_is_named(tmp_path):
    path = pyramid(tmp_path / "em", [(1, 1, 1), (2, 2, 2)])
    (tmp_path / "em/s1/.zarray").unlink()
    with pytest.raises(NotFoundError, match="em/s1"):
        open_volume(path)


def test_levels_of_different_types_are_refused(tmp_path):
    path = pyramid(tmp_path / "em", [(1, 1, 1)])
    write(tmp_path / "em/s1", ramp((16, 16, 16), np.uint16))
    document = json.loads((tmp_path / "em/.zattrs").read_text())
    document["multiscales"][0]["datasets"].append({"path": "s1"})
    (tmp_path / "em/.zattrs").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="different types") as error:
        open_volume(path)
    assert error.value.kind is ErrorKind.UNSUPPORTED_DTYPE


@pytest.mark.parametrize("opened", ["em", "."])
def test_paintera_levels_are_a_pyramid_without_group_metadata(tmp_path, opened):
    factors = ([1, 1, 1], [2, 2, 1])
    for index, factor in enumerate(factors):
        shape = [64 // factor[0], 48 // factor[1], 20]
        spec = {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{tmp_path}/em/s{index}/"},
            "metadata": {"dimensions": shape, "blockSize": [16] * 3, "dataType": "uint8",
                         "compression": {"type": "gzip"}, "downsamplingFactors": factor,
                         "resolution": [4, 4, 40], "units": ["nm"] * 3},
        }  # fmt: skip
        ts.open(spec, create=True).result()
    volume = open_volume(str(tmp_path / opened))
    assert volume.name == "em"
    assert [level.voxel_size for level in volume.levels[:2]] == [(40, 4, 4), (40, 8, 8)]
    assert volume.levels[1].shape == (20, 24, 32)


def test_virtual_levels_are_area_means(tmp_path):
    truth = ramp((70, 66, 130))
    volume = open_volume(write(tmp_path / "a", truth))
    assert volume.stored_levels == 1
    assert [level.shape for level in volume.levels] == [(70, 66, 130), (35, 33, 65), (18, 17, 33)]
    means = truth.reshape(35, 2, 33, 2, 65, 2).mean((1, 3, 5))
    np.testing.assert_array_equal(volume.read(volume.level_bounds(1), 1), np.rint(means))


def test_virtual_levels_of_a_huge_array_stay_cheap_to_read(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(4096,) * 3, chunks=(64,) * 3, dtype="u1")
    volume = open_volume(str(tmp_path / "a"))
    assert [level.voxel_size[0] for level in volume.levels] == [10, 20, 40, 80]


def test_levels_grow_towards_isotropy(tmp_path):
    path = write(tmp_path / "a", np.zeros((20, 256, 256), np.uint8))
    sizes = [level.voxel_size for level in open_volume(path, voxel_size=(40, 10, 10)).levels]
    assert sizes == [(40, 10, 10), (40, 20, 20), (40, 40, 40)]


def test_level_that_does_not_exist_is_refused(tmp_path):
    volume = open_volume(write(tmp_path / "a", ramp((5, 6, 7))))
    for level in (-1, 1):
        with pytest.raises(InvalidInputError, match="levels are 0 to 0"):
            volume.read(volume.bounds, level)


def test_empty_region_is_refused(tmp_path):
    volume = open_volume(write(tmp_path / "a", ramp((5, 6, 7))))
    with pytest.raises(InvalidInputError) as error:
        volume.read(Roi((1, 1, 1), (0, 2, 2)))
    assert error.value.kind is ErrorKind.ROI_EMPTY


def test_one_image_in_a_container_is_found(tmp_path):
    truth = ramp((5, 6, 7))
    write(tmp_path / "box/deep/em", truth)
    write(tmp_path / "box/table", np.zeros((4, 2)))
    volume = open_volume(str(tmp_path / "box"))
    assert volume.name == "em"
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_list_the_images(tmp_path, zarr_format):
    group = zarr.create_group(tmp_path / "box", zarr_format=zarr_format)
    for name in ("raw", "aligned"):
        group.create_array(name, shape=(4, 4, 4), chunks=(4, 4, 4), dtype="u1")
    zarr.consolidate_metadata(tmp_path / "box") if zarr_format == 2 else None
    with pytest.raises(InvalidInputError, match="aligned, raw") as error:
        open_volume(str(tmp_path / "box"))
    assert error.value.kind is ErrorKind.INVALID_PARAMETER


def test_path_that_is_not_there_names_the_nearest_parent(tmp_path):
    with pytest.raises(NotFoundError) as error:
        open_volume(str(tmp_path / "no/such.zarr"))
    assert str(error.value).endswith(f"nearest folder that exists is {tmp_path}.")
    assert error.value.kind is ErrorKind.PATH_NOT_FOUND


def test_folder_without_arrays_is_refused(tmp_path):
    (tmp_path / "info").write_text("Notes of the microscopist")
    with pytest.raises(FormatError, match="holds no image") as error:
        open_volume(str(tmp_path))
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT


def test_file_that_cannot_be_read_by_region_is_sent_to_import(tmp_path):
    np.savez_compressed(tmp_path / "em.npz", em=ramp((5, 6, 7)))
    with pytest.raises(FormatError, match="mitoglance import"):
        open_volume(str(tmp_path / "em.npz"))
    (tmp_path / "em.doc").write_bytes(b"?")
    with pytest.raises(FormatError, match="none of the image files"):
        open_volume(str(tmp_path / "em.doc"))


def linked_hdf5(folder, how):
    """An HDF5 file whose only image lies in another file."""
    with h5py.File(folder / "secret.h5", "w") as file:
        file["em"] = ramp((5, 6, 7))
    (folder / "secret.raw").write_bytes(bytes(210))
    with h5py.File(folder / "em.h5", "w") as file:
        if how == "external link":
            file["em"] = h5py.ExternalLink(str(folder / "secret.h5"), "em")
        elif how == "virtual":
            layout = h5py.VirtualLayout((5, 6, 7), "u1")
            layout[...] = h5py.VirtualSource(str(folder / "secret.h5"), "em", (5, 6, 7))
            file.create_virtual_dataset("em", layout)
        else:
            place = [(str(folder / "secret.raw"), 0, 210)]
            file.create_dataset("em", (5, 6, 7), "u1", external=place)
    return str(folder / "em.h5")


@pytest.mark.parametrize("how", ["external link", "virtual", "external storage"])
def test_hdf5_cannot_name_other_files(tmp_path, how):
    with pytest.raises(FormatError, match=r"other files|it holds nothing"):
        open_volume(linked_hdf5(tmp_path, how))


def test_pictures_in_colour_are_refused_and_grey_ones_are_not(tmp_path):
    grey = np.repeat(ramp((6, 7))[..., None], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "0.png")
    volume = open_volume(str(tmp_path))
    np.testing.assert_array_equal(volume.read(volume.bounds)[0], ramp((6, 7)))
    grey[0, 0] = 1, 2, 3
    Image.fromarray(grey).save(tmp_path / "1.png")
    volume = open_volume(str(tmp_path))
    with pytest.raises(ResourceError, match=r"1\.png is a picture in colour"):
        volume.read(volume.bounds)


def test_picture_beside_arrays_does_not_make_them_a_stack(tmp_path):
    write(tmp_path / "em", ramp((5, 6, 7)))
    Image.fromarray(ramp((6, 7))).save(tmp_path / "thumbnail.jpg")
    assert open_volume(str(tmp_path)).bounds.shape == (5, 6, 7)


def test_mrc_axes_and_voxel_size_are_those_of_its_header(tmp_path):
    truth = ramp((7, 6, 5), np.int16)
    with mrcfile.new(tmp_path / "em.mrc") as file:
        file.set_data(truth)
        file.voxel_size = (40, 60, 80)
        # Columns are z, rows y and sections x.
        file.header.mapc, file.header.mapr, file.header.maps = 3, 2, 1
    volume = open_volume(str(tmp_path / "em.mrc"))
    assert volume.levels[0].voxel_size == pytest.approx((8, 6, 4))
    np.testing.assert_array_equal(volume.read(volume.bounds), truth.transpose(2, 1, 0))


@pytest.mark.parametrize("name", [".zarray", "zarr.json", "attributes.json", ".zattrs"])
@pytest.mark.parametrize("text", ["{", "[1]", "<html>not found</html>"])
def test_broken_metadata_are_refused_with_their_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=re.escape(name)) as error:
        open_volume(str(tmp_path))
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT


def test_codec_that_is_unknown_is_refused(tmp_path):
    path = write(tmp_path / "a", ramp((5, 6, 7)))
    document = json.loads((tmp_path / "a/.zarray").read_text())
    document["compressor"] = {"id": "own-invention"}
    (tmp_path / "a/.zarray").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="own-invention"):
        open_volume(path)


def test_format_in_front_is_obeyed(tmp_path):
    path = write(tmp_path / "a", ramp((5, 6, 7)))
    assert open_volume(f"zarr://{path}").bounds == open_volume(f"zarr2://{path}").bounds
    with pytest.raises(FormatError, match="no image"):
        open_volume(f"n5://{path}")


def test_truncated_uncompressed_chunk_is_an_error(tmp_path):
    path = write(tmp_path / "a", ramp((5, 6, 7)), compressors=None)
    chunk = tmp_path / "a/0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    volume = open_volume(path)
    with pytest.raises(ResourceError, match="damaged"):
        volume.read(volume.bounds)
