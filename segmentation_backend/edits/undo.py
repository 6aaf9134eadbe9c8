"""Take an operation back, now or long after; redo takes an undo back."""

from __future__ import annotations

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels import Delta, LabelRepository, LabelView, Operation
from segmentation_backend.labels.rebase import rebase

__all__ = ["operation_to_redo", "operation_to_undo", "undo"]


def undo(view: LabelView, operation: Operation, delta: Delta) -> Delta:
    """Return the change that takes `operation` back; `delta` is what it changed.

    Exact where nobody touched the place since; where later operations wrote other voxels of the
    same chunks, only the operation's own voxels go back. Where a later operation stands in the way
    nothing is undone: ConflictError STALE_VERSION names it and its user. Commit the result with
    `undoes=operation.operation_id`; redo is the same for the undo's own operation.
    """
    if operation.undone_by is not None:
        raise InvalidInputError(
            f"Operation {operation.operation_id} was taken back already by operation "
            f"{operation.undone_by}.",
            ErrorKind.NOTHING_TO_UNDO,
        )
    return rebase(delta.inverse(), view.storage, view.version, operation.operation_id)


def operation_to_undo(
    repository: LabelRepository, user: str, operation_id: int | None = None
) -> Operation:
    """Return the named operation, or the user's newest edit that stands.

    Raises InvalidInputError NOTHING_TO_UNDO, NotFoundError OPERATION_NOT_FOUND.
    """
    if operation_id is not None:
        return repository.operation(operation_id)
    found = repository.last_undoable(user)
    if found is None:
        raise InvalidInputError(
            f"{user} has no edit to undo in this volume; name another user's operation by its id.",
            ErrorKind.NOTHING_TO_UNDO,
        )
    return found


def operation_to_redo(
    repository: LabelRepository, user: str, operation_id: int | None = None
) -> Operation:
    """Return the named undo, or the user's newest one that stands with no newer edit of theirs.

    Raises InvalidInputError NOTHING_TO_REDO, NotFoundError OPERATION_NOT_FOUND.
    """
    if operation_id is None:
        found = repository.last_redoable(user)
    else:
        found = repository.operation(operation_id)
        if found.kind != "undo" or found.undone_by is not None:
            found = None
    if found is None:
        raise InvalidInputError(
            "There is no undo to take back"
            + (
                f": operation {operation_id} is not one that stands."
                if operation_id
                else f"; {user} undid nothing, or made a newer edit since."
            ),
            ErrorKind.NOTHING_TO_REDO,
        )
    return found
