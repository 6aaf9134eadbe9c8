"""Packs against the rows that name them: every byte, every record; see `integrity`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import FormatError, SegmentationError
from segmentation_backend.labels.delta import ChunkKey, StoredChunk
from segmentation_backend.labels.findings import Finding, Severity
from segmentation_backend.labels.pack_format import chunks_in
from segmentation_backend.labels.schema import BRANCHES, CHUNKS
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["ORPHAN_AGE_S", "named_packs", "packs_hold_what_rows_name"]

ORPHAN_AGE_S = 3600.0
"""A younger pack without a row may belong to a commit that is under way."""

_FROM_BACKUP = "Restore this pack from a backup (mitoglance restore --packs-only)."


def named_packs(connection: sa.Connection, volume_id: int) -> set[str]:
    """Return the packs that rows of any branch of a volume name."""
    b, c = BRANCHES.c, CHUNKS.c
    mine = sa.select(b.branch_id).where(b.volume_id == volume_id)
    query = sa.select(c.pack).distinct().where(c.branch_id.in_(mine), c.pack.is_not(None))
    return set(connection.scalars(query))


def packs_hold_what_rows_name(
    storage: LabelStorage, progress: Callable[[float], None] = lambda share: None
) -> Iterator[Finding]:
    """Every named pack is whole and holds the chunks that rows say, where they say.

    Older packs that no row names are noted: a crash leaves them.
    """
    named: set[str] = set()
    with read(storage.engine) as connection:
        # Before the packs are listed: what rows of this moment name was there by then.
        connection.execute(sa.select(BRANCHES.c.head)).all()
        there = dict(storage.packs.names())
        total = max(1, len(there))
        for name, rows in groupby(_rows(connection, storage), key=lambda row: row.pack):
            named.add(name)
            yield from _pack(storage, name, list(rows), name in there)
            progress(min(1.0, len(named) / total))
    for name in sorted(name for name, age in there.items() if age >= ORPHAN_AGE_S):
        if name in named:
            continue
        yield Finding(
            packs_hold_what_rows_name.__name__,
            f"pack {name}",
            "No version names it.",
            "A crash or a deleted branch left it; mitoglance gc removes it.",
            Severity.NOTE,
        )


def _rows(connection: sa.Connection, storage: LabelStorage) -> Iterator[sa.Row[Any]]:
    b, c = BRANCHES.c, CHUNKS.c
    mine = sa.select(b.branch_id).where(b.volume_id == storage.volume_id)
    query = (
        sa.select(c.pack, c.start, c.length, c.level, c.z, c.y, c.x, c.operation_id)
        .where(c.branch_id.in_(mine), c.pack.is_not(None))
        .order_by(c.pack)
        .execution_options(yield_per=10_000)
    )
    return iter(connection.execute(query))


def _pack(
    storage: LabelStorage, name: str, rows: list[sa.Row[Any]], is_there: bool
) -> Iterator[Finding]:
    here, where = packs_hold_what_rows_name.__name__, f"pack {name}"
    wanted_by = f"{len(rows)} chunks of versions {_span(rows)}"
    if not is_there:
        yield Finding(here, where, f"It is missing, with {wanted_by}.", _FROM_BACKUP)
        return
    try:
        held = dict(chunks_in(storage.packs.content(name), name))
    except FormatError:
        yield Finding(here, where, f"It is torn or altered; it holds {wanted_by}.", _FROM_BACKUP)
        return
    except SegmentationError as err:
        yield Finding(here, where, err.message, "Check again when it can be read.")
        return
    for row in rows:
        key = ChunkKey(row.level, row.z, row.y, row.x)
        if held.get(StoredChunk(name, row.start, row.length)) != key:
            what = f"At byte {row.start} there is not {key}, which operation {row.operation_id} put"
            yield Finding(here, where, f"{what} there.", "Restore the database from a backup.")


def _span(rows: list[sa.Row[Any]]) -> str:
    ids = [row.operation_id for row in rows]
    return f"{min(ids)} to {max(ids)}" if min(ids) < max(ids) else str(ids[0])
