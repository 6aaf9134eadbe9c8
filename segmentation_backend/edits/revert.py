"""Go back to an old version, as a new operation: history is never rewritten."""

from __future__ import annotations

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.labels import Delta, LabelView
from segmentation_backend.labels.difference import difference

__all__ = ["revert"]


def revert(view: LabelView, version: int) -> Delta:
    """Return the change that makes `view` look like `version` again, wherever anything differs.

    No voxel is read or written: old chunks are named again. NotFoundError VERSION_NOT_FOUND when
    `view` was not made from `version`.
    """
    if version < 0 or not view.storage.is_ancestor(version, view.version):
        raise NotFoundError(
            f"There is no version {version} to go back to from version {view.version}.",
            ErrorKind.VERSION_NOT_FOUND,
        )
    return difference(view.storage, view.version, version)
