"""The part of the front door that looks back: versions, branches, tags, what changed and who."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import (
    MAIN,
    Blame,
    Branch,
    LabelRepository,
    LabelView,
    ObjectChange,
    ObjectLineage,
    Operation,
    Tag,
    blame,
    lineage,
    object_changes,
)
from segmentation_backend.workspace.editing import check_id
from segmentation_backend.workspace.object_classes import classes_in

__all__ = ["LabelHistory"]


class LabelHistory(ABC):
    """The history of the labels of any volume."""

    @abstractmethod
    def repository(self, volume: str, branch: str = MAIN) -> LabelRepository:
        """Return the labels of a volume, on a branch."""

    def head(self, volume: str, branch: str = MAIN) -> int:
        """Return the newest version of a volume's labels on a branch."""
        return self.repository(volume, branch).head

    def at(self, volume: str, version: int | None = None) -> LabelView:
        """Return the labels of a version (the newest without one), read-only."""
        return self.repository(volume).at(version)

    def class_names(self, volume: str, version: int | None = None) -> list[str]:
        """Return the classes that runs looked for and that objects of a version are of."""
        return classes_in(self.at(volume, version))

    def operations(
        self,
        volume: str,
        since: int = 0,
        limit: int = 100,
        user: str | None = None,
        branch: str = MAIN,
    ) -> list[Operation]:
        """Return operations: those after `since` in order, or (since = 0) the newest first."""
        return self.repository(volume, branch).operations(since=since, limit=limit, user=user)

    def version_at(self, volume: str, time: datetime, branch: str = MAIN) -> int:
        """Return the newest version made at or before a time (with a zone); 0 before all."""
        return self.repository(volume, branch).version_at(time)

    def resolve_version(self, volume: str, name: str) -> tuple[int, bool]:
        """Return the version that a number, branch or tag names, and whether it always will.

        Raises NotFoundError VERSION_NOT_FOUND.
        """
        repository = self.repository(volume)
        if name.isascii() and name.isdecimal() and len(name) < 19:
            return repository.at(int(name)).version, True
        for branch in repository.branches():
            if branch.name == name:
                return branch.head, False
        for tag in repository.tags():
            if tag.name == name:
                # A tag never moves, but it may be deleted and its name given anew.
                return tag.version, False
        raise NotFoundError(
            f"{name[:64]!r} is not a version, branch or tag of {volume}; versions are whole "
            "numbers.",
            ErrorKind.VERSION_NOT_FOUND,
        )

    def object_changes(
        self, volume: str, before: int, after: int, limit: int | None = None
    ) -> tuple[ObjectChange, ...]:
        """Return the objects that differ between two versions, the largest first."""
        repository = self.repository(volume)
        repository.at(before)
        return object_changes(repository.at(after).storage, before, after, limit)

    def lineage(
        self,
        volume: str,
        root: int,
        version: int | None = None,
        head: int | None = None,
        limit: int = 1000,
    ) -> ObjectLineage:
        """Return where an object came from and what became of it."""
        view = self.at(volume, version)
        if head is not None:
            self.at(volume, head)
        return lineage(view.storage, check_id(root), view.version, head, limit)

    def blame(self, volume: str, point: Coordinate, version: int | None = None) -> Blame:
        """Return who is behind what a level-0 voxel (z, y, x) holds."""
        view = self.at(volume, version)
        return blame(view.storage, point, view.version)

    # Branches and tags

    def branches(self, volume: str) -> list[Branch]:
        """Return the branches of a volume, the oldest first."""
        return self.repository(volume).branches()

    def create_branch(
        self, volume: str, name: str, user: str, version: int | None = None
    ) -> Branch:
        """Make a branch at a version (the newest without one); nothing is copied."""
        return self.repository(volume).create_branch(name, user, version)

    def delete_branch(self, volume: str, name: str) -> None:
        """Take a branch out of the list; its versions can be read until `gc` removes them."""
        self.repository(volume).delete_branch(name)

    def tags(self, volume: str) -> list[Tag]:
        """Return the tags of a volume, the newest version first."""
        return self.repository(volume).tags()

    def create_tag(
        self, volume: str, name: str, user: str, version: int | None = None, note: str = ""
    ) -> Tag:
        """Name a version (the newest without one) for ever."""
        return self.repository(volume).create_tag(name, user, version, note)

    def delete_tag(self, volume: str, name: str) -> None:
        """Delete a tag; the version it named stays."""
        self.repository(volume).delete_tag(name)
