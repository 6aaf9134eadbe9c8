"""Edits: pure functions from a view of the labels and an intent to a delta; they never write."""

from segmentation_backend.edits.importing import AUTOMATIC_KINDS, Existing, import_labels
from segmentation_backend.edits.merge import merge

__all__ = ["AUTOMATIC_KINDS", "Existing", "import_labels", "merge"]
