"""Scores of segmentations."""

from segmentation_backend.metrics.matching import Scores, evaluate, foreground_iou, instance_f1
from segmentation_backend.metrics.mistakes import Mistake, MistakeKind
from segmentation_backend.metrics.report import Report, compare

__all__ = [
    "Mistake",
    "MistakeKind",
    "Report",
    "Scores",
    "compare",
    "evaluate",
    "foreground_iou",
    "instance_f1",
]
