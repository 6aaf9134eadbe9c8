"""What of a published dataset is opened, before anything is read; and what a file does not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from segmentation_backend.sources.catalogue import Dataset
from segmentation_backend.sources.catalogue_format import parse_dataset
from segmentation_backend.sources.catalogue_store import shipped_catalogue
from segmentation_backend.workspace import NO_LABELS, Workspace
from segmentation_backend.workspace.published import Choice, PublishedRecord, choose


def shipped(name: str) -> Dataset:
    return next(d for d in shipped_catalogue().datasets if d.name == name)


def chosen(dataset: Dataset, em: str | None = None, labels: str | None = None) -> Choice:
    return choose(dataset, "2026-11-22", em, labels)


def test_the_only_layer_of_whole_mitochondria_is_taken() -> None:
    hela = chosen(shipped("jrc_hela-2"))
    assert hela.labels is not None
    assert (hela.em.name, hela.labels.name) == ("fibsem-uint16", "mito_seg")
    assert [one.name for one in hela.beside] == ["mito-mem_seg"]
    empty = chosen(shipped("jrc_hela-2"), labels=NO_LABELS)
    assert (empty.labels, len(empty.beside)) == (None, 2)


def test_of_several_layers_none_is_chosen_for_the_user() -> None:
    layers = [
        {"name": name, "url": f"s3://b/{number}", "format": "n5"}
        for number, name in enumerate(("mito_seg", "empanada-mito_seg", "er_seg"))
    ]
    em = [{"name": "em", "url": "s3://b/em", "format": "n5"}]
    dataset = parse_dataset({"name": "two", "em": em, "labels": layers}, "test", is_trusted=True)
    both = chosen(dataset)
    assert both.labels is None
    assert [one.name for one in both.beside] == ["mito_seg", "empanada-mito_seg"]
    named = chosen(dataset, labels="er_seg")
    assert named.labels is not None
    assert named.labels.name == "er_seg"
    assert len(named.beside) == 2


def test_labels_are_chosen_whichever_way_the_image_is_stored() -> None:
    hela = chosen(shipped("jrc_hela-1"))
    assert hela.em.flipped == ("y",)
    assert hela.labels is not None
    assert (hela.labels.name, hela.labels.flipped) == ("mito_seg", ())
    assert chosen(shipped("jrc_hela-2"), em="fibsem-uint8").labels is not None


def catalogue_of(em: dict[str, Any], folder: Path) -> Path:
    layer = {"name": "em", "url": str(folder / "em.zarr"), "format": "zarr", **em}
    document = {"format": "mitoglance-catalogue/1", "datasets": [{"name": "cell", "em": [layer]}]}
    (folder / "own.json").write_text(json.dumps(document))
    return folder / "own.json"


@pytest.mark.parametrize("says_size", [False, True])
def test_the_catalogue_knows_what_the_file_does_not_say_and_is_overruled_where_it_does(
    tmp_path: Path, says_size: bool
) -> None:
    array = zarr.create_array(
        tmp_path / "em.zarr", shape=(8, 40, 40), chunks=(8, 20, 20), dtype="u1", zarr_format=2
    )
    array[...] = np.broadcast_to(np.arange(40, dtype=np.uint8), (8, 40, 40))
    if says_size:
        array.attrs["pixelResolution"] = {"dimensions": [40, 8, 8], "unit": "nm"}
    own = catalogue_of({"voxel_size": [30, 6, 6], "shape": [9, 40, 40]}, tmp_path)
    workspace = Workspace(tmp_path / "data", catalogue=own)
    info = workspace.register_published("cell")
    assert info.voxel_size == ((40, 8, 8) if says_size else (30, 6, 6))
    assert not info.voxel_size_is_assumed
    assert info.published is not None
    assert PublishedRecord.from_json(info.published.to_json()) == info.published
    notes = " ".join(info.published.notes)
    assert ("(30.0, 6.0, 6.0) nm, the file of (40.0, 8.0, 8.0)" in notes) is says_size
    assert "(9, 40, 40) voxels, the file (8, 40, 40)" in notes
    # Nobody said what to show: nearly all there is.
    assert info.shown.low < info.shown.high <= 39
    assert workspace.image("cell").levels[0].voxel_size == info.voxel_size
    workspace.close()
