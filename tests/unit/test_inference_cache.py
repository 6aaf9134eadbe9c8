"""Finished blocks are found again exactly when nothing that they depend on has changed."""

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import forked
from stand_in_network import Blobs, Grey, Source, cloudy

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference import cache as module
from segmentation_backend.inference.cache import BlockCache, content_key
from segmentation_backend.inference.grid import BlockGrid, Tiling
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.results import BlockResult
from segmentation_backend.inference.runner import BlockOptions, segment_region
from segmentation_backend.models.registry import find_model

GRID = BlockGrid(Roi((0, 0, 0), (4, 96, 300)), "slice", "xy", Tiling(96, 32))
BLOCKS = GRID.blocks(GRID.bounds)


def result(block, seed=0):
    labels = np.random.default_rng(seed).integers(0, 3, block.box.shape).astype(np.uint32)
    ones = np.ones(int(labels.max()), np.float32)
    return BlockResult(block, labels, ones / 2, ones)


def files(folder):
    return [p for p in folder.rglob("*") if p.is_file()]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(value=st.dictionaries(st.text(), json_values))
def test_a_key_is_of_the_meaning_not_of_the_order(value):
    turned = dict(reversed(list(value.items())))
    assert content_key(value) == content_key(turned)
    assert content_key(value) == content_key(json.loads(json.dumps(value)))
    assert content_key(value) != content_key({**value, "one more": 1})


@pytest.mark.parametrize("value", [{"x": math.nan}, {"x": object()}, {1: 2}])
def test_what_is_not_json_has_no_key(value):
    with pytest.raises((TypeError, ValueError)):
        content_key(value)


def test_what_was_kept_is_found(tmp_path):
    run = BlockCache(tmp_path / "not" / "there").run({"image": "a"})
    assert run.find(BLOCKS[0]) is None
    kept = result(BLOCKS[0])
    run.keep(kept)
    found = BlockCache(tmp_path / "not" / "there").run({"image": "a"}).find(BLOCKS[0])
    np.testing.assert_array_equal(found.labels, kept.labels)
    assert found.block == kept.block
    assert found.labels.flags.writeable


def test_anything_else_has_another_key(monkeypatch, tmp_path):
    cache = BlockCache(tmp_path)
    other = BlockGrid(Roi((0, 0, 0), (4, 96, 301)), "slice", "xy", Tiling(96, 32))
    coarse = BlockGrid(GRID.bounds, "slice", "xy", Tiling(160, 32))
    stack = BlockGrid(GRID.bounds, "stack", "xy", Tiling(96, 32))
    run = cache.run({"image": "a"})
    keys = [run.key(block) for block in BLOCKS]
    keys.append(cache.run({"image": "b"}).key(BLOCKS[0]))
    keys += [run.key(g.block(BLOCKS[0].index)) for g in (coarse, stack)]
    keys.append(run.key(other.block((0, 0, 8))))
    monkeypatch.setattr(module, "RESULT_VERSION", module.RESULT_VERSION + 1)
    keys.append(run.key(BLOCKS[0]))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_file_is_no_result_and_goes(damage, tmp_path):
    run = BlockCache(tmp_path).run({})
    run.keep(result(BLOCKS[0]))
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-10]
    elif damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content = b""
    else:
        content = b"a text that somebody wrote here"
    path.write_bytes(content)
    assert run.find(BLOCKS[0]) is None
    assert files(tmp_path) == []
    run.keep(result(BLOCKS[0]))
    assert run.find(BLOCKS[0]) is not None


def test_a_result_of_another_shape_is_none(tmp_path):
    cache = BlockCache(tmp_path)
    cache.keep("ab" * 32, result(BLOCKS[0]))
    odd = BlockGrid(Roi((0, 0, 0), (4, 80, 300)), "slice", "xy", Tiling(96, 32))
    assert cache.find("ab" * 32, odd.blocks(odd.bounds)[0]) is None


def test_what_was_not_of_use_for_longest_makes_room(tmp_path):
    size = len(result(BLOCKS[0]).to_bytes()) + 32
    cache = BlockCache(tmp_path, int(4.5 * size))
    run = cache.run({})
    for number in range(4):
        run.keep(result(BLOCKS[number]))
        path = cache._path(run.key(BLOCKS[number]))
        os.utime(path, ns=(number * 10**9, number * 10**9))
    assert run.find(BLOCKS[0]) is not None  # now the newest
    run.keep(result(BLOCKS[4]))
    left = [run.find(block) is not None for block in BLOCKS[:5]]
    assert left == [True, False, True, True, True]
    for number in range(5, 12):
        run.keep(result(BLOCKS[number]))
        assert sum(p.stat().st_size for p in files(tmp_path)) <= 4.5 * size


