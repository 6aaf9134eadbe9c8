"""Addresses are understood, keys are kept secret, and metadata mean what they say."""

import pytest
import tensorstore as ts

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.sources.grids import (
    ASSUMED_VOXEL_SIZE,
    Grid,
    pick_spatial_axes,
    resolve_voxel_sizes,
)
from segmentation_backend.sources.metadata import array_grid, group_levels, precomputed_levels
from segmentation_backend.sources.specs import CloudSettings, locate

NM = ("nm", "nm", "nm")


@pytest.mark.parametrize(
    ("address", "kind", "driver", "root", "path", "name"),
    [
        ("/data/em.zarr/", None, "file", "/", "data/em.zarr", "em.zarr"),
        ("file:///data/em%20one", None, "file", "/", "data/em one", "em one"),
        ("/data/../data/.hidden", None, "file", "/", "data/.hidden", ".hidden"),
        ("zarr:///data/em", "zarr", "file", "/", "data/em", "em"),
        ("s3://bucket/a//b/", None, "s3", "bucket", "a/b", "b"),
        ("zarr3://s3://bucket/a", "zarr3", "s3", "bucket", "a", "a"),
        ("s3://bucket/a|zarr2:", "zarr2", "s3", "bucket", "a", "a"),
        ("n5://https://server:8080/x/y", "n5", "http", "https://server:8080", "x/y", "y"),
        ("precomputed://gs://flyem/em", "precomputed", "gcs", "flyem", "em", "em"),
        ("gs://bucket", None, "gcs", "bucket", "", "bucket"),
        ("http://server/v?token=1", None, "http", "http://server?token=1", "v", "v"),
        ("s3+http://127.0.0.1:9000/bucket/k", None, "s3", "bucket", "k", "k"),
    ],
)
def test_address_is_taken_apart(address, kind, driver, root, path, name):
    place = locate(address)
    assert (place.format, place.driver, place.root, place.path) == (kind, driver, root, path)
    assert place.name == name
    # Tensorstore agrees that this is a key-value store.
    assert ts.KvStore.Spec(place.kvstore()).to_json()["driver"] == driver


@pytest.mark.parametrize(
    ("address", "archive", "path", "name"),
    [
        ("gs://bucket/a/em.zip", "a/em.zip", "", "em"),
        ("gs://bucket/a/em.ZIP/recon-1/em/", "a/em.ZIP", "recon-1/em", "em"),
        ("gs://bucket/em.zip|zip:recon-1|zarr3:", "em.zip", "recon-1", "recon-1"),
        ("n5://gs://bucket/em.zip/s0", "em.zip", "s0", "s0"),
    ],
)
def test_an_archive_on_google_is_taken_apart(address, archive, path, name):
    place = locate(address)
    assert (place.driver, place.root, place.archive, place.path) == ("gcs", "bucket", archive, path)
    assert (place.name, place.local_path) == (name, None)
    spec = ts.KvStore.Spec(place.kvstore()).to_json()
    assert (spec["driver"], spec["base"]["driver"], spec["base"]["path"]) == ("zip", "gcs", archive)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "  ",
        "ftp://server/x",
        "s3://",
        "zarr://",
        "https://",
        "s3:///key",
        "/a|png:",
        "http://#",
    ],
)
def test_address_without_a_meaning_is_refused(address):
    with pytest.raises(InvalidInputError, match="Give a local path or a URL") as error:
        locate(address)
    assert error.value.kind is ErrorKind.INVALID_PARAMETER


def test_relative_path_starts_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("em.zarr").local_path == tmp_path / "em.zarr"
    assert locate("s3://bucket/key").local_path is None


def test_child_and_parent_are_inverse():
    place = locate("s3://bucket/em.zarr")
    child = place.child("recon-1/em/")
    assert (child.url, child.path) == ("s3://bucket/em.zarr/recon-1/em", "em.zarr/recon-1/em")
    assert child.parent.parent == place
    assert place.parent.path == ""
    assert place.parent.parent is None
    assert place.child("./") == place


def test_child_cannot_climb_out():
    with pytest.raises(InvalidInputError, match="must lie below"):
        locate("/data/em").child("../other")


def test_s3_is_anonymous_without_keys():
    spec = locate("s3://bucket/key").kvstore()
    assert spec["aws_credentials"] == {"type": "anonymous"}
    assert "endpoint" not in spec
    assert "aws_region" not in spec


def test_s3_uses_the_settings_given():
    cloud = CloudSettings("http://127.0.0.1:1/", "who", "what", "eu-west-1", "token")
    spec = locate("s3://bucket/key", cloud).kvstore()
    assert spec["endpoint"] == "http://127.0.0.1:1"
    assert spec["aws_region"] == "eu-west-1"
    with open(spec["aws_credentials"]["credentials_file"]) as file:
        text = file.read()
    assert "aws_access_key_id=who" in text
    assert "aws_secret_access_key=what" in text
    assert "aws_session_token=token" in text


