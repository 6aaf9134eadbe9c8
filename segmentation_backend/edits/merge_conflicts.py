"""What two branches both changed: which objects, who did it, and what is to become of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from segmentation_backend.edits.merge_groups import Comparison, Group, Side
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ObjectStats, Operation
from segmentation_backend.labels.branch_log import BranchLog
from segmentation_backend.labels.statistics import sum_statistics

__all__ = ["Choice", "ConflictSide", "MergeConflict", "find_conflicts"]

Choice: TypeAlias = Literal["ours", "theirs", "skip"]
"""Which side's objects to have; "skip" keeps ours for now and asks again at the next merge."""

_CHOICES = ("ours", "theirs", "skip")


@dataclass(frozen=True, slots=True)
class ConflictSide:
    """What one branch made of the objects."""

    objects: tuple[ObjectStats, ...]
    """By root; empty where it deleted them all."""
    operations: tuple[Operation, ...]
    """That touched them since the branches were one, oldest first."""

    @property
    def users(self) -> tuple[str, ...]:
        """Who made the operations, by name."""
        return tuple(sorted({operation.user for operation in self.operations}))

    def to_json(self) -> dict[str, Any]:
        """Return the side as the HTTP interface shows it."""
        return {
            "objects": [stats.to_json() for stats in self.objects],
            "operations": [operation.to_json() for operation in self.operations],
            "users": list(self.users),
        }


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Objects that both branches changed, each in its own way."""

    id: int
    """The smallest supervoxel of all the objects: the same whenever these versions are compared."""
    supervoxels: frozenset[int]
    base: tuple[ObjectStats, ...]
    """The objects when the branches were one, by root."""
    ours: ConflictSide
    theirs: ConflictSide
    choice: Choice | None
    """None: not decided yet."""

    @property
    def bbox(self) -> Roi:
        """Level-0 box around the objects on all sides."""
        box = Roi((0, 0, 0), (0, 0, 0))
        for stats in (*self.base, *self.ours.objects, *self.theirs.objects):
            box = box.union(stats.bbox)
        return box

    def to_json(self) -> dict[str, Any]:
        """Return the conflict as the HTTP interface shows it; ids are strings."""
        return {
            "id": str(self.id),
            "bbox": self.bbox.to_json(),
            "base": [stats.to_json() for stats in self.base],
            "ours": self.ours.to_json(),
            "theirs": self.theirs.to_json(),
            "choice": self.choice,
        }


def find_conflicts(
    comparison: Comparison, choices: Mapping[int, Choice]
) -> tuple[MergeConflict, ...]:
    """Return the groups both sides changed, by id, with what was chosen for each.

    Raises InvalidInputError INVALID_PARAMETER for a choice there is not, or for no such conflict.
    """
    groups = [group for group in comparison.groups if group.standing == "both"]
    _check(choices, groups)
    bases = [side.view.version for side in comparison.bases]
    wanted = set().union(*(group.supervoxels for group in groups))
    ours, theirs = (
        BranchLog(side.view.storage, side.view.version, bases).on(wanted)
        for side in (comparison.ours, comparison.theirs)
    )
    return tuple(
        MergeConflict(
            group.id,
            group.supervoxels,
            _objects(group, comparison.bases[0]),
            ConflictSide(_objects(group, comparison.ours), _operations(group, ours)),
            ConflictSide(_objects(group, comparison.theirs), _operations(group, theirs)),
            choices.get(group.id),
        )
        for group in groups
    )


def _check(choices: Mapping[int, Choice], groups: Sequence[Group]) -> None:
    for value in choices.values():
        if value not in _CHOICES:
            raise InvalidInputError(
                f"A conflict is decided by one of {', '.join(_CHOICES)}, not {value!r}.",
                ErrorKind.INVALID_PARAMETER,
            )
    unknown = sorted(choices.keys() - {group.id for group in groups})
    if unknown:
        raise InvalidInputError(
            f"There is no conflict {unknown[0]} between the two branches (any more); look at the "
            "list of conflicts again.",
            ErrorKind.INVALID_PARAMETER,
        )


def _objects(group: Group, side: Side) -> tuple[ObjectStats, ...]:
    members = defaultdict(list)
    for supervoxel in group.supervoxels & side.statistics.keys():
        members[side.roots[supervoxel]].append(side.statistics[supervoxel])
    return tuple(sum_statistics(root, members[root]) for root in sorted(members))


def _operations(group: Group, log: Sequence[tuple[Operation, set[int]]]) -> tuple[Operation, ...]:
    return tuple(o for o, touched in log if not group.supervoxels.isdisjoint(touched))
