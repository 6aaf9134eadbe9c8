"""The front door: register, edit, look back; bad input changes nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databases import url_in

from segmentation_backend import edits
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    SegmentationError,
)
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository
from segmentation_backend.workspace import EditContext, Workspace
from segmentation_backend.workspace.editing import Editor

SHAPE = (20, 80, 96)
WHOLE = Roi((0, 0, 0), SHAPE)
ANA = EditContext("ana")


def objects() -> np.ndarray:
    """Three bars: 1 and 2 apart, 3 long enough to be cut."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return labels


def fill(workspace: Workspace, name: str, labels: np.ndarray) -> int:
    """Commit labels as a segmentation would, and return the first id."""
    info = workspace.volume(name)
    repository = LabelRepository(
        workspace.engine, workspace.data_dir / "packs" / name, name, info.label_levels
    )
    first = repository.reserve_ids(int(labels.max()))
    Editor(repository).commit(
        "segment",
        {},
        ANA,
        lambda view: edits.import_labels(view, WHOLE, labels, first, "replace-unedited"),
    )
    return first


@pytest.fixture
def workspace(tmp_path: Path, database: str) -> Iterator[Workspace]:
    image = np.random.default_rng(1).integers(0, 255, SHAPE, np.uint8)
    np.savez(tmp_path / "cell.npz", em=image)
    opened = Workspace(tmp_path / "data", url_in(tmp_path))
    opened.register("cell", str(tmp_path / "cell.npz"), dataset="em", voxel_size=(8.0, 8.0, 8.0))
    yield opened
    opened.close()


@pytest.fixture
def labelled(workspace: Workspace) -> Workspace:
    assert fill(workspace, "cell", objects()) == 1
    return workspace


def segment_with(workspace: Workspace, model: str) -> None:
    plan = workspace.plan_segmentation("cell", Roi((0, 0, 0), (1, 80, 96)), model=model)
    workspace.segment(plan, ANA)


def with_corrupt_weights(workspace: Workspace) -> None:
    (workspace.models_dir / "broken.pt").write_bytes(b"these are not weights")
    segment_with(workspace, "broken")


def with_changed_weights(workspace: Workspace) -> None:
    path = workspace.models_dir / "mine.pt"
    path.write_bytes(b"what it is now")
    path.with_name("mine.pt.sha256").write_text(f"{'0' * 64}  mine.pt\n")
    segment_with(workspace, "mine")


def snapshot(workspace: Workspace) -> tuple[int, bytes]:
    labels = workspace.cutout("cell", WHOLE)
    return workspace.head("cell"), labels.tobytes()


def test_registering_the_same_image_again_answers_with_what_is_there(
    workspace: Workspace, tmp_path: Path
) -> None:
    source = str(tmp_path / "cell.npz")
    assert workspace.register("cell", source) == workspace.volume("cell")
    with pytest.raises(ConflictError) as caught:
        workspace.register("cell", str(tmp_path / "other.npz"))
    assert caught.value.kind == ErrorKind.NAME_TAKEN


def test_what_cannot_be_opened_is_not_registered(workspace: Workspace, tmp_path: Path) -> None:
    np.savez(tmp_path / "complex.npz", em=np.zeros((4, 4, 4), np.complex64))
    np.savez(tmp_path / "flat.npz", em=np.zeros((4, 4), np.uint8))
    (tmp_path / "notes.npz").write_text("not an archive")
    wanted: list[tuple[str, type[SegmentationError]]] = [
        ("missing.npz", NotFoundError),
        ("complex.npz", FormatError),
        ("flat.npz", FormatError),
        ("notes.npz", FormatError),
    ]
    for file, error in wanted:
        with pytest.raises(error, match=Path(file).stem):
            workspace.register("new", str(tmp_path / file))
    assert [info.name for info in workspace.volumes()] == ["cell"]
    with pytest.raises(InvalidInputError):
        workspace.register("a/b@c", str(tmp_path / "cell.npz"))


def test_an_unknown_volume_is_named_with_those_that_exist(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="cell"):
        workspace.volume("cel")