def test_keys_do_not_show():
    cloud = CloudSettings("http://127.0.0.1:1", "who-am-i", "my-secret")
    place = locate("s3://bucket/key", cloud)
    for text in (repr(cloud), repr(place), str(place.kvstore())):
        assert "my-secret" not in text
        assert "who-am-i" not in text


def test_query_of_a_signed_address_does_not_show():
    assert "token" not in locate("https://server/v.zarr?token=1").url


def ngff(datasets, axes=None, **more):
    axes = axes or [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"]
    return {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets, **more}]}


def level(path, scale, translation=None):
    steps = [{"type": "scale", "scale": scale}]
    if translation:
        steps.append({"type": "translation", "translation": translation})
    return {"path": path, "coordinateTransformations": steps}


def test_ngff_levels_carry_scale_and_path():
    levels = group_levels(ngff([level("s0", [8, 8, 8]), level("s1", [16, 16, 16])]), is_n5=False)
    assert [each.path for each in levels] == ["s0", "s1"]
    assert levels[1].grid.spatial() == ((16, 16, 16), ("nanometer",) * 3)


def test_ngff_05_lies_under_ome():
    document = {"ome": {"version": "0.5", **ngff([level("0", [8, 8, 8])])}}
    assert group_levels(document, is_n5=False)[0].grid.scale == (8, 8, 8)


def test_group_transformations_apply_after_the_level_s_own():
    document = ngff(
        [level("0", [1, 1, 1]), level("1", [2, 2, 2], [0.5, 0.5, 0.5])],
        coordinateTransformations=[{"type": "scale", "scale": [8, 4, 4]}],
    )
    levels = group_levels(document, is_n5=False)
    assert levels[1].grid.scale == (16, 8, 8)
    assert levels[1].grid.translation == (4, 2, 2)


@pytest.mark.parametrize("shift", [None, [4, 4, 4], [16, 0, 8]])
def test_levels_shifted_by_up_to_a_voxel_are_one_pyramid(shift):
    levels = group_levels(ngff([level("a", [8] * 3), level("b", [16] * 3, shift)]), is_n5=False)
    assert len(levels) == 2


def test_levels_that_show_different_places_are_refused():
    document = ngff([level("a", [8] * 3), level("b", [16] * 3, [4, 400, 4])])
    with pytest.raises(FormatError, match="along y from level 'a'"):
        group_levels(document, is_n5=False)


@pytest.mark.parametrize(
    "document",
    [
        {"multiscales": []},
        {"multiscales": "em"},
        {"multiscales": [{"datasets": "s0"}]},
        {"multiscales": [{"datasets": []}]},
        {"multiscales": [{"datasets": [{"name": "s0"}]}]},
        ngff([level("s0", [8, 8])]),
        ngff([level("s0", [8, 0, 8])]),
        ngff([level("s0", [8, float("nan"), 8])]),
        ngff([level("s0", ["8", 8, 8])]),
        ngff([{"path": "0", "coordinateTransformations": [{"type": "affine"}, {"type": "scale"}]}]),
        ngff([{"path": "0", "coordinateTransformations": 5}]),
        ngff([level("s0", [8, 8, 8])], axes="zyx"),
        ngff([level("s0", [8, 8, 8])], axes=[1, 2, 3]),
    ],
)
def test_contradictory_metadata_are_refused_with_their_member(document):
    with pytest.raises(FormatError, match="cannot be used") as error:
        group_levels(document, is_n5=False)
    assert error.value.kind is ErrorKind.UNSUPPORTED_FORMAT


def test_old_ngff_without_transformations_has_paths_only():
    document = {"multiscales": [{"version": "0.1", "datasets": [{"path": "0"}, {"path": "1"}]}]}
    levels = group_levels(document, is_n5=False)
    assert [(each.path, each.axes, each.grid) for each in levels] == [
        ("0", None, None),
        ("1", None, None),
    ]


def test_plain_group_is_no_pyramid():
    assert group_levels({"description": "folder"}, is_n5=False) is None
    assert group_levels({"scales": [[1, 1, 1]]}, is_n5=False) is None


def test_cellmap_n5_names_its_axes_inside_multiscales():
    document = {
        "axes": ["x", "y", "z"],
        "units": ["nm"] * 3,
        "pixelResolution": {"dimensions": [4.0, 4.0, 4.56], "unit": "nm"},
        "scales": [[1, 1, 1], [2, 2, 2]],
        "multiscales": [
            {
                "datasets": [
                    {"path": f"s{k}", "transform": {
                        "axes": ["z", "y", "x"],
                        "scale": [4.56 * 2**k, 4 * 2**k, 4 * 2**k],
                        "translate": [2.28 * k, 2 * k, 2 * k],
                        "units": ["nm"] * 3,
                    }}
                    for k in range(2)
                ]
            }
        ],
    }  # fmt: skip
    levels = group_levels(document, is_n5=True)
    assert levels[1].path == "s1"
    assert levels[1].grid.spatial() == ((9.12, 8, 8), NM)


