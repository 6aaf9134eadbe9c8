"""The catalogue: what is shipped, what a user adds, what is found and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.sources.catalogue import ShownRange, merge_datasets
from segmentation_backend.sources.catalogue_format import (
    FORMAT,
    is_public_address,
    parse_catalogue,
    parse_dataset,
)
from segmentation_backend.sources.catalogue_store import DatasetCatalogue, shipped_catalogue

BUCKET = "s3://janelia-cosem-datasets/"


def catalogue_of(*datasets: dict[str, Any], **head: Any) -> bytes:
    return json.dumps({"format": FORMAT, "datasets": list(datasets), **head}).encode()


def cell(**members: Any) -> dict[str, Any]:
    em = [{"name": "em", "url": "s3://lab/cell.zarr", "format": "zarr"}]
    return {"name": "our-cell", "em": em, **members}


def test_the_kidney_has_everything_one_needs_to_open_it(tmp_path: Path) -> None:
    kidney = DatasetCatalogue(tmp_path).find("JRC_mus-kidney")
    assert (kidney.title, kidney.organism, kidney.licence) == ("Mouse Kidney", "Mouse", "CC BY 4.0")
    assert kidney.doi == ("10.25378/janelia.16913035",)
    em = kidney.em[0]
    assert em.url == BUCKET + "jrc_mus-kidney/jrc_mus-kidney.n5/em/fibsem-uint8"
    assert (em.voxel_size, em.shape) == ((8, 8, 8), None)
    assert em.shown == ShownRange(105, 182, inverted=False)
    (labels,) = kidney.mitochondria
    assert labels.url == BUCKET + "jrc_mus-kidney/jrc_mus-kidney.n5/labels/empanada-mito_seg"
    assert (labels.voxel_size, labels.is_whole_mitochondria) == ((16, 16, 16), True)
    (view,) = kidney.views
    assert (view.name, view.position_nm) == ("empanada-blog", (6400, 28800, 67200))


def test_every_shipped_dataset_keeps_the_rules() -> None:
    shipped = shipped_catalogue()
    assert len(shipped.datasets) == 46
    assert parse_catalogue(shipped.to_text().encode(), "again", is_trusted=False) == shipped
    for dataset in shipped.datasets:
        assert dataset.licence == "CC BY 4.0"
        assert dataset.terms is not None
        assert dataset.thumbnail == (
            f"https://janelia-cosem-datasets.s3.amazonaws.com/{dataset.name}/thumbnail.jpg"
        )
        for layer in (*dataset.em, *dataset.labels):
            assert layer.url.startswith(f"{BUCKET}{dataset.name}/")
        # What a scale below zero or a wrong unit would leave behind.
        assert min(dataset.voxel_size or (1,)) > 1
        assert min(dataset.extent_um or (1,)) > 0.9


def test_traps_of_the_published_metadata_are_taken_out(tmp_path: Path) -> None:
    catalogue = DatasetCatalogue(tmp_path)
    hela = {layer.name: layer for layer in catalogue.find("jrc_hela-2").em}
    assert catalogue.find("jrc_hela-2").em[0].name == "fibsem-uint16"
    assert hela["fibsem-uint16"].shown == ShownRange(24444, 34078, inverted=True)
    assert hela["fibsem-uint16"].shape == (6368, 1600, 12000)
    assert hela["fibsem-uint8"].flipped == ("y",)
    assert hela["fibsem-uint8"].voxel_size == (5.24, 4, 4)
    # Its extent is published as 120 nm: 30 voxels.
    assert catalogue.find("jrc_fly-mb-z0419-20").extent_um == (105, 72, 120)
    # Grid and layer disagree: neither is believed.
    assert catalogue.find("jrc_hela-h89-1").em[0].voxel_size is None
    # A range of 0 to 255 of 255 says nothing.
    assert catalogue.find("jrc_ctl-id8-3").em[0].shown is None
    assert catalogue.find("jrc_fly-larva-1").organism == "Drosophila"


def test_words_are_searched_in_everything(tmp_path: Path) -> None:
    catalogue = DatasetCatalogue(tmp_path)

    def names(words: str) -> list[str]:
        return [dataset.name for dataset in catalogue.search(words)]

    assert len(names("")) == 46
    # The one with a place worth seeing is seen first.
    assert names("")[0] == "jrc_mus-kidney"
    assert names("mouse KIDNEY")[0] == "jrc_mus-kidney"
    assert names("empanada") == ["jrc_mus-kidney"]
    assert names("10.25378/janelia.16913035") == ["jrc_mus-kidney"]
    assert names("jrc_hela-22")[0] == "jrc_hela-22"
    assert names("zebrafish brain") == []


@pytest.mark.parametrize(
    ("wrong", "offered"),
    [("jrc_mus-kidny", "jrc_mus-kidney"), ("hela-2", "jrc_hela-2"), ("zzzzzz", "lists all")],
)
def test_a_name_nobody_knows_leads_to_those_near_it(
    tmp_path: Path, wrong: str, offered: str
) -> None:
    with pytest.raises(NotFoundError, match=offered) as error:
        DatasetCatalogue(tmp_path).find(wrong)
    assert error.value.kind == ErrorKind.DATASET_NOT_FOUND


def test_a_users_own_datasets_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    catalogue = DatasetCatalogue(tmp_path)
    assert len(catalogue.search()) == 46
    own.write_bytes(catalogue_of(cell(title="Ours"), licence="CC0"))
    assert catalogue.find("our-cell").licence == "CC0"
    own.write_bytes(catalogue_of(cell(name="jrc_mus-kidney", title="Our copy")))
    assert catalogue.find("jrc_mus-kidney").title == "Our copy"
    assert not catalogue.find("jrc_mus-kidney").labels
    own.write_text("{")
    assert catalogue.find("jrc_mus-kidney").title == "Mouse Kidney"
    (problem,) = catalogue.known().problems
    assert str(own) in problem


def test_a_catalogue_that_was_asked_for_and_is_missing_is_said_to_be(tmp_path: Path) -> None:
    catalogue = DatasetCatalogue(tmp_path, own=tmp_path / "lab.json")
    assert len(catalogue.known().datasets) == 46
    assert "lab.json" in catalogue.known().problems[0]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"name": "../up"}, "name"),
        ({"em": []}, "em"),
        ({"em": [{"name": "em", "url": "s3://b/x", "format": "ome"}]}, "format"),
        ({"em": [{"name": "em", "url": "s3://b/x", "format": "n5", "size": 3}]}, "'size'"),
        ({"voxel_size": [8, 8, -8]}, "voxel_size"),
        ({"voxel_size": [8, 8]}, "three numbers"),
        ({"voxel_size": [8, 8, True]}, "voxel_size"),
        ({"voxel_size": [8, 8, 1e300]}, "voxel_size"),
        ({"title": "a\nb"}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"doi": ["https://doi.org/10.1/x"]}, "doi"),
        ({"crops": 1.5}, "crops"),
        ({"thumbnail": "javascript:alert(1)"}, "thumbnail"),
        ({"thumbnail": "https://a;script-src *"}, "thumbnail"),
        ({"colour": "red"}, "'colour'"),
        ({"views": [{"name": "v", "title": "t", "position_nm": [1, 2, 3]}]}, "nm_per_pixel"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(members: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        parse_dataset(cell(**members), "test", is_trusted=True)


@pytest.mark.parametrize("low_high", [(5, 5), (9, 2), (None, 1)])
def test_a_range_to_show_has_two_ends_in_order(low_high: tuple[Any, Any]) -> None:
    shown = {"low": low_high[0], "high": low_high[1]}
    em = [{"name": "em", "url": "s3://b/x", "format": "n5", "shown": shown}]
    with pytest.raises(InvalidInputError, match="shown"):
        parse_dataset(cell(em=em), "test", is_trusted=True)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "format"),
        (catalogue_of(cell(), cell(name="OUR-cell")), "twice"),
        (catalogue_of(cell(), more=1), "'more'"),
        (b"[" * 100_000, "JSON"),
        (catalogue_of(*[cell()] * 5001), "at most 5000"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(data: bytes, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        parse_catalogue(data, "file", is_trusted=True)


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd", "file:///etc", "http://example.org/x", "https://127.0.0.1/x",
        "https://localhost/x", "https://user@example.org/x", "https://example.org:8443/x",
        "https://[::1]/x", "s3+http://host/b", "s3://", "zarr://s3://b/x", "https://e.org/x|zarr:",
        "https://169.254.169.254/latest",
    ],
)  # fmt: skip
def test_only_public_places_are_taken_from_strangers(address: str) -> None:
    assert not is_public_address(address)
    em = [{"name": "em", "url": address, "format": "zarr"}]
    with pytest.raises(InvalidInputError, match="url"):
        parse_dataset(cell(em=em), "live", is_trusted=False)
    parse_dataset(cell(em=em), "own", is_trusted=True)


def test_what_is_learnt_later_adds_to_what_is_known() -> None:
    known = parse_dataset(cell(title="Old", labels=[
        {"name": "mito_seg", "url": "s3://lab/mito", "format": "n5", "voxel_size": [16, 16, 16]}
    ]), "known", is_trusted=True)  # fmt: skip
    newer = parse_dataset(cell(organism="Mouse", title="New", em=[
        {"name": "em", "url": "s3://lab/cell.zarr", "format": "zarr", "voxel_size": [8, 8, 8]},
        {"name": "em2", "url": "s3://lab/cell2.zarr", "format": "zarr"},
    ]), "newer", is_trusted=True)  # fmt: skip
    merged = merge_datasets(known, newer)
    assert (merged.title, merged.organism) == ("New", "Mouse")
    assert [layer.name for layer in merged.em] == ["em", "em2"]
    assert merged.em[0].voxel_size == (8, 8, 8)
    assert merged.labels == known.labels