def test_merge_by_points_split_and_undo_come_back_to_the_same_labels(labelled: Workspace) -> None:
    before = labelled.cutout("cell", WHOLE)
    merged = labelled.merge("cell", points=[(10, 10, 10), (10, 10, 50)], edit=ANA)
    assert (merged.removed_roots, merged.added_roots) == ((1, 2), (1,))
    assert labelled.cutout("cell", WHOLE)[10, 10, 50] == 1
    split = labelled.split("cell", [[(10, 45, 12)], [(10, 45, 85)]], ANA)
    after = labelled.cutout("cell", WHOLE)
    assert after[10, 45, 12] != after[10, 45, 85]
    assert {after[10, 45, 12], after[10, 45, 85]} == set(split.added_roots)
    labelled.undo("cell", ANA)
    labelled.undo("cell", ANA)
    np.testing.assert_array_equal(labelled.cutout("cell", WHOLE), before)
    labelled.redo("cell", ANA)
    assert labelled.cutout("cell", WHOLE)[10, 10, 50] == 1
    np.testing.assert_array_equal(labelled.cutout("cell", WHOLE, version=1), before)


def test_undo_takes_back_ones_own_edit_not_a_colleagues(labelled: Workspace) -> None:
    labelled.merge("cell", ids=[1, 2], edit=ANA)
    labelled.split("cell", [[(10, 45, 12)], [(10, 45, 85)]], EditContext("ben"))
    undone = labelled.undo("cell", ANA)
    assert undone.undoes == 2
    labels = labelled.cutout("cell", WHOLE)
    assert labels[10, 10, 50] == 2
    assert labels[10, 45, 12] != labels[10, 45, 85]


def test_a_repeated_request_answers_the_same_and_writes_nothing(labelled: Workspace) -> None:
    edit = EditContext("ana", request_id="r1")
    first = labelled.merge("cell", ids=[1, 2], edit=edit)
    assert labelled.merge("cell", ids=[1, 2], edit=edit) == first
    assert labelled.head("cell") == 2
    with pytest.raises(ConflictError) as caught:
        labelled.merge("cell", ids=[1, 3], edit=edit)
    assert caught.value.kind == ErrorKind.REQUEST_ID_REUSED


def test_an_edit_on_a_stale_version_of_the_same_object_names_who_was_first(
    labelled: Workspace,
) -> None:
    labelled.merge("cell", ids=[1, 2], edit=EditContext("ben", base_version=1))
    with pytest.raises(ConflictError, match="ben"):
        labelled.merge("cell", ids=[2, 3], edit=EditContext("ana", base_version=1))


def test_an_edit_on_a_stale_version_of_another_object_goes_through(labelled: Workspace) -> None:
    labelled.merge("cell", ids=[1, 2], edit=EditContext("ben", base_version=1))
    stale = EditContext("ana", base_version=1)
    assert labelled.split("cell", [[(10, 45, 12)], [(10, 45, 85)]], stale).operation_id == 3


def test_a_preview_shows_the_split_and_changes_nothing(labelled: Workspace) -> None:
    before = snapshot(labelled)
    groups = [[(10, 45, 12)], [(10, 45, 85)]]
    preview = labelled.split_preview("cell", groups)
    assert preview.root == 3
    assert sum(preview.voxels) == np.count_nonzero(objects() == 3)
    assert snapshot(labelled) == before
    assert labelled.preview(preview.preview_id) == preview
    labelled.split("cell", groups, ANA)
    sizes = sorted(
        labelled.object("cell", r).voxels for r in labelled.operations("cell")[0].added_roots
    )
    assert sizes == sorted(preview.voxels)


