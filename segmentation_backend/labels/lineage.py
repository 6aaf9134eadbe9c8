"""What became of an object, and what it came from: its states and the operations between them.

An object's identity is (root id, version): every operation that touches it ends one state and
begins the next. The way is followed from state to state, so it costs the operations that touched
the object and its kin, not the length of the history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.labels.object_log import ObjectLog
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.schema import BRANCHES
from segmentation_backend.labels.storage import LabelStorage
from segmentation_backend.labels.view import LabelView

__all__ = ["LineageLink", "LineageState", "LineageStep", "ObjectLineage", "StateKey", "lineage"]

StateKey: TypeAlias = tuple[int, int]
"""(root, version since): one state of one object."""

_BRING_BACK = frozenset({"undo", "redo", "revert", "merge-branch"})
"""Kinds of operation that may give back supervoxels which had been deleted."""


@dataclass(frozen=True, slots=True)
class LineageState:
    """An object between two operations that touched it."""

    root: int
    from_version: int
    """The operation that made it so; 0: it was so from the beginning."""
    to_version: int | None
    """The newest version at which it was still so; None: it is so at the end of the line."""

    @property
    def key(self) -> StateKey:
        """What links name it by."""
        return self.root, self.from_version


class LineageLink(NamedTuple):
    """Voxels of one state are in the other; the later one's `from_version` is the operation."""

    earlier: StateKey
    later: StateKey


@dataclass(frozen=True, slots=True)
class LineageStep:
    """An operation on the way."""

    operation: Operation
    old_roots: tuple[int, ...]
    """The objects it was given, as far as their voxels went into `new_roots` or vanished."""
    new_roots: tuple[int, ...]
    """What it made of them; empty where it deleted the object."""

    def to_json(self) -> dict[str, Any]:
        """Return the step as the HTTP interface shows it; ids are strings."""
        return {
            "operation_id": self.operation.operation_id,
            "kind": self.operation.kind,
            "user": self.operation.user,
            "time": self.operation.time,
            "undone_by": self.operation.undone_by,
            "old_roots": [str(root) for root in self.old_roots],
            "new_roots": [str(root) for root in self.new_roots],
        }


@dataclass(frozen=True, slots=True)
class ObjectLineage:
    """Where an object came from and what became of it."""

    root: int
    version: int
    head: int
    """The version up to which it was followed."""
    states: tuple[LineageState, ...]
    """Ordered by `from_version`, then root."""
    links: tuple[LineageLink, ...]
    steps: tuple[LineageStep, ...]
    """The oldest first."""
    complete: bool
    """False: there were more operations than the limit; the oldest or newest are missing."""

    @property
    def latest(self) -> tuple[int, ...]:
        """The roots at `head` that hold voxels of the object; empty when it was deleted."""
        return tuple(sorted(state.root for state in self.states if state.to_version is None))

    @property
    def origins(self) -> tuple[LineageState, ...]:
        """The states that the object began as."""
        made = {link.later for link in self.links}
        return tuple(state for state in self.states if state.key not in made)

    def to_json(self) -> dict[str, Any]:
        """Return nodes and links as the HTTP interface shows them; ids are strings."""
        return {
            "id": str(self.root),
            "version": self.version,
            "head": self.head,
            "latest": [str(root) for root in self.latest],
            "origins": [_name(state.key) for state in self.origins],
            "complete": self.complete,
            "nodes": [
                {
                    "key": _name(state.key),
                    "id": str(state.root),
                    "from_version": state.from_version,
                    "to_version": state.to_version,
                }
                for state in self.states
            ],
            "links": [
                {
                    "source": _name(link.earlier),
                    "target": _name(link.later),
                    "operation_id": link.later[1],
                }
                for link in self.links
            ],
            "operations": [step.to_json() for step in self.steps],
        }


def _name(key: StateKey) -> str:
    return f"{key[0]}@{key[1]}"


def lineage(
    storage: LabelStorage, root: int, version: int, head: int | None = None, limit: int = 1000
) -> ObjectLineage:
    """Return the lineage of an object, named by its root at `version` or any of its supervoxels.

    `head` is the version up to which it is followed (None: the newest of the branch that `version`
    was made on). At most `limit` operations are followed each way. An object that was deleted and
    given back by an undo or a revert is followed across the gap. Raises NotFoundError
    OBJECT_NOT_FOUND, or VERSION_NOT_FOUND where `head` was not made from `version`.
    """
    found = LabelView(storage, version).object(root).root
    head = _newest(storage, version) if head is None else head
    if not storage.is_ancestor(version, head):
        raise NotFoundError(
            f"Version {head} was not made from version {version}; name the newest version of a "
            "branch that goes through it.",
            ErrorKind.VERSION_NOT_FOUND,
        )
    walk = _Walk(storage, version, head, limit)
    walk.backwards(found)
    walk.forwards(found)
    return walk.result(found)


def _newest(storage: LabelStorage, version: int) -> int:
    """Return the newest version of the branch that a version was made on."""
    with read(storage.engine) as connection:
        branch_id = storage.versions.branch_of(connection, version)
        query = sa.select(BRANCHES.c.head).where(BRANCHES.c.branch_id == branch_id)
        head: int = connection.execute(query).scalar_one()
    return head


