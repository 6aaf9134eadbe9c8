"""Maps of blocks are kept for the viewer: all that is known, and nothing else, is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.errors import NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference.results import BlockMaps
from segmentation_backend.workspace.heat_maps import MAP_KINDS, HeatMaps, map_in

WHOLE = Roi((0, 0, 0), (6, 40, 50))
CORES = [Roi((z, 0, x), (3, 40, 25)) for z in (0, 3) for x in (0, 25)]


def maps_of(core: Roi, seed: int) -> BlockMaps:
    rng = np.random.default_rng(seed)
    return BlockMaps(*(rng.integers(0, 256, core.shape).astype(np.uint8) for _ in MAP_KINDS))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "caches" / "maps").glob("*/*"))


@given(
    st.sets(st.integers(0, 3)), st.tuples(*[st.integers(0, n - 1) for n in WHOLE.shape]), st.data()
)
@settings(max_examples=30, deadline=None)
def test_any_box_shows_the_blocks_that_are_there(
    tmp_path_factory: pytest.TempPathFactory,
    places: set[int],
    corner: tuple[int, int, int],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("maps")
    expected = {kind: np.zeros(WHOLE.shape, np.uint8) for kind in MAP_KINDS}
    run = HeatMaps(folder, "job-1")
    for place in places:
        maps = maps_of(CORES[place], place)
        run.add(maps, CORES[place])
        for kind in MAP_KINDS:
            shares = getattr(maps, kind) / 255
            expected[kind][CORES[place].slices()] = 1 + np.rint(shares * 254)
    end = [data.draw(st.integers(c + 1, n)) for c, n in zip(corner, WHOLE.shape, strict=True)]
    box = Roi.from_bounds(corner, end)
    for kind in MAP_KINDS:
        found = map_in(folder, "job-1", kind, box)
        np.testing.assert_array_equal(found, expected[kind][box.slices()])
    assert run.blocks == len(places)


def test_what_was_removed_or_damaged_is_not_known_any_more(tmp_path: Path) -> None:
    run = HeatMaps(tmp_path, "job-1")
    for number, core in enumerate(CORES[:2]):
        run.add(maps_of(core, number), core)
    first, *others = files(tmp_path)
    first.write_bytes(b"?" + first.read_bytes()[1:])
    others[0].unlink()
    found = [map_in(tmp_path, "job-1", kind, WHOLE) for kind in MAP_KINDS]
    assert sum(np.count_nonzero(part) for part in found) == 2 * CORES[0].size
    assert len(files(tmp_path)) == 2
    # Kept again, it is known again.
    for number, core in enumerate(CORES[:2]):
        run.add(maps_of(core, number), core)
    assert all(np.count_nonzero(map_in(tmp_path, "job-1", k, WHOLE)) for k in MAP_KINDS)


def test_the_same_maps_of_two_runs_are_kept_once_and_never_too_many(tmp_path: Path) -> None:
    one, other = HeatMaps(tmp_path, "one"), HeatMaps(tmp_path, "other")
    one.add(maps_of(CORES[0], 1), CORES[0])
    other.add(maps_of(CORES[0], 1), CORES[0])
    assert len(files(tmp_path)) == 2
    size = sum(path.stat().st_size for path in files(tmp_path))
    small = HeatMaps(tmp_path, "third", max_bytes=2 * size)
    for seed in range(2, 9):
        small.add(maps_of(CORES[0], seed), CORES[0])
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * size
    assert map_in(tmp_path, "third", "probability", WHOLE).any()


def test_a_half_written_line_is_no_block(tmp_path: Path) -> None:
    HeatMaps(tmp_path, "job-1").add(maps_of(CORES[0], 1), CORES[0])
    (path,) = (tmp_path / "caches" / "runs-with-maps").iterdir()
    path.write_text(path.read_text() + '{"core": {"off')
    assert map_in(tmp_path, "job-1", "centres", CORES[0]).all()


def test_nothing_is_known_of_a_run_without_maps_and_nonsense_is_refused(tmp_path: Path) -> None:
    assert not map_in(tmp_path, "job-1", "probability", WHOLE).any()
    for run_id, kind in (("../up", "probability"), ("job-1", "labels"), ("", "centres")):
        with pytest.raises(NotFoundError):
            map_in(tmp_path, run_id, kind, WHOLE)
