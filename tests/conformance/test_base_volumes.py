"""Labels of every format and place, edited where they are; the truth is written by others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from published_bases import (
    ANA,
    BAR,
    CHUNK,
    FAR,
    FORMATS,
    IN_BAR,
    IN_FAR,
    IN_LEFT,
    IN_RIGHT,
    LEFT,
    PLACES,
    RIGHT,
    SHAPE,
    Format,
    Published,
    coarse,
    put,
    truth,
    write_image,
)

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError, SegmentationError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace import Workspace


@pytest.fixture
def form(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param[0]]


@pytest.fixture
def published(request: pytest.FixtureRequest, tmp_path: Path, form: Format) -> Iterator[Published]:
    write_image(tmp_path / "em.zarr")
    place, folder, cloud = request.param[1], tmp_path / "labels", CloudSettings()
    address = str(folder)
    if place == "http":
        web = request.getfixturevalue("web")
        folder = web.root / tmp_path.name
        address = f"{web.address}/{tmp_path.name}"
    form.write(folder)
    found: Path | None = folder

    def replace(path: str, data: bytes | None) -> None:
        put(folder / path, data)

    if place == "s3":
        s3 = request.getfixturevalue("s3")
        s3.upload(folder, tmp_path.name)
        cloud, address, found = CloudSettings(s3.endpoint), s3.url(tmp_path.name), None

        def replace(path: str, data: bytes | None) -> None:
            s3.put(f"{tmp_path.name}/{path}", data)

    workspace = Workspace(tmp_path / "data", cloud=cloud)
    opened = Published(workspace, address, found, replace)
    yield opened
    opened.workspace.close()


def everywhere(function: Callable[..., None]) -> Callable[..., None]:
    """Run a test on every format and place."""
    ids = ["-".join(param) for param in PLACES]
    pairs = [(param, param) for param in PLACES]
    mark = pytest.mark.parametrize(("form", "published"), pairs, indirect=True, ids=ids)
    return mark(function)


def one_place(form: str, place: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("form", "published"), [((form, place), (form, place))], indirect=True
    )


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    text = [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("".join(text).encode()).hexdigest()


@everywhere
def test_published_labels_are_edited_where_they_are(published: Published) -> None:
    before = digest(published.folder) if published.folder else ""
    published.register()
    workspace = published.workspace
    info = workspace.volume("cell")
    assert info.bounds == Roi((0, 0, 0), SHAPE)
    assert info.voxel_size == (16.0, 16.0, 16.0)
    assert info.levels[0].voxel_size == (8.0, 8.0, 8.0)
    assert info.to_json()["labels"]["source"] == published.address
    assert np.array_equal(published.labels(), truth())
    second = workspace.at("cell").read(Roi((0, 0, 0), coarse().shape), 1)  # type: ignore[arg-type]
    assert np.array_equal(second, coarse())

    merged = workspace.merge("cell", points=[IN_LEFT, IN_RIGHT], edit=ANA)
    assert (merged.removed_roots, merged.added_roots) == ((LEFT, RIGHT), (LEFT,))
    assert published.root(IN_RIGHT) == LEFT
    workspace.split("cell", [[(5, 10, 10)], [(5, 10, 140)]], ANA)
    new = published.root((5, 10, 140))
    assert {published.root((5, 10, 10)), new} == {BAR, 2**32}
    workspace.delete("cell", [FAR], ANA)
    assert published.root(IN_FAR) == 0
    workspace.undo("cell", ANA)
    assert published.root(IN_FAR) == FAR
    workspace.revert("cell", 0, ANA)
    for version in (0, workspace.head("cell")):
        assert np.array_equal(published.labels(version), truth())
    expected = np.where(truth() == RIGHT, LEFT, truth())
    assert np.array_equal(published.labels(1), expected)
    split = published.labels(2)
    assert np.array_equal(published.labels(3), np.where(split == FAR, 0, split))

    workspace.count_base("cell", lambda share, sentence: None)
    assert workspace.counted_share("cell") == 1
    sizes = {o.root: o.voxels for o in workspace.objects("cell")}
    ids, counts = np.unique(truth(), return_counts=True)
    assert sizes == dict(zip(ids.tolist()[1:], counts.tolist()[1:], strict=True))
    if published.folder:
        assert digest(published.folder) == before


@everywhere
def test_a_chunk_that_was_never_written_is_background(published: Published, form: Format) -> None:
    published.replace(form.first_chunk, None)
    published.register()
    here = Roi((0, 0, 0), CHUNK)
    assert not published.workspace.at("cell").read(here).any()
    assert published.root((5, 10, 100)) == BAR
    published.workspace.delete("cell", [BAR], ANA)
    rest = truth()
    rest[here.slices()] = 0
    assert np.array_equal(published.labels(), np.where(rest == BAR, 0, rest))


@everywhere
def test_a_damaged_chunk_is_an_error_and_never_zeros(
    published: Published, form: Format, tmp_path: Path
) -> None:
    form.write(tmp_path / "copy")
    whole = (tmp_path / "copy" / form.first_chunk).read_bytes()
    published.register()
    published.replace(form.first_chunk, whole[:-30])
    view = published.workspace.at("cell")
    for attempt in (
        lambda: view.read(Roi((0, 0, 0), (4, 4, 4))),
        lambda: view.root_at(IN_BAR),
        lambda: published.workspace.merge("cell", points=[IN_BAR, IN_RIGHT], edit=ANA),
        lambda: published.workspace.count_base("cell", lambda share, sentence: None),
    ):
        with pytest.raises(SegmentationError) as error:
            attempt()
        assert (type(error.value), error.value.kind) in (
            (FormatError, ErrorKind.CORRUPT_CHUNK),
            # A shorter file may also have been cut off on its way.
            (ResourceError, ErrorKind.SOURCE_UNAVAILABLE),
        )
    assert published.workspace.head("cell") == 0
    assert published.root(IN_RIGHT) == RIGHT
    published.replace(form.first_chunk, whole)
    published.workspace.merge("cell", points=[IN_BAR, IN_RIGHT], edit=ANA)
    assert np.array_equal(published.labels(0), truth())


@one_place("zarr3", "local")
def test_labels_that_vanish_as_a_whole_are_an_error(published: Published) -> None:
    published.register()
    assert published.root(IN_BAR) == BAR
    assert published.folder is not None
    published.folder.rename(published.folder.with_name("elsewhere"))
    view = published.workspace.at("cell")
    with pytest.raises(ResourceError, match="no longer there") as error:
        view.read(Roi((64, 0, 0), (6, 64, 64)))
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    published.folder.with_name("elsewhere").rename(published.folder)
    assert not view.read(Roi((64, 0, 0), (6, 64, 64))).any()


@one_place("zarr3", "local")
def test_labels_that_were_made_anew_are_refused(published: Published) -> None:
    published.register()
    published.workspace.merge("cell", points=[IN_LEFT, IN_RIGHT], edit=ANA)
    assert published.folder is not None
    array = zarr.open_group(published.folder, mode="r+")["s1"]
    array[...] = np.roll(coarse(), 3, axis=2)  # type: ignore[index]
    published.reopen(CloudSettings())
    assert published.workspace.head("cell") == 1
    with pytest.raises(FormatError, match="another name") as error:
        published.root(IN_BAR)
    assert error.value.kind is ErrorKind.BASE_CHANGED
