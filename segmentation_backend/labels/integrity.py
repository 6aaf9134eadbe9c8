"""Whether everything a label volume promises holds: each promise is a function with its name.

Functions yield a `Finding` for each thing that is not as it should be, and nothing where all is
well. Memory stays bounded: voxels are read block by block, rows in portions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from segmentation_backend.errors import SegmentationError
from segmentation_backend.labels.findings import Finding
from segmentation_backend.labels.integrity_joins import (
    edges_are_added_and_removed_in_turn,
    edges_join_supervoxels_that_exist,
    members_follow_the_edges,
    objects_match_their_supervoxels,
)
from segmentation_backend.labels.integrity_rows import (
    branch_merges_name_versions,
    branches_lead_back_to_the_first,
    confidences_are_shares,
    history_hangs_together,
    ids_were_given_out,
    request_ids_are_unique,
    rows_belong_to_operations,
    rows_lie_on_the_grid,
    tags_name_versions,
)
from segmentation_backend.labels.integrity_voxels import (
    levels_match_the_level_below,
    statistics_match_the_voxels,
)
from segmentation_backend.labels.pack_integrity import packs_hold_what_rows_name
from segmentation_backend.labels.repository import LabelRepository
from segmentation_backend.labels.storage import LabelStorage
from segmentation_backend.labels.view import LabelView

__all__ = ["STORE_INVARIANTS", "VERSION_INVARIANTS", "Progress", "check_labels"]

Progress = Callable[[float, str], None]
"""Told the share of the work done, 0 to 1, and what is being done."""

STORE_INVARIANTS: tuple[Callable[[LabelStorage], Iterator[Finding]], ...] = (
    branches_lead_back_to_the_first,
    history_hangs_together,
    rows_belong_to_operations,
    rows_lie_on_the_grid,
    confidences_are_shares,
    tags_name_versions,
    branch_merges_name_versions,
    request_ids_are_unique,
    ids_were_given_out,
)
"""What must hold of the rows of a volume."""

VERSION_INVARIANTS: tuple[Callable[[LabelView], Iterator[Finding]], ...] = (
    edges_are_added_and_removed_in_turn,
    edges_join_supervoxels_that_exist,
    members_follow_the_edges,
    objects_match_their_supervoxels,
    statistics_match_the_voxels,
    levels_match_the_level_below,
)
"""What must hold of each version."""


def check_labels(
    repository: LabelRepository,
    *,
    all_versions: bool = False,
    progress: Progress = lambda share, sentence: None,
) -> Iterator[Finding]:
    """Yield what is wrong with a volume: rows, packs, and its versions.

    Checked are the newest version of each branch and every tagged one, or all there are.
    """
    storage = repository.at(0).storage
    versions = _versions(repository, all_versions)
    # Packs and every invariant of every version weigh the same: the bar is a bar, not a clock.
    steps = 1 + len(versions) * len(VERSION_INVARIANTS)
    progress(0.0, f"{repository.volume}: history")
    lost = False
    for promise in STORE_INVARIANTS:
        for finding in _guarded(promise.__name__, repository.volume, partial(promise, storage)):
            lost |= promise is branches_lead_back_to_the_first
            yield finding

    def show(share: float) -> None:
        progress(share / steps, f"{repository.volume}: packs")

    packs = partial(packs_hold_what_rows_name, storage, show)
    yield from _guarded(packs_hold_what_rows_name.__name__, repository.volume, packs)
    done = 1
    # Without the way back there is no telling what a version holds.
    for version in versions if not lost else ():
        for check in VERSION_INVARIANTS:
            progress(done / steps, f"{repository.volume}: version {version}")
            run = partial(_at, check, repository, version)
            yield from _guarded(check.__name__, f"version {version}", run)
            done += 1


def _at(
    check: Callable[[LabelView], Iterator[Finding]], repository: LabelRepository, version: int
) -> Iterator[Finding]:
    return check(repository.at(version))


def _guarded(name: str, where: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; that it could not be made is a finding, too."""
    try:
        yield from check()
    except SegmentationError as err:
        what = f"It could not be checked: {err.message}"
        yield Finding(name, where, what, "Mend that first, then check again.")


def _versions(repository: LabelRepository, all_versions: bool) -> list[int]:
    branches = repository.branches()
    wanted = {branch.head for branch in branches} | {tag.version for tag in repository.tags()}
    if all_versions:
        wanted.add(0)
        for branch in branches:
            log = repository.branch(branch.name).operations(limit=2**31)
            wanted.update(operation.operation_id for operation in log)
    return sorted(wanted, reverse=True)