def test_a_result_larger_than_the_cache_is_not_kept(tmp_path):
    run = BlockCache(tmp_path, 100).run({})
    run.keep(result(BLOCKS[0]))
    assert files(tmp_path) == []


def test_what_a_dead_process_left_unfinished_goes(tmp_path):
    run = BlockCache(tmp_path).run({})
    run.keep(result(BLOCKS[0]))
    folder = files(tmp_path)[0].parent
    old, new = folder / "x1.part", folder / "x2.part"
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    BlockCache(tmp_path).run({}).keep(result(BLOCKS[1]))
    assert not old.exists()
    assert new.exists()


def test_a_disk_that_takes_no_more_costs_the_cache_only(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    run = BlockCache(tmp_path).run({})
    monkeypatch.setattr(module.tempfile, "mkstemp", full)
    run.keep(result(BLOCKS[0]))
    assert run.find(BLOCKS[0]) is None
    assert "No space left" in caplog.text


def hammer(folder, seed):
    """Write and read the same few blocks in a small cache; every answer must be whole."""
    rng = np.random.default_rng(seed)
    run = BlockCache(folder, 40_000).run({})
    for _ in range(60):
        place = int(rng.integers(len(BLOCKS[:12])))
        found = run.find(BLOCKS[place])
        if found is None:
            run.keep(result(BLOCKS[place], place))
        else:
            np.testing.assert_array_equal(found.labels, result(BLOCKS[place], place).labels)


def test_threads_share_a_folder(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: hammer(tmp_path, seed), range(4)))
    assert not [p for p in files(tmp_path) if p.suffix == ".part"]


def test_processes_share_a_folder(tmp_path):
    workers = [forked().Process(target=hammer, args=(tmp_path, seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sum(p.stat().st_size for p in files(tmp_path)) <= 40_000 * (1 + 2 / 16)


def test_a_region_again_is_served_without_reading_or_computing(tmp_path):
    bounds = Roi((0, 0, 0), (3, 700, 200))
    source = Source(cloudy(bounds.shape), bounds)
    network = Blobs()

    def run(roi, **changes):
        call = {
            "identity": {"image": "a", "weights_sha256": "b"}, "mean": 128.0,
        } | changes  # fmt: skip
        more = {name: value for name, value in changes.items() if name not in ("identity", "mean")}
        options = BlockOptions(cache=BlockCache(tmp_path), identity=call["identity"])
        source.boxes.clear()
        network.shapes.clear()
        found = segment_region(
            source.read, roi, network, find_model("mitoglance_small", tmp_path),
            Grey(call["mean"]), "xy", "slice", InferenceParameters(**{"min_area": 20} | more),
            lambda share, text: None, bounds=bounds, options=options,
        )  # fmt: skip
        return found.labels, len(network.shapes), len(source.boxes)

    roi = Roi((1, 100, 0), (1, 500, 200))
    first, *work = run(roi)
    assert work == [2, 2]
    again, *work = run(roi)
    assert work == [0, 0]
    np.testing.assert_array_equal(again, first)
    assert run(Roi((1, 0, 50), (1, 700, 100)))[1:] == (0, 0)
    assert run(roi, mean=127.0)[1:] == (2, 2)
    assert run(roi, min_area=21)[1:] == (2, 2)
    # What is done to a whole region needs no block anew.
    with pytest.raises(InvalidInputError, match="raise it") as caught:
        run(roi, maximum_objects_per_class=int(first.max()) - 1)
    assert caught.value.kind == ErrorKind.TOO_MANY_OBJECTS
    assert run(roi, maximum_objects_per_class=int(first.max()))[1:] == (0, 0)
    eroded, *work = run(roi, label_erosion=2, fill_holes_in_segmentation=True)
    assert work == [0, 0]
    assert 0 < np.count_nonzero(eroded) < np.count_nonzero(first)
    assert run(roi, identity={"image": "a", "weights_sha256": "c"})[1:] == (2, 2)


def test_a_result_that_is_held_can_be_found(tmp_path):
    run = BlockCache(tmp_path).run({})
    assert not run.holds(BLOCKS[0])
    run.keep(result(BLOCKS[0]))
    assert run.holds(BLOCKS[0])
    assert not run.holds(BLOCKS[1])
    assert run.find(BLOCKS[0]) is not None
