"""What is shown black and white: measured, stated by the file or by a catalogue, and decided."""

import json
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from app.shading import shader_controls
from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.sources import volume as volume_module
from segmentation_backend.sources.catalogue import ShownRange
from segmentation_backend.sources.contrast import (
    Contrast,
    StatedRange,
    choose_range,
    measure,
    stated_range,
)
from segmentation_backend.sources.importing import import_image
from segmentation_backend.sources.volume import open_volume
from segmentation_backend.workspace import VolumeInfo, Workspace

NARROW = Contrast(29_000, 600, 27_000, 31_000)


def write(folder, array, chunks=None, **attributes):
    chunks = chunks or tuple(min(32, side) for side in array.shape)
    stored = zarr.create_array(
        folder, shape=array.shape, chunks=chunks, dtype=array.dtype, zarr_format=2
    )
    stored[...] = array
    stored.attrs.update(attributes)
    return str(folder)


def ramp(shape):
    return (np.arange(np.prod(shape)) % 120).astype(np.uint8).reshape(shape)


# ---- measured ------------------------------------------------------------------------------------


def test_contrast_leaves_padding_out(tmp_path):
    truth = np.random.default_rng(0).normal(120, 10, (40, 64, 64)).clip(1, 254).astype(np.uint8)
    padded = np.pad(truth, ((0, 0), (0, 64), (0, 0)))
    plain = open_volume(write(tmp_path / "a", truth)).contrast()
    contrast = open_volume(write(tmp_path / "b", padded)).contrast()
    assert contrast.mean == pytest.approx(plain.mean, abs=1)
    assert contrast.std == pytest.approx(plain.std, rel=0.05)
    assert contrast.low > 50


def test_contrast_keeps_rare_extremes(tmp_path):
    truth = ramp((20, 20, 20))
    contrast = open_volume(write(tmp_path / "a", truth)).contrast()
    assert contrast.mean == pytest.approx(truth.mean())
    assert contrast.low == pytest.approx(np.percentile(truth, 0.5))
    assert contrast.high == pytest.approx(np.percentile(truth, 99.5))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_contrast_of_a_constant_can_be_divided_by(tmp_path, value):
    path = write(tmp_path / "a", np.full((8, 8, 8), value, np.uint8))
    contrast = open_volume(path).contrast()
    assert contrast.std > 0
    assert contrast.high > contrast.low


def test_contrast_ignores_what_is_not_a_number(tmp_path):
    truth = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 10, 10)
    truth[0, 0, :] = np.nan
    contrast = open_volume(write(tmp_path / "a", truth)).contrast()
    assert contrast.mean == pytest.approx(np.nanmean(truth), abs=1e-3)


def test_contrast_of_a_big_volume_reads_a_sample(tmp_path, monkeypatch):
    truth = np.random.default_rng(0).normal(120, 20, (96, 96, 96)).clip(1, 254).astype(np.uint8)
    path = write(tmp_path / "a", truth, chunks=(16, 16, 16))
    monkeypatch.setattr(volume_module, "_SAMPLE_VOXELS", 1000)
    contrast = open_volume(path).contrast()
    assert contrast.mean == pytest.approx(truth.mean(), abs=2)
    assert contrast.std == pytest.approx(truth.std(), rel=0.1)


def test_contrast_survives_one_damaged_chunk(tmp_path):
    path = write(tmp_path / "a", ramp((64, 64, 64)))
    (tmp_path / "a/0.0.0").write_bytes(b"rubbish")
    assert open_volume(path).contrast().mean == pytest.approx(59.5, abs=2)


def test_contrast_of_an_unreadable_volume_is_an_error(tmp_path):
    path = write(tmp_path / "a", ramp((5, 6, 7)))
    (tmp_path / "a/0.0.0").write_bytes(b"rubbish")
    with pytest.raises(ResourceError) as error:
        open_volume(path).contrast()
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE


