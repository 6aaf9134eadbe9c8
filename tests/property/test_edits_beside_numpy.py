"""Every edit that writes voxels, on random labels, beside a few lines of numpy that do the same.

What is compared: each voxel's supervoxel and object, the statistics, all levels, the joins, the
boxes and the moves the operation states, and that its undo restores every bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invariants import edges_join_supervoxels_that_exist, statistics_match_the_voxels
from random_labels import World, after, carried, check, corners, intents, rooted, same, world
from scipy import ndimage

from segmentation_backend.edits import (
    cleave,
    delete,
    filter_small,
    morph,
    paint,
    relabel_components,
    undo,
)
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import OperationMeta

few = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(intent=intents(), data=st.data())
def test_paint(intent: dict[str, Any], data: st.DataObject) -> None:
    with world(intent) as before:
        begin = data.draw(corners(intent["shape"]))
        end = [
            data.draw(st.integers(b + 1, n))
            for b, n in zip(begin, before.voxels.shape, strict=True)
        ]
        roi = Roi.from_bounds(begin, end)
        density = data.draw(st.sampled_from([0.02, 0.5, 1.0]))
        mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(roi.shape) < density
        supervoxels = [int(s) for s in np.unique(before.voxels) if s]
        target = data.draw(st.sampled_from([0, None, *supervoxels]))
        over = data.draw(
            st.sampled_from(["all", "background"])
            | st.lists(st.sampled_from([0, *supervoxels]), min_size=1, max_size=3)
        )
        inside = np.zeros(before.voxels.shape, dtype=bool)
        inside[roi.slices()] = mask
        object_of = {int(s): before.view.root_of(s) for s in supervoxels}
        own = np.zeros_like(inside) if not target else before.roots == object_of[target]
        if over == "all":
            allowed = np.ones_like(inside)
        else:
            listed = {0} if over == "background" else {object_of.get(s, 0) for s in over}
            allowed = np.isin(before.roots, np.array(sorted(listed), dtype=np.uint64))
        changes = inside & allowed & ~own
        changes &= (before.roots != 0) if target == 0 else True
        head = before.repository.head
        if not changes.any():
            with pytest.raises(InvalidInputError) as caught:
                paint(before.view, roi, mask, target, over, before.repository.reserve_ids)
            assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
            assert before.repository.head == head
            return
        delta = paint(before.view, roi, mask, target, over, before.repository.reserve_ids)
        value = before.repository.reserve_ids(0) - 1 if target is None else target
        voxels = np.where(changes, np.uint64(value), before.voxels)
        assert delta.bbox is not None
        assert delta.bbox.encloses(Roi.of_points(np.argwhere(changes).tolist()))
        check(before, delta, voxels, rooted(voxels, carried(before, voxels)))


@few
@given(intent=intents(), data=st.data())
def test_delete(intent: dict[str, Any], data: st.DataObject) -> None:
    with world(intent) as before:
        supervoxels = [int(s) for s in np.unique(before.voxels) if s]
        ids = data.draw(st.lists(st.sampled_from(supervoxels), min_size=1, max_size=3))
        doomed = {before.view.root_of(i) for i in ids}
        gone = np.isin(before.roots, np.array(sorted(doomed), dtype=np.uint64))
        voxels = np.where(gone, np.uint64(0), before.voxels)
        delta = delete(before.view, ids)
        assert delta.bbox == Roi.of_points(np.argwhere(gone).tolist())
        check(before, delta, voxels, np.where(gone, np.uint64(0), before.roots))


@few
@given(intent=intents(), data=st.data())
def test_filter_small(intent: dict[str, Any], data: st.DataObject) -> None:
    with world(intent) as before:
        sizes = {root: int((before.roots == root).sum()) for root in before.objects}
        least = data.draw(st.sampled_from(sorted(sizes.values()))) + data.draw(st.integers(0, 1))
        roi = before.view.bounds
        if data.draw(st.booleans()):
            begin = data.draw(corners(intent["shape"]))
            roi = Roi.from_bounds(
                begin, [min(n, b + 20) for b, n in zip(begin, roi.shape, strict=True)]
            )
        near = set(np.unique(before.roots[roi.slices()]).tolist())
        doomed = [root for root, size in sizes.items() if size < least and root in near]
        if not doomed:
            with pytest.raises(InvalidInputError) as caught:
                filter_small(before.view, least, roi=roi)
            assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
            return
        gone = np.isin(before.roots, np.array(doomed, dtype=np.uint64))
        voxels = np.where(gone, np.uint64(0), before.voxels)
        edge = np.prod(intent["voxel_size"])
        one, other = filter_small(before.view, least, roi=roi), None
        other = filter_small(before.view, min_nm3=least * float(edge), roi=roi)
        assert one == other
        check(before, one, voxels, np.where(gone, np.uint64(0), before.roots))


def ball(radius: float, edges: tuple[float, ...], plane: int | None) -> np.ndarray:
    reach = [int(radius / e + 1e-6) for e in edges]
    if plane is not None:
        reach[plane] = 0
    grid = np.indices([2 * r + 1 for r in reach])
    distance = sum(((g - r) * e) ** 2 for g, r, e in zip(grid, reach, edges, strict=True))
    return np.asarray(distance <= radius**2 * (1 + 1e-9))


def naive_morph(
    mask: np.ndarray, operation: str, structure: np.ndarray, plane: int | None
) -> np.ndarray:
    if operation == "fill_holes":
        faces = ndimage.generate_binary_structure(3, 1)
        if plane is not None:
            faces[tuple(slice(None, None, 2) if a == plane else slice(None) for a in range(3))] = 0
        # Background is reached from outside, slice by slice too.
        margin = [int(axis != plane) for axis in range(3)]
        crop = tuple(slice(m, m + n) for m, n in zip(margin, mask.shape, strict=True))
        outside = np.pad(~mask, [(m, m) for m in margin], constant_values=True)
        parts, _ = ndimage.label(outside, faces)
        rim = np.ones_like(outside)
        rim[crop] = False
        reached = np.isin(parts, np.unique(parts[rim]))
        return mask | (~reached & outside)[crop]
    pad = [(n, n) for n in structure.shape]
    if operation == "close":
        padded = ndimage.binary_dilation(np.pad(mask, pad), structure)
        closed = ndimage.binary_erosion(padded, structure)
        return closed[tuple(slice(n, -n) for n in structure.shape)]
    if operation == "dilate":
        return ndimage.binary_dilation(mask, structure)
    eroded = ndimage.binary_erosion(mask, structure, border_value=1)
    return eroded if operation == "erode" else ndimage.binary_dilation(eroded, structure)


def rings(inside: np.ndarray, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what is reached of `wanted` from `inside` across faces, step by step."""
    reached = inside
    while True:
        ring = ndimage.binary_dilation(reached) & wanted & ~reached
        if not ring.any():
            return
        yield ring
        reached = reached | ring


