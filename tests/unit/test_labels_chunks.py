"""Chunks keep every voxel through trimming, composing and encoding; kernels equal naive code."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import ChunkKey, InlineChunk, check_id, check_ids
from segmentation_backend.labels.chunks import (
    EMPTY_CHUNK,
    chunk_roi,
    compose,
    decode,
    encode,
    keys_over,
    trim,
)
from segmentation_backend.labels.kernels import changed_box, distinct_ids, mode_pool, translate
from segmentation_backend.labels.statistics import StatisticsTable, sum_statistics

WHOLE = Roi((0, 0, 0), (64, 64, 64))


def random_block(seed: int, shape: tuple[int, int, int] = (64, 64, 64)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 5, shape, dtype=np.uint64)
    block[rng.random(shape) < 0.5] = 0
    return block


def test_a_full_chunk_survives_encoding() -> None:
    block = random_block(0) * np.uint64(2**59 + 1)
    again = decode(encode(trim(block, (0, 0, 0))).data)
    assert np.array_equal(again.cut(WHOLE), block)


@pytest.mark.parametrize("at", [(0, 0, 0), (63, 63, 63), (5, 63, 0)])
def test_one_voxel_survives_encoding_in_few_bytes(at: tuple[int, int, int]) -> None:
    block = np.zeros((64, 64, 64), dtype=np.uint64)
    block[at] = 2**63
    chunk = trim(block, (0, 0, 0))
    assert chunk.offset == at
    encoded = encode(chunk)
    assert len(encoded.data) < 64
    assert np.array_equal(decode(encoded.data).cut(WHOLE), block)


@pytest.mark.parametrize("level", [-5, 1, 3, 12])
def test_a_frame_of_any_compression_level_is_read(level: int) -> None:
    chunk = trim(random_block(2), (0, 0, 0))
    frame = zstandard.ZstdCompressor(level=level).compress(chunk.block.tobytes())
    assert np.array_equal(decode(encode(chunk).data[:6] + frame).block, chunk.block)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 1024, 1025, 65_535, 65_536, 65_537, 262_144])
def test_any_number_of_ids_survives_encoding(count: int) -> None:
    rng = np.random.default_rng(count)
    ids = np.unique(rng.integers(1, 2**64 - 1, 2 * count + 10, dtype=np.uint64))[:count]
    block = np.concatenate([ids, rng.choice(ids, 64**3 - count)])
    chunk = trim(rng.permutation(block).reshape(64, 64, 64), (0, 0, 0))
    again = decode(encode(chunk).data)
    assert np.array_equal(again.block, chunk.block)
    assert again.ids is None or np.array_equal(again.ids, ids)
    assert (again.ids is None) == (count > 65_536)


def test_known_ids_leave_out_background() -> None:
    block = random_block(7)
    again = decode(encode(trim(block, (0, 0, 0))).data)
    assert again.ids is not None
    assert np.array_equal(again.ids, distinct_ids(block))


def test_a_large_object_takes_few_bytes() -> None:
    block = np.full((64, 64, 64), 77, dtype=np.uint64)
    block[:5], block[40:, :, 50:] = 0, 12
    assert len(encode(trim(block, (0, 0, 0))).data) < 2000


def test_a_number_without_an_id_is_refused() -> None:
    data = encode(trim(np.full((2, 2, 2), 5, np.uint64), (0, 0, 0))).data
    frame = zstandard.compress(np.array([5], np.uint64).tobytes() + bytes([0] * 7 + [1]))
    for wrong in (frame, zstandard.compress(bytes(9)), zstandard.compress(bytes(2**20))):
        with pytest.raises(FormatError) as caught:
            decode(data[:7] + wrong)
        assert caught.value.kind == ErrorKind.CORRUPT_CHUNK
    with pytest.raises(FormatError, match="does not know"):
        decode(data[:6] + bytes([4]) + data[7:])


def test_a_chunk_without_labels_is_the_empty_chunk() -> None:
    chunk = trim(np.zeros((3, 4, 5), dtype=np.uint64), (1, 2, 3))
    assert chunk is EMPTY_CHUNK
    assert decode(encode(chunk).data) is EMPTY_CHUNK
    assert not chunk.cut(WHOLE).any()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\1",
        bytes([0, 0, 0, 2, 2, 2]) + b"not a frame",
        bytes([0, 0, 0, 2, 2, 3]) + encode(trim(np.ones((2, 2, 2), np.uint64), (0, 0, 0))).data[6:],
        bytes([63, 0, 0, 2, 2, 2])
        + encode(trim(np.ones((2, 2, 2), np.uint64), (0, 0, 0))).data[6:],
    ],
)
def test_bytes_that_are_no_chunk_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        decode(data)
    assert caught.value.kind == ErrorKind.CORRUPT_CHUNK


def test_chunks_are_read_only() -> None:
    chunk = trim(random_block(1), (0, 0, 0))
    for block in (chunk.block, decode(encode(chunk).data).block):
        with pytest.raises(ValueError, match="read-only"):
            block[0, 0, 0] = 1


@given(st.lists(st.tuples(*[st.integers(0, 63)] * 6), max_size=4), st.integers(0, 10))
@settings(max_examples=25, deadline=None)
def test_composing_equals_writing_into_an_array(corners: list[tuple[int, ...]], seed: int) -> None:
    expected = np.zeros((64, 64, 64), dtype=np.uint64)
    expected[10:20, 30:40, 50:60] = random_block(seed, (10, 10, 10))
    before = trim(expected, (0, 0, 0))
    writes = []
    for number, c in enumerate(corners):
        begin, end = np.minimum(c[:3], c[3:]), np.maximum(c[:3], c[3:]) + 1
        block = random_block(seed + number, tuple(end - begin))
        expected[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] = block
        writes.append((tuple(begin.tolist()), block))
    after = compose(before, writes)
    assert np.array_equal(after.cut(WHOLE), expected)
    if expected.any():
        assert after.box == Roi.of_points(np.argwhere(expected).tolist())


def test_keys_cover_a_region_once_and_clip_to_the_volume() -> None:
    level = ScaleLevel(0, (8.0, 8.0, 8.0), (70, 130, 64))
    keys = list(keys_over(Roi((63, 60, 0), (2, 10, 64)), 0))
    assert keys == [ChunkKey(0, z, y, 0) for z in (0, 1) for y in (0, 1)]
    assert chunk_roi(ChunkKey(0, 1, 2, 0), level) == Roi((64, 128, 0), (6, 2, 64))
    assert list(keys_over(Roi((0, 0, 0), (0, 5, 5)), 0)) == []


@pytest.mark.parametrize("factor", [(2, 2, 2), (1, 2, 2), (2, 1, 1), (1, 1, 1)])
def test_pooling_takes_the_most_frequent_id(factor: tuple[int, int, int]) -> None:
    block = random_block(3, (5, 7, 6))
    pooled = mode_pool(block, *factor)
    for at in np.ndindex(*pooled.shape):
        cell = block[tuple(slice(a * f, a * f + f) for a, f in zip(at, factor, strict=True))]
        ids, counts = np.unique(cell, return_counts=True)
        best = ids[counts == counts.max()]
        assert pooled[at] == (min(best[best > 0]) if (best > 0).any() else 0)


def test_a_label_wins_a_tie_with_background_and_the_smaller_label_wins() -> None:
    assert mode_pool(np.array([[[0, 0], [7, 7]]], np.uint64), 1, 2, 2)[0, 0, 0] == 7
    assert mode_pool(np.array([[[9, 9], [7, 7]]], np.uint64), 1, 2, 2)[0, 0, 0] == 7
    assert mode_pool(np.array([[[7, 7], [9, 9]]], np.uint64), 1, 2, 2)[0, 0, 0] == 7
    assert mode_pool(np.array([[[0, 0], [0, 7]]], np.uint64), 1, 2, 2)[0, 0, 0] == 0


def test_translation_leaves_unknown_ids_and_prefers_the_newer_table() -> None:
    ids = np.array([0, 3, 3, 5, 2**64 - 1, 5, 7], np.uint64)
    out = np.empty_like(ids)
    newer = np.array([5], np.uint64), np.array([50], np.uint64)
    older = np.array([3, 5], np.uint64), np.array([30, 55], np.uint64)
    translate(ids, *newer, *older, out)
    assert out.tolist() == [0, 30, 30, 50, 2**64 - 1, 50, 7]


def test_the_changed_box_is_tight() -> None:
    a = random_block(4, (6, 7, 8))
    b = a.copy()
    assert changed_box(a, b)[3] == 0
    b[2, 3, 4] += 1
    b[4, 1, 6] += 1
    assert changed_box(a, b).tolist() == [2, 1, 4, 5, 4, 7]


def test_distinct_ids_are_sorted_and_leave_out_background() -> None:
    block = random_block(5, (4, 5, 6)) * np.uint64(2**40)
    assert np.array_equal(distinct_ids(block), np.unique(block[block > 0]))
    assert distinct_ids(block[:0]).size == 0


def test_statistics_equal_counting_over_blocks_far_from_the_origin() -> None:
    block = random_block(6, (9, 8, 7))
    table = StatisticsTable([1, 2, 3, 4, 99])
    table.add(block[:4], (1000, 2000, 3000))
    table.add(block[4:], (1004, 2000, 3000))
    assert table.get(99) is None
    assert set(table.found()) == {1, 2, 3, 4}
    parts = []
    for supervoxel in (1, 2):
        points = np.argwhere(block == supervoxel) + np.array([1000, 2000, 3000])
        found = table.get(supervoxel)
        assert found is not None
        assert found.voxels == len(points)
        assert found.sums == tuple(points.sum(axis=0))
        assert found.bbox == Roi.of_points(points.tolist())
        parts.append(found)
    points = np.argwhere((block == 1) | (block == 2)) + np.array([1000, 2000, 3000])
    whole = sum_statistics(1, parts)
    assert whole.centroid == pytest.approx(points.mean(axis=0))
    assert whole.to_json()["id"] == "1"


@pytest.mark.parametrize("value", [-1, 2**64, 1.0, "1", None, True])
def test_ids_outside_64_bits_are_refused(value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_id(value)
    assert caught.value.kind == ErrorKind.INVALID_ID


def test_ids_of_64_bits_pass_as_plain_integers() -> None:
    assert check_ids([1, 2**64 - 1, np.uint64(7)]) == [1, 2**64 - 1, 7]
    assert InlineChunk(b"x") == InlineChunk(b"x")
