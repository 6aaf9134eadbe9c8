"""Give the separate parts of an object ids of their own.

A free choice of id is not offered on purpose. An object's id is the smallest of its supervoxels,
and a supervoxel id stands for the same thing at every version: one that was given out before means
something else in the history, and one that was not will be given out later. Names and classes
belong beside the object, not into its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cc3d
import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import difference_in, look_up, parts_over, read_parts
from segmentation_backend.edits.joints import JoinsChange, box_of, rejoin
from segmentation_backend.edits.kernels import paired_runs
from segmentation_backend.edits.object_box import ObjectBox, read_object
from segmentation_backend.edits.voxels import nothing_to_change, with_confidence_kept, write_voxels
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels import ChunkKey, Delta, LabelView
from segmentation_backend.labels.staging import Write

__all__ = ["MOST_PIECES", "relabel_components"]

Ids: TypeAlias = npt.NDArray[np.uint64]
Components: TypeAlias = npt.NDArray[np.unsignedinteger]

MOST_PIECES = 100_000
"""Pieces that one operation makes of an object (each is a row in the history and in memory)."""

_ERASED = 0


def relabel_components(
    view: LabelView,
    object_id: int,
    reserve_ids: Callable[[int], int],
    connectivity: Literal[6, 18, 26] = 26,
    dust: int = 0,
) -> Delta:
    """Return the change that makes one object of each connected part of an object.

    Voxels are connected across faces (6), edges (18) or corners (26). Parts of fewer than `dust`
    voxels are erased, unless no other is larger. A supervoxel that lies in one part keeps its id;
    of one that lies in several the largest part keeps it, and the others get ids from
    `reserve_ids(count)`. So an object of one supervoxel leaves its id to its largest part, and
    where whole supervoxels lie apart only edges change.

    Raises InvalidInputError (NOTHING_TO_CHANGE when the object is connected; INVALID_PARAMETER;
    ROI_TOO_LARGE; those of `LabelView.object`), NotFoundError OBJECT_NOT_FOUND.
    """
    if connectivity not in (6, 18, 26) or dust < 0:
        raise InvalidInputError(
            f"connectivity must be 6, 18 or 26 and dust at least 0, not {connectivity!r} and "
            f"{dust!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    found = read_object(view, object_id)
    components, count = cc3d.connected_components(
        found.mask, connectivity=connectivity, return_N=True
    )
    if count < 2:
        raise nothing_to_change(
            f"Object {found.root} is connected: every voxel is reached from every other. Split it "
            "between points instead."
        )
    return _Relabel(view, found, components, count).delta(dust, reserve_ids)


@dataclass(frozen=True)
class _Relabel:
    view: LabelView
    found: ObjectBox
    components: Components
    count: int

    def delta(self, dust: int, reserve_ids: Callable[[int], int]) -> Delta:
        codes, voxels = self._pieces()
        ids = self._ids(codes, voxels, dust, reserve_ids)
        joins = self._joins(codes, ids)
        return with_confidence_kept(write_voxels(self.view, self._writes(codes, ids), joins))

    def _code(self, members: npt.NDArray[np.integer], components: Components) -> Ids:
        """Return a number for each (member, component); 0 outside the object."""
        code = members.astype(np.uint64) * np.uint64(self.count + 1) + components
        return np.where(components > 0, code, np.uint64(0))

    def _pieces(self) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Return the sorted codes of all pieces and how many voxels each has."""
        codes, lengths = [], []
        for index, components in zip(self.found.index, self.components, strict=True):
            runs = paired_runs(
                index.astype(np.uint64).reshape(-1), components.astype(np.uint64).reshape(-1)
            )
            code, at = np.unique(self._code(runs[:, 0], runs[:, 1]), return_inverse=True)
            codes.append(code)
            lengths.append(np.bincount(at, weights=runs[:, 2], minlength=len(code)))
        unique, at = np.unique(np.concatenate(codes), return_inverse=True)
        return unique, np.bincount(at, weights=np.concatenate(lengths)).astype(np.int64)

    def _parts(self, codes: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the member (from 0) and the component of each piece."""
        members, components = np.divmod(codes.astype(np.int64), self.count + 1)
        return members - 1, components

    def _ids(
        self,
        codes: Ids,
        voxels: npt.NDArray[np.int64],
        dust: int,
        reserve_ids: Callable[[int], int],
    ) -> Ids:
        """Return which supervoxel each piece becomes; 0 for one that is erased."""
        members, components = self._parts(codes)
        sizes = np.bincount(components, weights=voxels, minlength=self.count + 1)
        stays = sizes >= min(dust, sizes.max())
        # Pieces of a member in order of the part they are in, largest part first: that one keeps
        # the id. A part that is erased comes last of all.
        order = np.lexsort((components, -sizes[components], ~stays[components], members))
        first = np.ones(len(codes), dtype=np.bool_)
        first[order[1:]] = members[order[1:]] != members[order[:-1]]
        ids = np.array(self.found.members, dtype=np.uint64)[members]
        new = ~first & stays[components]
        if int(new.sum()) > MOST_PIECES:
            raise InvalidInputError(
                f"Object {self.found.root} falls into more than {MOST_PIECES} pieces; choose a "
                "larger dust, so that the smallest are erased.",
                ErrorKind.INVALID_PARAMETER,
            )
        if new.any():
            ids[new] = np.uint64(reserve_ids(int(new.sum()))) + np.arange(
                int(new.sum()), dtype=np.uint64
            )
        ids[~stays[components]] = _ERASED
        return ids

    def _writes(self, codes: Ids, ids: Ids) -> Iterator[tuple[ChunkKey, list[Write]]]:
        roi = self.found.roi
        for part, old in read_parts(self.view, parts_over(roi, self.view)):
            here = part.roi.slices(roi.offset)
            code = self._code(self.found.index[here], self.components[here])
            new = np.where(code > 0, look_up(code, codes, ids), old)
            write = difference_in(part.key, part.box.offset, old, new)
            if write is not None:
                yield write

    def _joins(self, codes: Ids, ids: Ids) -> JoinsChange:
        members, components = self._parts(codes)
        pieces = {
            (self.found.members[m], c): s
            for m, c, s in zip(members.tolist(), components.tolist(), ids.tolist(), strict=True)
            if s != _ERASED
        }
        added, removed = rejoin(pieces, self.view.edges_of(self.found.root))
        # Parts without the smallest supervoxel are other objects now, written or not.
        home = {c for (_, c), s in pieces.items() if s == self.found.root}
        renamed = {m for (m, c), s in pieces.items() if s == m and c not in home}
        return JoinsChange(added, removed, box_of(self.view, renamed))
