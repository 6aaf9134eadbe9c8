"""The points of a split: all on one object, each group with something to hold on to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import LabelView

__all__ = ["Points", "Seeds", "locate_seeds"]

Points = Sequence[Sequence[Sequence[int]]]
"""Groups of level-0 voxels, z, y, x."""

_MOST_GROUPS = 255


@dataclass(frozen=True)
class Seeds:
    """Two or more groups of voxels on one object; each group marks a part to become."""

    root: int
    groups: tuple[tuple[Coordinate, ...], ...]
    """Level-0 voxels, z, y, x."""
    supervoxels: tuple[frozenset[int], ...]
    """The supervoxels under each group."""

    @property
    def need_voxels(self) -> bool:
        """Whether two groups share a supervoxel: then no cut between supervoxels parts them."""
        together = set().union(*self.supervoxels)
        return sum(len(group) for group in self.supervoxels) > len(together)

    def cells(self, factor: Coordinate, origin: Coordinate) -> list[list[Coordinate]]:
        """Return the groups on a grid of `factor` voxels a cell, counted from the cell `origin`."""
        return [[_cell(point, factor, origin) for point in group] for group in self.groups]


def _cell(point: Coordinate, factor: Coordinate, origin: Coordinate) -> Coordinate:
    z, y, x = (p // f - o for p, f, o in zip(point, factor, origin, strict=True))
    return (z, y, x)


def locate_seeds(view: LabelView, groups: Points) -> Seeds:
    """Return the points of a split with what lies under them.

    Raises InvalidInputError: SEEDS_ON_ONE_SIDE when there are fewer than two groups, one is empty,
    or two hold the same voxel; SEEDS_OUTSIDE_OBJECT naming the first point that is not on the
    object of the first one; ROI_OUT_OF_BOUNDS.
    """
    points = tuple(tuple((int(z), int(y), int(x)) for z, y, x in group) for group in groups)
    _check_sides(points)
    under = {point: view.supervoxel_at(point) for group in points for point in group}
    first = points[0][0]
    root = view.root_of(under[first])
    for point, supervoxel in under.items():
        if supervoxel == 0 or view.root_of(supervoxel) != root:
            there = f"object {view.root_of(supervoxel)}" if supervoxel else "background"
            wanted = f"; the first point is on object {root}" if point != first else ""
            raise InvalidInputError(
                f"The point {list(point)} (z, y, x) is on {there}{wanted}. Put every point on the "
                "one object that is to be split.",
                ErrorKind.SEEDS_OUTSIDE_OBJECT,
            )
    return Seeds(root, points, tuple(frozenset(under[p] for p in group) for group in points))


def _check_sides(groups: tuple[tuple[Coordinate, ...], ...]) -> None:
    if len(groups) < 2 or not all(groups):
        raise InvalidInputError(
            "A split needs points on both sides; put at least one point on each part.",
            ErrorKind.SEEDS_ON_ONE_SIDE,
        )
    if len(groups) > _MOST_GROUPS:
        raise InvalidInputError(
            f"{len(groups)} groups are too many; split into at most {_MOST_GROUPS} parts at once.",
            ErrorKind.INVALID_PARAMETER,
        )
    side_of: dict[Coordinate, int] = {}
    for side, group in enumerate(groups, start=1):
        for point in group:
            if side_of.setdefault(point, side) != side:
                raise InvalidInputError(
                    f"The point {list(point)} (z, y, x) is in two groups; a voxel can only go to "
                    "one part.",
                    ErrorKind.SEEDS_ON_ONE_SIDE,
                )
