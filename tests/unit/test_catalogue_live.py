"""Refreshing the catalogue: what a live one says, and all the ways in which it can fail."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_server import ModelServer, model_server

from segmentation_backend.errors import ErrorKind, InvalidInputError, ResourceError
from segmentation_backend.sources import catalogue_live
from segmentation_backend.sources.catalogue import ShownRange
from segmentation_backend.sources.catalogue_store import DatasetCatalogue, shipped_catalogue

KIDNEY = "s3://janelia-cosem-datasets/jrc_mus-kidney/jrc_mus-kidney.n5"


def layer(name: str, content: str, scale: list[float], **display: Any) -> dict[str, Any]:
    kind = "scalar" if content == "em" else "label"
    limits = {"start": 120, "end": 160, "min": 0, "max": 255}
    return {
        "name": name,
        "description": "words",
        "url": f"{KIDNEY}/{'em' if content == 'em' else 'labels'}/{name}/",
        "format": "n5",
        "transform": {
            # Written x first on purpose: axes are known by name.
            "axes": ["x", "y", "z"], "units": ["nm"] * 3,
            "scale": scale[::-1], "translate": [0, 0, 0],
        },
        "sampleType": kind,
        "contentType": content,
        "displaySettings": {"contrastLimits": limits, "invertLUT": False, **display},
        "subsources": [],
    }  # fmt: skip


def manifest(name: str = "jrc_mus-kidney", **changes: Any) -> dict[str, Any]:
    sources = {
        "fibsem-uint8": layer("fibsem-uint8", "em", [8, -8, 4], invertLUT=True),
        "nucleus_seg": layer("nucleus_seg", "segmentation", [32, 32, 32]),
        "mito_pred": layer("mito_pred", "prediction", [8, 8, 8]),
    }
    about = {
        "title": "Mouse kidney, anew",
        "thumbnailURL": "https://janelia-cosem-datasets.s3.amazonaws.com/k.jpg",
        "imaging": {
            "gridSpacing": {"unit": "nm", "values": {"x": 4, "y": 8, "z": 8}},
            "dimensions": {"unit": "nm", "values": {"x": 98, "y": 63, "z": 177}},
        },
        "sample": {"organism": ["Mouse"], "type": ["Tissue"], "subtype": ["Kidney"]},
        "DOI": [{"href": "https://doi.org/10.25378/janelia.16913035", "title": "EM"}],
    }
    return {"name": name, "metadata": about, "sources": sources, "views": [], **changes}


@pytest.fixture(scope="module")
def one_server() -> Iterator[ModelServer]:
    with model_server() as server:
        yield server


@pytest.fixture
def live(one_server: ModelServer) -> ModelServer:
    one_server.files.clear()
    one_server.moved.clear()
    return one_server


def publish(live: ModelServer, **manifests: object) -> None:
    index = {"datasets": {name: f"api/{name}" for name in manifests}}
    live.files["api/index.json"] = json.dumps(index).encode()
    for name, document in manifests.items():
        live.files[f"api/{name}/manifest.json"] = json.dumps(document).encode()


def test_a_refresh_adds_to_what_is_shipped_and_is_kept(live: ModelServer, tmp_path: Path) -> None:
    publish(live, **{"jrc_mus-kidney": manifest(), "jrc_new-1": manifest("jrc_new-1")})
    catalogue = DatasetCatalogue(tmp_path / "catalogue")
    assert not catalogue.is_fresh
    assert catalogue.refresh(live.address) == 2
    assert catalogue.is_fresh
    for known in (catalogue, DatasetCatalogue(tmp_path / "catalogue")):
        kidney = known.find("jrc_mus-kidney")
        assert kidney.title == "Mouse kidney, anew"
        assert kidney.em[0].shown == ShownRange(120, 160, inverted=True)
        assert (kidney.em[0].voxel_size, kidney.em[0].flipped) == ((8, 8, 4), ("y",))
        # In the wrong unit, as published for one dataset.
        assert kidney.extent_um == (177, 63, 98)
        # A frozen copy that does not know them takes no labels away.
        assert [labels.name for labels in kidney.labels] == ["empanada-mito_seg", "nucleus_seg"]
        assert known.find("jrc_new-1").licence == "CC BY 4.0"
        assert len(known.known().datasets) == 47
        assert known.known().refreshed
        assert known.known().problems == ()


def test_a_catalogue_in_our_own_form_is_read_too(live: ModelServer, tmp_path: Path) -> None:
    live.files["lab.json"] = shipped_catalogue().to_text().replace("Mouse Kidney", "M").encode()
    catalogue = DatasetCatalogue(tmp_path)
    assert catalogue.refresh(live.url("lab.json")) == 46
    assert catalogue.find("jrc_mus-kidney").title == "M"


def test_a_manifest_of_another_form_is_left_out(live: ModelServer, tmp_path: Path) -> None:
    broken = manifest("jrc_new-2")
    broken["sources"]["fibsem-uint8"]["url"] = "https://127.0.0.1/secret"
    publish(live, jrc_new=manifest("jrc_new"), jrc_other=manifest("else"), jrc_two=broken, three=[])
    catalogue = DatasetCatalogue(tmp_path)
    assert catalogue.refresh(live.address) == 1
    assert "jrc_new" in catalogue.known().datasets


@pytest.mark.parametrize(
    ("index", "named"),
    [
        (b"no json", "valid JSON"),
        (b"[]", "its index"),
        (b'{"datasets": {"a": "../../etc"}}', "no path below"),
        (b'{"datasets": {"a": "https://elsewhere.org/a"}}', "no path below"),
        (b'{"datasets": {"a": 3}}', "no path below"),
        (b'{"datasets": {}}', "its index"),
        (b"[" * 200_000, "valid JSON"),
    ],
)
def test_an_answer_that_is_no_catalogue_changes_nothing(
    live: ModelServer, tmp_path: Path, index: bytes, named: str
) -> None:
    catalogue = DatasetCatalogue(tmp_path)
    publish(live, **{"jrc_mus-kidney": manifest()})
    catalogue.refresh(live.address)
    before = (tmp_path / "live.json").read_bytes()
    live.files["api/index.json"] = index
    with pytest.raises(InvalidInputError, match=named):
        catalogue.refresh(live.address)
    assert (tmp_path / "live.json").read_bytes() == before
    assert catalogue.find("jrc_mus-kidney").title == "Mouse kidney, anew"
    assert "could not be reached" in (catalogue.known().unreached or "")
    publish(live, **{"jrc_mus-kidney": manifest()})
    catalogue.refresh(live.address)
    assert catalogue.known().unreached is None


def test_a_server_that_fails_leaves_what_is_shipped(live: ModelServer, tmp_path: Path) -> None:
    catalogue = DatasetCatalogue(tmp_path)
    for address in (live.address, "http://127.0.0.1:9/nothing"):
        with pytest.raises(ResourceError, match="does not answer") as error:
            catalogue.refresh(address)
        assert error.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    assert len(catalogue.search()) == 46
    assert not catalogue.known().refreshed
    assert catalogue.known().unreached is not None
    assert catalogue.known().problems == ()


def test_neither_size_nor_time_is_without_limit(
    live: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(live, **{"jrc_mus-kidney": manifest()})
    catalogue = DatasetCatalogue(tmp_path)
    monkeypatch.setattr(catalogue_live, "_LARGEST_ANSWER", 100)
    with pytest.raises(InvalidInputError, match="larger than"):
        catalogue.refresh(live.address)
    monkeypatch.undo()
    monkeypatch.setattr(catalogue_live, "_DEADLINE_S", -1.0)
    with pytest.raises(ResourceError, match="not all of it"):
        catalogue.refresh(live.address)


def test_only_tls_is_spoken_to_others(live: ModelServer, tmp_path: Path) -> None:
    catalogue = DatasetCatalogue(tmp_path)
    live.moved["api/index.json"] = "http://example.org/api/index.json"
    for address in ("http://example.org", "ftp://example.org", "file:///etc", live.address):
        with pytest.raises(InvalidInputError, match="https://"):
            catalogue.refresh(address)