@pytest.mark.parametrize("padding", [0, 65535])
def test_little_padding_far_from_all_greys_is_left_out(padding):
    greys = np.random.default_rng(0).normal(29_000, 600, 100_000).astype(np.uint16)
    plain, padded = measure(greys), greys.copy()
    padded[:4000] = padding
    assert measure(padded).std == pytest.approx(plain.std, rel=0.05)
    assert (measure(padded).low, measure(padded).high) == pytest.approx((plain.low, plain.high), 50)


def test_the_least_of_a_signed_type_is_padding_too():
    greys = np.random.default_rng(0).normal(-200, 60, 100_000).astype(np.int16)
    greys[:30_000] = -32768
    contrast = measure(greys)
    assert contrast.low > -500
    assert contrast.high < 100


def test_a_black_that_the_greys_reach_is_no_padding():
    greys = np.random.default_rng(0).normal(60, 30, 100_000).clip(0, 255).astype(np.uint8)
    assert measure(greys).low == 0


# ---- stated --------------------------------------------------------------------------------------


def omero(**channel):
    return {"omero": {"channels": [channel]}}


WINDOW = {"start": 10, "end": 90, "min": 0, "max": 255}

SAID: dict[str, tuple[dict[str, Any], StatedRange | None]] = {
    "window": (omero(window=WINDOW, color="FFFFFF", coefficient=1), StatedRange(10, 90)),
    "0.5": ({"ome": omero(window=WINDOW)}, StatedRange(10, 90)),
    "inverted": (omero(window=WINDOW, inverted=True), StatedRange(10, 90, True)),
    "older-name": (omero(window=WINDOW, reverseIntensity=True), StatedRange(10, 90, True)),
    "texts": (
        omero(window={"start": "10", "end": "90.5"}, inverted="true"),
        StatedRange(10, 90.5, True),
    ),
    "ends-only": (omero(window={"min": 27000, "max": 31000}), StatedRange(27000, 31000)),
    "inverted-only": (omero(inverted=True), StatedRange(None, None, True)),
    "backwards": (omero(window={"start": 90, "end": 10}), None),
    "empty": (omero(window={"start": 9, "end": 9}, inverted=1), StatedRange(None, None, True)),
    "first-channel": (
        {"omero": {"channels": [{"window": WINDOW}, {"window": {"start": 0, "end": 1}}]}},
        StatedRange(10, 90),
    ),
    "no-channel": ({"omero": {"channels": []}}, None),
    "not-a-number": (omero(window={"start": float("nan"), "end": 5}), None),
    "nonsense": (omero(window=[1, 2, 3], inverted=[]), None),
    "site": (
        {"displaySettings": {"contrastLimits": {**WINDOW}, "invertLUT": True}},
        StatedRange(10, 90, True),
    ),
    "site-backwards": (
        {"displaySettings": {"contrastLimits": {"start": 90, "end": 10}}},
        StatedRange(10, 90, True),
    ),
    "pair": ({"contrast": [10, 90]}, StatedRange(10, 90)),
    "adjustment": ({"contrastAdjustment": {"min": 10, "max": 90}}, StatedRange(10, 90)),
    "another-contrast": ({"contrast": "high"}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("dialect", SAID)
def test_what_metadata_say_is_understood_or_left_out(dialect):
    attributes, expected = SAID[dialect]
    assert stated_range(attributes) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["omero", "channels", "window", "start", "end", "contrast", "inverted"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["omero", "ome", "contrast"]), json_values))
def test_no_metadata_keep_an_image_from_being_opened(attributes):
    said = stated_range(attributes)
    if said is not None and said.low is not None:
        assert said.high is not None
        assert said.low < said.high


@pytest.mark.parametrize("at", ["group", "array"])
def test_a_file_says_it_in_its_group_or_its_array(tmp_path, at):
    group = zarr.create_group(tmp_path / "em.zarr", zarr_format=2)
    array = group.create_array("s0", shape=(8, 8, 8), dtype=np.uint8)
    array[...] = 7
    level = {"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": [4, 4, 4]}]}
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    (group if at == "group" else array).attrs.update(omero(window=WINDOW, inverted=True))
    for where in ("em.zarr", "em.zarr/s0"):
        said = open_volume(str(tmp_path / where)).stated
        assert said == (None if (at, where) == ("array", "em.zarr") else (10, 90, True))