@pytest.mark.parametrize("key", ["scales", "downsamplingFactors"])
def test_n5_factors_multiply_the_resolution_and_are_x_first(key):
    document = {"resolution": [4, 5, 30], "units": ["nm"] * 3, key: [[1, 1, 1], [2, 2, 1]]}
    levels = group_levels(document, is_n5=True)
    assert [each.grid.spatial()[0] for each in levels] == [(30, 5, 4), (30, 10, 8)]


def test_n5_transform_in_either_order_means_the_same():
    forward = {"axes": ["z", "y", "x"], "scale": [3, 2, 1], "units": ["nm"] * 3}
    backward = {"axes": ["x", "y", "z"], "scale": [1, 2, 3], "units": ["nm"] * 3}
    grids = [array_grid({"transform": each}, is_n5=True) for each in (forward, backward)]
    assert grids[0] == grids[1]


def test_precomputed_resolution_is_x_first():
    levels = precomputed_levels({"scales": [{"resolution": [4, 5, 30]}]})
    assert levels[0].grid.spatial()[0] == (30, 5, 4)
    with pytest.raises(FormatError, match="scales"):
        precomputed_levels({"scales": []})


@pytest.mark.parametrize(
    ("axes", "shape", "order"),
    [
        (None, (5, 6, 7), (0, 1, 2)),
        (("z", "y", "x"), (5, 6, 7), (0, 1, 2)),
        (("x", "y", "z"), (5, 6, 7), (2, 1, 0)),
        (("t", "c", "z", "y", "x"), (1, 1, 5, 6, 7), (2, 3, 4)),
        (("z", "y", "x", "c"), (5, 6, 7, 1), (0, 1, 2)),
        (None, (1, 1, 5, 6, 7), (2, 3, 4)),
        (None, (5, 6, 7, 1), (0, 1, 2)),
        (None, (1, 1, 6, 7), (1, 2, 3)),
        (None, (1, 1, 1), (0, 1, 2)),
        (("a", "b", "c"), (5, 6, 7), (0, 1, 2)),
    ],
)
def test_spatial_axes_are_found(axes, shape, order):
    assert pick_spatial_axes(axes, shape, "em") == order


@pytest.mark.parametrize(
    ("axes", "shape", "found"),
    [
        (("t", "z", "y", "x"), (3, 5, 6, 7), "t=3"),
        (("c", "z", "y", "x"), (2, 5, 6, 7), "c=2"),
        (None, (2, 5, 6, 7), "(2, 5, 6, 7)"),
        (None, (6, 7), "(6, 7)"),
        (None, (), "0 axes"),
    ],
)
def test_other_ranks_are_refused_with_what_was_found(axes, shape, found):
    with pytest.raises(FormatError) as error:
        pick_spatial_axes(axes, shape, "em")
    assert found in str(error.value)
    assert error.value.kind is ErrorKind.UNSUPPORTED_RANK


def grid(scale, units):
    return Grid(("z", "y", "x"), scale, (units,) * 3)


@pytest.mark.parametrize(
    ("scale", "unit", "size", "assumed"),
    [
        ((8, 4, 4), "nm", (8, 4, 4), False),
        ((0.04, 0.006, 0.006), "micrometer", (40, 6, 6), False),
        ((80, 40, 40), "angstrom", (8, 4, 4), False),
        ((8e-9, 4e-9, 4e-9), "meter", (8, 4, 4), False),
        ((8, 4, 4), None, (8, 4, 4), True),
        ((0.04, 0.006, 0.006), None, (40, 6, 6), True),
        ((4, 1, 1), None, (40, 10, 10), True),
    ],
)
def test_units_become_nanometres(scale, unit, size, assumed):
    sizes, is_assumed = resolve_voxel_sizes([grid(scale, unit)], [(9, 9, 9)], None)
    assert sizes[0] == pytest.approx(size)
    assert is_assumed is assumed


def test_unknown_unit_is_refused_unless_the_size_is_given():
    grids = [grid((1, 1, 1), "parsec")]
    with pytest.raises(FormatError, match="or give the voxel size yourself"):
        resolve_voxel_sizes(grids, [(9, 9, 9)], None)
    assert resolve_voxel_sizes(grids, [(9, 9, 9)], (4, 4, 4)) == (((4, 4, 4),), False)


def test_given_size_scales_the_coarser_levels_too():
    grids = [grid((8, 8, 8), "nm"), grid((16, 16, 8), "nm")]
    sizes, assumed = resolve_voxel_sizes(grids, [(9, 9, 9), (5, 5, 9)], (5, 5, 40))
    assert sizes == ((5, 5, 40), (10, 10, 40))
    assert not assumed


def test_levels_without_a_scale_get_it_from_their_shape():
    sizes, assumed = resolve_voxel_sizes([None, None], [(40, 101, 100), (40, 51, 50)], None)
    assert sizes == (ASSUMED_VOXEL_SIZE, (10, 20, 20))
    assert assumed
