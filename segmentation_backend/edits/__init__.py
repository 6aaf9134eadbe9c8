"""Edits: pure functions from a view of the labels and an intent to a delta; they never write."""

from segmentation_backend.edits.branch_merge import MergePlan, plan_merge
from segmentation_backend.edits.brush import Unit, brush_mask
from segmentation_backend.edits.cleave import cleave
from segmentation_backend.edits.delete import delete
from segmentation_backend.edits.filter import filter_small
from segmentation_backend.edits.importing import (
    AUTOMATIC_KINDS,
    Existing,
    Part,
    import_labels,
    import_parts,
)
from segmentation_backend.edits.merge import merge
from segmentation_backend.edits.merge_conflicts import Choice, ConflictSide, MergeConflict
from segmentation_backend.edits.morph import Morphology, morph
from segmentation_backend.edits.paint import Over, paint
from segmentation_backend.edits.preview import SplitPreview, preview_split, voxel_sides
from segmentation_backend.edits.relabel import relabel_components
from segmentation_backend.edits.revert import revert
from segmentation_backend.edits.split import split
from segmentation_backend.edits.undo import operation_to_redo, operation_to_undo, undo
from segmentation_backend.edits.voxels import nothing_to_change

__all__ = [
    "AUTOMATIC_KINDS",
    "Choice",
    "ConflictSide",
    "Existing",
    "MergeConflict",
    "MergePlan",
    "Morphology",
    "Over",
    "Part",
    "SplitPreview",
    "Unit",
    "brush_mask",
    "cleave",
    "delete",
    "filter_small",
    "import_labels",
    "import_parts",
    "merge",
    "morph",
    "nothing_to_change",
    "operation_to_redo",
    "operation_to_undo",
    "paint",
    "plan_merge",
    "preview_split",
    "relabel_components",
    "revert",
    "split",
    "undo",
    "voxel_sides",
]
