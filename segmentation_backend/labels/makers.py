"""Which operation made a supervoxel (the first that gave it a voxel), and what operations noted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.labels import history
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.schema import BRANCHES, OPERATIONS, SUPERVOXELS
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["makers_of", "noted"]

_ASKED = 500
"""Supervoxels asked for by one statement."""


def makers_of(
    storage: LabelStorage, version: int, supervoxels: Collection[int]
) -> dict[int, Operation]:
    """Return the operation that made each supervoxel; those of a base have none, and are absent.

    Ids are given out once in a volume, so it is the oldest one on any branch.
    """
    made: dict[int, int] = {}
    ordered = sorted(supervoxels)
    with read(storage.engine) as connection:
        s, b = SUPERVOXELS.c, BRANCHES.c
        query = sa.select(s.supervoxel, sa.func.min(s.operation_id)).group_by(s.supervoxel)
        query = query.where(
            s.branch_id.in_(sa.select(b.branch_id).where(b.volume_id == storage.volume_id))
        )
        for start in range(0, len(ordered), _ASKED):
            batch = ordered[start : start + _ASKED]
            rows = connection.execute(query.where(s.supervoxel.in_(batch))).all()
            made |= {int(supervoxel): int(operation) for supervoxel, operation in rows}
        path = storage.versions.path(connection, version)
        wanted = set(made.values())
        operations = history.load_listed(connection, storage.volume_id, path, wanted)
    return {supervoxel: operations[at] for supervoxel, at in made.items() if at in operations}


def noted(storage: LabelStorage, kind: str, fields: Collection[str]) -> list[dict[str, Any]]:
    """Return fields of the provenance of every operation of a kind, on any branch, newest first.

    A field that an operation did not note is None.
    """
    o = OPERATIONS.c
    query = sa.select(*(o.provenance[field].label(field) for field in fields))
    query = query.where(o.volume_id == storage.volume_id, o.kind == kind)
    with read(storage.engine) as connection:
        rows = connection.execute(query.order_by(o.operation_id.desc())).all()
    return [dict(row._mapping) for row in rows]