class _Walk:
    """The states, links and steps found so far."""

    def __init__(self, storage: LabelStorage, version: int, head: int, limit: int) -> None:
        self._storage = storage
        self._version = version
        self._head = head
        self._limit = limit
        self._log = ObjectLog(storage, head)
        self._ends: dict[StateKey, int | None] = {}
        self._links: set[LineageLink] = set()
        self._steps: dict[int, tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
        self._complete = True

    def result(self, root: int) -> ObjectLineage:
        states = [LineageState(*key, end) for key, end in self._ends.items()]
        steps = [
            LineageStep(self._log.operation(at), tuple(sorted(old)), tuple(sorted(new)))
            for at, (old, new) in sorted(self._steps.items())
        ]
        return ObjectLineage(
            root,
            self._version,
            self._head,
            tuple(sorted(states, key=lambda state: (state.from_version, state.root))),
            tuple(sorted(self._links, key=lambda link: (link.later[1], link))),
            tuple(steps),
            self._complete,
        )

    def _begin(self, root: int, before: int) -> StateKey:
        """Note the state an object was in just before an operation (or at the next version)."""
        key = root, self._log.last_before(root, before)
        following = self._log.next_after(root, key[1])
        self._ends[key] = None if following is None else self._log.operation(following).parent
        return key

    # Backwards

    def backwards(self, root: int) -> None:
        """Follow an object to its origins, the newest operations first."""
        pending: list[tuple[int, StateKey]] = []

        def seek(key: StateKey) -> None:
            if key[1]:
                heappush(pending, (-key[1], key))

        seek(self._begin(root, self._version + 1))
        seen: set[StateKey] = set()
        followed: set[int] = set()
        while pending:
            at, key = heappop(pending)
            followed.add(-at)
            if len(followed) > self._limit:
                self._complete = False
                return
            if key in seen:
                continue
            seen.add(key)
            for earlier in self._made_from(key):
                self._links.add(LineageLink(earlier, key))
                seek(earlier)

    def _made_from(self, key: StateKey) -> Iterator[StateKey]:
        """Yield the states from which an operation made one, and note the step."""
        root, at = key
        operation = self._log.operation(at)
        old, new = self._steps[at]
        new.add(root)
        sources = {a for a, b in operation.lineage.became if b == root}
        old |= sources
        yield from (self._begin(source, at) for source in sources)
        if not sources or operation.kind in _BRING_BACK:
            yield from self._given_back_from(root, operation)

    def _given_back_from(self, root: int, operation: Operation) -> Iterator[StateKey]:
        """Yield the states that were deleted before an operation brought them back as `root`."""
        at = operation.operation_id
        members = self._storage.agglomeration(at).members(root)
        for deleted, supervoxels in self._log.deletions(members, at).items():
            deletion = self._log.operation(deleted)
            joins = self._storage.agglomeration(deletion.parent)
            for source in set(joins.roots_of(supervoxels).values()):
                if _ended(source, deletion):
                    self._steps[deleted][0].add(source)
                    yield self._begin(source, deleted)

    # Forwards

    def forwards(self, root: int) -> None:
        """Follow an object to what is left of it at the head, the oldest operations first."""
        pending: list[_Event] = []
        followed: set[int] = set()
        seen: set[StateKey] = set()

        def seek(key: StateKey) -> None:
            following = self._log.next_after(key[0], key[1])
            if key not in seen and following is not None:
                heappush(pending, _Event(following, key))
            seen.add(key)

        seek(self._begin(root, self._version + 1))
        while pending:
            event = heappop(pending)
            followed.add(event.operation_id)
            if len(followed) > self._limit:
                self._complete = False
                return
            targets = self._targets(event)
            for target in targets:
                seek(self._follow(event, target))
            if not targets:
                for later in self._given_back_as(event):
                    heappush(pending, later)

    def _targets(self, event: _Event) -> set[int]:
        """Return the roots an event makes of an object, and note the step; none: it deleted it."""
        if event.given_back_as:
            return {event.given_back_as}
        root = event.earlier[0]
        became = self._log.operation(event.operation_id).lineage.became
        successors = {new for old, new in became if old == root}
        self._steps[event.operation_id][0].update(
            {old for old, new in became if new in successors} | {root}
        )
        return successors

    def _follow(self, event: _Event, root: int) -> StateKey:
        self._steps[event.operation_id][1].add(root)
        later = self._begin(root, event.operation_id + 1)
        self._links.add(LineageLink(event.earlier, later))
        return later

    def _given_back_as(self, deletion: _Event) -> set[_Event]:
        """Return the events by which parts of a deleted object come back."""
        parent = self._log.operation(deletion.operation_id).parent
        members = self._storage.agglomeration(parent).members(deletion.earlier[0])
        returns = self._log.returns(members, deletion.operation_id)
        return {
            _Event(at, deletion.earlier, new)
            for at, supervoxels in returns.items()
            for new in self._storage.agglomeration(at).roots_of(supervoxels).values()
        }


class _Event(NamedTuple):
    """An operation ends a state."""

    operation_id: int
    earlier: StateKey
    given_back_as: int = 0
    """The root as which it gives the deleted object back; 0: see the operation's lineage."""


def _ended(root: int, operation: Operation) -> bool:
    """Whether an operation deleted a whole object."""
    pairs = operation.lineage.became
    return root in operation.removed_roots and all(old != root for old, _ in pairs)