@few
@given(
    intent=intents(),
    data=st.data(),
    operation=st.sampled_from(["erode", "dilate", "open", "close", "fill_holes"]),
    radius=st.sampled_from([1.0, 1.5, 2.0, 3.2]),
    unit=st.sampled_from(["nm", "voxels"]),
    plane=st.sampled_from([None, 0, 2]),
)
def test_morph(
    intent: dict[str, Any],
    data: st.DataObject,
    operation: Any,
    radius: float,
    unit: Any,
    plane: int | None,
) -> None:
    with world(intent) as before:
        root = data.draw(st.sampled_from(before.objects))
        edges = intent["voxel_size"] if unit == "nm" else (1.0, 1.0, 1.0)
        radius *= 8.0 if unit == "nm" else 1.0
        mask = before.roots == root
        formed = naive_morph(mask, operation, ball(radius, edges, plane), plane)
        new = np.zeros_like(mask)
        for ring in rings(mask, formed & (before.roots == 0)):
            new |= ring
        lost = mask & ~formed
        arguments = (before.view, root, operation, radius, unit, plane)
        if not formed.any() or not (new.any() or lost.any()):
            with pytest.raises(InvalidInputError) as caught:
                morph(*arguments)
            empty = not formed.any()
            kinds = (ErrorKind.NOTHING_TO_CHANGE, ErrorKind.INVALID_PARAMETER)
            assert caught.value.kind == kinds[empty]
            return
        delta = morph(*arguments)
        voxels = after(before, delta)
        kept = ~new & ~lost
        assert np.array_equal(voxels[kept], before.voxels[kept])
        assert not voxels[lost].any()
        check_new_voxels(before, mask, new, voxels)
        check(before, delta, voxels, rooted(voxels, carried(before, voxels)))


def check_new_voxels(before: World, mask: np.ndarray, new: np.ndarray, voxels: np.ndarray) -> None:
    """Each new voxel has the supervoxel of a neighbour that was reached one step earlier."""
    earlier = np.where(mask, before.voxels, 0)
    for ring in rings(mask, new):
        found = np.zeros_like(ring)
        for axis in range(3):
            for shift in (-1, 1):
                near = np.roll(np.pad(earlier, 1), shift, axis)[1:-1, 1:-1, 1:-1]
                found |= (near == voxels) & (near > 0)
        assert found[ring].all()
        earlier = np.where(ring, voxels, earlier)


