"""The first objects of a version in some order, and those that come after: a page at a time.

A page costs the objects on it, and a look at each older record that would come before its last one,
however many objects there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from segmentation_backend.database.statements import run
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels.branches import Path
from segmentation_backend.labels.newest import standing
from segmentation_backend.labels.objects import sizes_of
from segmentation_backend.labels.statistics import ObjectStats

__all__ = ["ORDERS", "Page", "ordered", "page_of"]

ORDERS = ("-voxels", "voxels", "probability", "-probability", "root", "-root")
"""By size, by how sure the network was, or by id; with "-" the largest first. Ties fall by root,
and objects whose probability nobody knows come last either way."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which objects are wanted."""

    sort: str
    """One of `ORDERS`."""
    limit: int
    """How many at the most."""
    after: ObjectStats | None = None
    """The last one of the page before; None for the first page."""

    def __post_init__(self) -> None:
        """Raise InvalidInputError INVALID_PARAMETER for an order that there is not."""
        if self.sort not in ORDERS or self.limit < 0:
            raise InvalidInputError(
                f"objects cannot be sorted by {self.sort!r} with limit {self.limit}; sort is one "
                f"of {', '.join(ORDERS)}, limit at least 0.",
                ErrorKind.INVALID_PARAMETER,
            )

    @property
    def column(self) -> str:
        """The column of `label_roots` that the order goes by."""
        return self.sort.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether the largest come first."""
        return self.sort.startswith("-")

    def value(self, found: ObjectStats) -> int | None:
        """Return what an object is sorted by; None where that is not known."""
        if self.column == "probability":
            return None if found.confidence is None else found.confidence.probability
        return found.root if self.column == "root" else found.voxels

    def place(self, found: ObjectStats) -> tuple[bool, int, int]:
        """Return what sorts objects into the order."""
        value = self.value(found)
        sign = -1 if self.is_descending else 1
        return value is None, sign * (value or 0), found.root


def ordered(objects: Iterable[ObjectStats], page: Page) -> list[ObjectStats]:
    """Return those of `objects` that are on a page, in its order."""
    if page.after is not None:
        begin = page.place(page.after)
        objects = (found for found in objects if page.place(found) > begin)
    return sorted(objects, key=page.place)[: page.limit]


def page_of(connection: sa.Connection, path: Path, page: Page) -> list[ObjectStats]:
    """Return the objects of a page at the end of a path."""
    roots = [root for at in range(len(path)) for root in _Segment(connection, path, at, page)()]
    sizes = sizes_of(connection, path, roots)
    return ordered((size.stats(root) for root, size in sizes.items()), page)


class _Segment:
    """Finds the objects whose newest record on the path is one of a segment's."""

    def __init__(self, connection: sa.Connection, path: Path, at: int, page: Page) -> None:
        self._connection = connection
        self._page = page
        newest, self._numbers = standing(path, at, "label_roots", "root")
        # No more than the index holds: what is passed over is not even looked up.
        self._text = f"SELECT r.root, r.{page.column} FROM label_roots r WHERE {newest} AND "

    def __call__(self) -> list[int]:
        """Return what may be on the page, in any order."""
        page = self._page
        if page.column == "root":
            return self._by_root("r.supervoxels > 0", page.limit)
        value = None if page.after is None else page.value(page.after)
        if page.after is not None and value is None:
            return self._unknown(page.after.root, page.limit)
        found = [] if page.after is None else self._same(value, page.after.root, page.limit)
        found += self._beyond(value, page.limit - len(found))
        if page.column == "probability" and len(found) < page.limit:
            found += self._unknown(0, page.limit - len(found))
        return found

    def _by_root(self, exists: str, limit: int) -> list[int]:
        after = self._page.after
        # A column that only the table itself has: so it is read in the order of its key.
        way, condition = ("DESC", "<") if self._page.is_descending else ("ASC", ">")
        text, bound = exists, []
        if after is not None:
            text, bound = f"{exists} AND r.root {condition} ?", [after.root]
        return self._ask(f"{text} ORDER BY r.root {way} LIMIT ?", [*bound, limit])

    def _unknown(self, after: int, limit: int) -> list[int]:
        text = "r.probability IS NULL AND r.supervoxels > 0 AND r.root > ? ORDER BY r.root LIMIT ?"
        return self._ask(text, [after, limit])

    def _same(self, value: int | None, after: int, limit: int) -> list[int]:
        column = self._page.column
        text = f"r.{column} = ? AND r.root > ? ORDER BY r.root LIMIT ?"
        return [] if value is None else self._ask(text, [value, after, limit])

    def _beyond(self, value: int | None, limit: int) -> list[int]:
        """Return the first ones beyond a value (None: of all)."""
        column, is_descending = self._page.column, self._page.is_descending
        text = "r.voxels > 0" if column == "voxels" else "r.probability IS NOT NULL"
        bound: list[int] = []
        if value is not None:
            text, bound = f"{text} AND r.{column} {'<' if is_descending else '>'} ?", [value]
        text = f"{text} ORDER BY r.{column}{' DESC' if is_descending else ''} LIMIT ?"
        rows = self._rows(text, [*bound, limit])
        if len(rows) < limit or not limit:
            return [root for root, _ in rows]
        # Any of those that are as the last one: of these, the smallest roots are wanted.
        last = rows[-1][1]
        before = [root for root, other in rows if other != last]
        return before + self._same(last, 0, limit - len(before))

    def _ask(self, condition: str, bound: Sequence[int]) -> list[int]:
        return [row[0] for row in self._rows(condition, bound)]

    def _rows(self, condition: str, bound: Sequence[int]) -> list[tuple[int, int]]:
        rows = run(self._connection, self._text + condition, [*self._numbers, *bound])
        return [(row[0], row[1]) for row in rows]