# ---- decided -------------------------------------------------------------------------------------


def decided(published, stated, contrast=NARROW, dtype="uint16"):
    shown, source = choose_range(published, stated, contrast, np.dtype(dtype))
    return (*shown, source)


PERCENTILES = (27_000, 31_000, False, "percentiles")


def test_the_catalogue_is_asked_before_the_file_and_the_file_before_percentiles():
    published, stated = ShownRange(26_000, 32_000, True), StatedRange(27_500, 30_500)
    assert decided(published, stated) == (26_000, 32_000, True, "catalogue")
    assert decided(None, stated) == (27_500, 30_500, False, "metadata")
    assert decided(None, None) == PERCENTILES


@pytest.mark.parametrize(
    "stated",
    [
        StatedRange(0, 65535),
        StatedRange(0, 65536),
        StatedRange(0, 40_000),
        StatedRange(0, 255),
        StatedRange(40_000, 50_000),
        StatedRange(-40_000, 40_000),
        StatedRange(27_000, 70_000),
    ],
    ids=str,
)
def test_a_range_in_which_nothing_is_seen_gives_way_to_percentiles(stated):
    assert decided(None, stated) == PERCENTILES
    # That it is inverted is said apart.
    assert decided(None, stated._replace(inverted=True)) == (27_000, 31_000, True, "percentiles")


def test_a_catalogues_nonsense_gives_way_too_but_not_what_it_says_of_inversion():
    everything, stated = ShownRange(0, 65535, True), StatedRange(27_500, 30_500)
    assert decided(everything, None) == (27_000, 31_000, True, "percentiles")
    assert decided(everything, stated) == (27_500, 30_500, True, "metadata")
    assert decided(ShownRange(24_444, 34_078), None, Contrast(90, 30, 10, 200), "uint8") == (
        10, 200, False, "percentiles"
    )  # fmt: skip
    # Publishers know how narrow their image is, even where the sample is all resin.
    assert decided(ShownRange(105, 182), None, Contrast(9, 1, 8, 10), "uint8")[3] == "catalogue"


@pytest.mark.parametrize(
    ("contrast", "stated", "dtype"),
    [
        (Contrast(120, 60, 3, 250), StatedRange(0, 255), "uint8"),
        (Contrast(0.5, 0.2, 0.1, 0.9), StatedRange(0.0, 1.0), "float32"),
        (Contrast(-200, 60, -400, 100), StatedRange(-500, 200), "int16"),
        (Contrast(5e8, 1e8, 2e8, 8e8), StatedRange(1e8, 9e8), "uint32"),
    ],
)
def test_sensible_ranges_of_every_type_are_kept(contrast, stated, dtype):
    assert decided(None, stated, contrast, dtype) == (*stated, "metadata")


# ---- kept and drawn ------------------------------------------------------------------------------


def test_a_volume_says_where_its_range_comes_from_and_remembers_it(tmp_path):
    greys = np.random.default_rng(0).integers(27_000, 31_001, (16, 32, 32)).astype(np.uint16)
    told = {"start": 26_000, "end": 32_000, "min": 0, "max": 65535}
    with_range = write(tmp_path / "told", greys, **omero(window=told, inverted=True))
    whole = write(tmp_path / "whole", greys, **omero(window={"start": 0, "end": 65535}))
    workspace = Workspace(tmp_path / "data")
    try:
        for name, image in (("told", with_range), ("whole", whole)):
            workspace.register(name, image, voxel_size=(8.0, 8.0, 8.0))
        said = json.loads(json.dumps(workspace.volume("told").to_json()))["contrast"]
        assert said == {"low": 26_000, "high": 32_000, "inverted": True, "source": "metadata"}
        said = workspace.volume("whole").to_json()["contrast"]
        assert (said["inverted"], said["source"]) == (False, "percentiles")
        assert 27_000 <= said["low"] < said["high"] <= 31_000
        # What is shown inverted is segmented inverted: networks know dark membranes.
        plan = workspace.plan_segmentation("told", Roi((0, 0, 0), (1, 32, 32)))
        assert plan.grey_range == (32_000, 26_000)
    finally:
        workspace.close()