@few
@given(
    intent=intents(),
    data=st.data(),
    connectivity=st.sampled_from([6, 18, 26]),
    dust=st.sampled_from([0, 2, 30]),
)
def test_relabel_components(
    intent: dict[str, Any], data: st.DataObject, connectivity: Any, dust: int
) -> None:
    with world(intent) as before:
        root = data.draw(st.sampled_from(before.objects))
        mask = before.roots == root
        structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
        parts, count = ndimage.label(mask, structure)
        reserve = before.repository.reserve_ids
        if count < 2:
            with pytest.raises(InvalidInputError) as caught:
                relabel_components(before.view, root, reserve, connectivity, dust)
            assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
            return
        delta = relabel_components(before.view, root, reserve, connectivity, dust)
        voxels = after(before, delta)
        sizes = np.bincount(parts.reshape(-1))[1:]
        erased = np.isin(parts, [k for k, n in enumerate(sizes, 1) if n < min(dust, sizes.max())])
        assert not voxels[erased].any()
        assert np.array_equal(voxels[~mask], before.voxels[~mask])
        inside = mask & ~erased
        assert (voxels[inside] > 0).all()
        # No supervoxel lies in two parts, and each is a piece of one.
        for of, partner in ((voxels, parts), (voxels, before.voxels)):
            pairs = np.unique(np.stack([of[inside], partner[inside].astype(np.uint64)]), axis=1)
            assert len(np.unique(pairs[0])) == pairs.shape[1]
        for supervoxel in np.unique(before.voxels[inside]):
            own = inside & (before.voxels == supervoxel)
            largest = sizes[parts[own] - 1].max()
            assert supervoxel in voxels[own & np.isin(parts, np.flatnonzero(sizes == largest) + 1)]
        groups = np.where(mask, parts.astype(np.uint64) + np.uint64(2**40), before.roots)
        check(before, delta, voxels, rooted(voxels, groups))


@few
@given(intent=intents(), data=st.data())
def test_cleave(intent: dict[str, Any], data: st.DataObject) -> None:
    intent["merges"] += [(0, 1), (0, 1)]
    with world(intent) as before:
        root = data.draw(st.sampled_from(before.objects))
        members = before.view.members(root)
        off = data.draw(st.lists(st.sampled_from(members), min_size=1, unique=True))
        if len(off) == len(members):
            with pytest.raises(InvalidInputError) as caught:
                cleave(before.view, off)
            assert caught.value.kind == ErrorKind.SEEDS_ON_ONE_SIDE
            return
        delta = cleave(before.view, off)
        assert not delta.chunks
        apart = np.isin(before.voxels, np.array(off, dtype=np.uint64))
        groups = np.where(apart, np.uint64(2**40), before.roots)
        check(before, delta, before.voxels, rooted(before.voxels, groups))


@few
@given(intent=intents(), data=st.data())
def test_a_chain_of_edits_is_undone_link_by_link(
    intent: dict[str, Any], data: st.DataObject
) -> None:
    with world(intent) as before:
        repository = before.repository
        versions = [repository.head]
        for _ in range(4):
            view = repository.at()
            objects = [o.root for o in view.objects()]
            if not objects:
                break
            root = data.draw(st.sampled_from(objects))
            point = data.draw(corners(intent["shape"]))
            roi = Roi(point, (12, 12, 12)).intersect(view.bounds)
            edit = data.draw(st.sampled_from(["paint", "erase", "dilate", "erode", "delete"]))
            whole = np.ones(roi.shape, dtype=bool)
            try:
                if edit in ("paint", "erase"):
                    target = 0 if edit == "erase" else root
                    delta = paint(view, roi, whole, target, "all", repository.reserve_ids)
                elif edit == "delete":
                    delta = delete(view, [root])
                else:
                    delta = morph(view, root, edit)  # type: ignore[arg-type]
            except InvalidInputError:
                continue
            repository.commit(delta, OperationMeta(edit, "bob"))
            statistics_match_the_voxels(repository.at())
            edges_join_supervoxels_that_exist(repository.at())
            versions.append(repository.head)
        for version, earlier in pairwise(reversed(versions)):
            operation = repository.operation(version)
            delta = undo(repository.at(), operation, repository.delta(version))
            repository.commit(delta, OperationMeta("undo", "bob", undoes=version))
            assert same(repository.at(), repository.at(earlier))
