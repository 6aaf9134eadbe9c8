"""The agglomeration of a version as SQL has it, with the roots of what is on screen remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from threading import Lock

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.labels import index
from segmentation_backend.labels.branches import Versions
from segmentation_backend.labels.delta import Edge

__all__ = ["RootCache", "StoredJoins"]

_REMEMBERED_VERSIONS = 4
_REMEMBERED_ROOTS = 200_000
"""Supervoxels per version whose roots are kept (about 20 MB)."""
_MOST_CHANGES = 2000
"""New roots between two versions up to which the older one's are taken over: a few milliseconds."""


class RootCache:
    """Roots of supervoxels at recent versions; the next version costs what changed on the way."""

    def __init__(self, engine: sa.Engine, versions: Versions) -> None:
        """Look up in `engine` what is not known."""
        self._engine = engine
        self._versions = versions
        self._lock = Lock()
        self._known: OrderedDict[int, dict[int, int]] = OrderedDict()

    def roots_of(self, supervoxels: Collection[int], version: int) -> dict[int, int]:
        """Return the root of each supervoxel at a version."""
        with self._lock:
            known = self._known.get(version)
            known = self._taken_over(version) if known is None else known
            self._known.move_to_end(version)
            found = {s: known[s] for s in supervoxels if s in known}
        missing = [s for s in supervoxels if s not in found]
        if not missing:
            return found
        with read(self._engine) as connection:
            path = self._versions.path(connection, version)
            recorded = index.roots_of(connection, path, missing)
        fresh = {s: recorded.get(s, s) for s in missing}
        with self._lock:
            now = self._known.get(version)
            if now is not None:
                if len(now) + len(fresh) > _REMEMBERED_ROOTS:
                    # Who looks at other places by now needs other roots.
                    now.clear()
                now.update(fresh)
        return found | fresh

    def _taken_over(self, version: int) -> dict[int, int]:
        """Bring the newest older version up to this one, or begin with nothing."""
        older = max((v for v in self._known if v < version), default=None)
        roots: dict[int, int] = {}
        if older is not None:
            with read(self._engine) as connection:
                if self._versions.is_ancestor(connection, older, version):
                    between = self._versions.between(connection, older, version)
                    changes = index.changed_roots(connection, between, _MOST_CHANGES)
                    if changes is not None:
                        roots = self._known.pop(older)
                        roots.update((s, root) for s, root in changes.items() if s in roots)
        self._keep(version, roots)
        return roots

    def _keep(self, version: int, roots: dict[int, int]) -> None:
        self._known[version] = roots
        while len(self._known) > _REMEMBERED_VERSIONS:
            self._known.popitem(last=False)

    def advance(self, version: int, later: int, changes: Mapping[int, int]) -> None:
        """Take the roots of a version over to the next one, which is known to change `changes`."""
        with self._lock:
            roots = self._known.pop(version, None)
            if roots is not None and later not in self._known:
                roots.update((s, root) for s, root in changes.items() if s in roots)
                self._keep(later, roots)


@dataclass(frozen=True, slots=True)
class StoredJoins:
    """The joins of one version; see `agglomeration.JoinSource`."""

    engine: sa.Engine
    versions: Versions
    cache: RootCache
    version: int

    def roots_of(self, supervoxels: Collection[int]) -> Mapping[int, int]:
        """Return the roots of supervoxels; absent where it is the supervoxel itself."""
        # What SQL cannot hold was never given out, so it has no edge.
        asked = [s for s in supervoxels if 0 < s < 2**63]
        return {s: r for s, r in self.cache.roots_of(asked, self.version).items() if r != s}

    def members_of(self, roots: Collection[int]) -> Mapping[int, Collection[int]]:
        """Return the supervoxels of each root; absent where it is the only one."""
        asked = [root for root in roots if 0 < root < 2**63]
        with read(self.engine) as connection:
            path = self.versions.path(connection, self.version)
            return index.members_of(connection, path, asked)

    def edges_at(self, supervoxels: Collection[int]) -> set[Edge]:
        """Return the active edges with an end among supervoxels."""
        asked = [s for s in supervoxels if 0 < s < 2**63]
        with read(self.engine) as connection:
            path = self.versions.path(connection, self.version)
            return index.active_edges(connection, path, asked)

    def all_edges(self) -> set[Edge]:
        """Return every active edge."""
        with read(self.engine) as connection:
            path = self.versions.path(connection, self.version)
            edges, added = index.edge_events(connection, path)
        last = dict(zip(map(tuple, edges.tolist()), added.tolist(), strict=True))
        return {(a, b) for (a, b), is_active in last.items() if is_active}