KEPT: dict[str, dict[str, Any]] = {
    "window": omero(window={"start": 26_000, "end": 32_000}),
    "window-and-inverted": omero(window={"start": 26_000, "end": 32_000}, inverted=True),
    "inverted-only": omero(inverted=True),
    "nothing-is-seen": omero(window={"start": 0, "end": 65535}, inverted=True),
    "site": {"displaySettings": {"contrastLimits": {"start": 32_000, "end": 26_000}}},
    "nothing": {},
}


@pytest.mark.parametrize("said", KEPT)
def test_an_imported_copy_looks_as_its_source_looked(tmp_path, said):
    greys = np.random.default_rng(0).integers(27_000, 31_001, (16, 32, 32)).astype(np.uint16)
    source = write(tmp_path / "em", greys, **KEPT[said])
    workspace = Workspace(tmp_path / "data")
    try:
        opened = workspace.register("opened", source, voxel_size=(8.0, 8.0, 8.0))
        copied = workspace.register("copied", source, voxel_size=(8.0, 8.0, 8.0), in_place=False)
        assert copied.shown == opened.shown
        assert opened.shown.inverted == (said not in ("window", "nothing"))
        copy = workspace.image("copied")
        np.testing.assert_array_equal(copy.read(copy.bounds), greys)
    finally:
        workspace.close()
    ome = zarr.open_group(tmp_path / "data" / "images" / "copied.zarr", mode="r").attrs["ome"]
    assert ("omero" in ome) == (said != "nothing")
    for channel in ome.get("omero", {}).get("channels", ()):
        assert set(channel["window"]) == {"min", "max", "start", "end"}
        assert (channel["window"]["min"], channel["window"]["max"]) == (0, 65535)


def test_a_range_of_doubles_survives_an_import(tmp_path):
    greys = np.linspace(-1, 1, 512).reshape(8, 8, 8)
    source = write(tmp_path / "em", greys, **omero(window={"start": -0.5, "end": 0.75}))
    copy = open_volume(str(import_image(source, tmp_path / "copy.zarr")))
    assert copy.stated == (-0.5, 0.75, False)


def info(dtype, contrast, stated=None):
    levels = plan_levels((8, 8, 8), (8.0, 8.0, 8.0))
    return VolumeInfo(
        name="a",
        source="a.zarr",
        dtype=dtype,
        bounds=Roi((0, 0, 0), (8, 8, 8)),
        levels=levels,
        label_levels=levels,
        contrast=contrast,
        voxel_size_is_assumed=False,
        stated=stated,
    )


@pytest.mark.parametrize(
    ("dtype", "contrast", "shown", "window"),
    [
        ("uint8", Contrast(120, 9, 100.5, 140.2), [100, 141], [0, 255]),
        ("uint16", Contrast(29_000, 600, 27_000, 31_000), [27_000, 31_000], [23_000, 35_000]),
        ("uint16", Contrast(900, 600, 500, 3000), [500, 3000], [0, 5500]),
        ("int16", Contrast(-200, 60, -400, 100), [-400, 100], [-900, 600]),
        ("uint32", Contrast(2e5, 1e4, 1e5, 3e5), [1e5, 3e5], [0, 5e5]),
        ("float32", Contrast(0.5, 0.1, 0.25, 0.75), [0.25, 0.75], [-0.25, 1.25]),
    ],
)
def test_the_control_is_wide_enough_to_drag_and_no_wider_than_the_type(
    dtype, contrast, shown, window
):
    controls = shader_controls(info(dtype, contrast))
    assert controls == {"contrast": {"range": shown, "window": window}, "invert": False}


def test_an_inverted_volume_has_its_box_ticked():
    controls = shader_controls(info("uint16", NARROW, StatedRange(None, None, True)))
    assert controls["invert"] is True
    assert controls["contrast"]["range"] == [27_000, 31_000]
