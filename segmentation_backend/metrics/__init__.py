"""Scores of segmentations."""

from segmentation_backend.metrics.matching import Scores, evaluate, foreground_iou, instance_f1

__all__ = ["Scores", "evaluate", "foreground_iou", "instance_f1"]
