"""Edits: pure functions from a view of the labels and an intent to a delta; they never write."""

from segmentation_backend.edits.importing import AUTOMATIC_KINDS, Existing, import_labels
from segmentation_backend.edits.merge import merge
from segmentation_backend.edits.revert import revert
from segmentation_backend.edits.split import SplitPreview, preview_split, split
from segmentation_backend.edits.undo import operation_to_redo, operation_to_undo, undo

__all__ = [
    "AUTOMATIC_KINDS",
    "Existing",
    "SplitPreview",
    "import_labels",
    "merge",
    "operation_to_redo",
    "operation_to_undo",
    "preview_split",
    "revert",
    "split",
    "undo",
]