Call = Callable[[Workspace], Any]
REFUSED: dict[str, tuple[Call, ErrorKind]] = {
    "merge with itself": (
        lambda w: w.merge("cell", ids=[1, 1], edit=ANA),
        ErrorKind.MERGE_SAME_OBJECT,
    ),
    "merge with background": (
        lambda w: w.merge("cell", ids=[0, 1], edit=ANA),
        ErrorKind.BACKGROUND_NOT_AN_OBJECT,
    ),
    "merge at a background point": (
        lambda w: w.merge("cell", points=[(0, 0, 0), (10, 10, 10)], edit=ANA),
        ErrorKind.BACKGROUND_NOT_AN_OBJECT,
    ),
    "merge of an unknown object": (
        lambda w: w.merge("cell", ids=[1, 77], edit=ANA),
        ErrorKind.OBJECT_NOT_FOUND,
    ),
    "an id beyond 64 bits": (
        lambda w: w.merge("cell", ids=[1, 2**64], edit=ANA),
        ErrorKind.INVALID_ID,
    ),
    "a negative id": (lambda w: w.merge("cell", ids=[1, -2], edit=ANA), ErrorKind.INVALID_ID),
    "split points outside the object": (
        lambda w: w.split("cell", [[(10, 45, 12)], [(0, 0, 0)]], ANA),
        ErrorKind.SEEDS_OUTSIDE_OBJECT,
    ),
    "split points on two objects": (
        lambda w: w.split("cell", [[(10, 45, 12)], [(10, 10, 10)]], ANA),
        ErrorKind.SEEDS_OUTSIDE_OBJECT,
    ),
    "split points all on one side": (
        lambda w: w.split("cell", [[(10, 45, 12), (10, 45, 85)], []], ANA),
        ErrorKind.SEEDS_ON_ONE_SIDE,
    ),
    "undo with nothing to undo": (
        lambda w: w.undo("cell", EditContext("nobody")),
        ErrorKind.NOTHING_TO_UNDO,
    ),
    "redo with nothing to redo": (lambda w: w.redo("cell", ANA), ErrorKind.NOTHING_TO_REDO),
    "undo of an unknown operation": (
        lambda w: w.undo("cell", ANA, 99),
        ErrorKind.OPERATION_NOT_FOUND,
    ),
    "revert to a version to come": (
        lambda w: w.revert("cell", 99, ANA),
        ErrorKind.VERSION_NOT_FOUND,
    ),
    "segmentation outside": (
        lambda w: w.plan_segmentation("cell", Roi((50, 0, 0), (1, 9, 9))),
        ErrorKind.ROI_OUT_OF_BOUNDS,
    ),
    "an unknown model": (
        lambda w: w.plan_segmentation("cell", Roi((0, 0, 0), (1, 9, 9)), model="MitoNet_v9"),
        ErrorKind.MODEL_NOT_FOUND,
    ),
    "corrupt weights": (with_corrupt_weights, ErrorKind.WEIGHTS_UNREADABLE),
    "weights that are not what they were": (
        with_changed_weights,
        ErrorKind.WEIGHTS_CHECKSUM_MISMATCH,
    ),
    "an unknown parameter": (
        lambda w: w.plan_segmentation(
            "cell", Roi((0, 0, 0), (1, 9, 9)), parameters={"confidence": 0.4}
        ),
        ErrorKind.INVALID_PARAMETER,
    ),
    "a cutout outside": (
        lambda w: w.cutout("cell", Roi((0, 0, 0), (21, 9, 9))),
        ErrorKind.ROI_OUT_OF_BOUNDS,
    ),
    "a version to come": (
        lambda w: w.cutout("cell", WHOLE, version=99),
        ErrorKind.VERSION_NOT_FOUND,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_and_changes_nothing(labelled: Workspace, name: str) -> None:
    call, kind = REFUSED[name]
    before = snapshot(labelled)
    with pytest.raises(SegmentationError) as caught:
        call(labelled)
    assert caught.value.kind == kind
    assert snapshot(labelled) == before


def test_image_files_are_read_in_place_and_chunk_stores_imported_on_demand(
    workspace: Workspace, tmp_path: Path
) -> None:
    voxels = np.random.default_rng(2).integers(0, 255, SHAPE, np.uint8)
    np.save(tmp_path / "stack.npy", voxels)
    size = (8.0, 8.0, 8.0)
    workspace.register("direct", str(tmp_path / "stack.npy"), voxel_size=size, in_place=True)
    assert not (workspace.data_dir / "images" / "direct.zarr").exists()
    np.testing.assert_array_equal(workspace.image("direct").read(WHOLE), voxels)
    imported = workspace.data_dir / "images" / "cell.zarr"
    workspace.register("again", str(imported), in_place=False)
    assert (workspace.data_dir / "images" / "again.zarr").is_dir()
    np.testing.assert_array_equal(
        workspace.image("again").read(WHOLE), workspace.image("cell").read(WHOLE)
    )
